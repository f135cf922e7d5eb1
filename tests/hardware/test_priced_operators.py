"""Operators drawn to check prices on, of every kind, and rows of the census."""

import pytest

from micronas.graph.ir import Kind
from micronas.graph.operators import OPERATORS
from micronas.hardware.targets import plan
from micronas.hardware.targets.cmsis_nn_work import work
from testing import census
from testing.lone_operators import LoneOperator, described
from testing.priced_operators import priced_operator


@pytest.mark.parametrize("kind", OPERATORS)
def test_a_row_says_all_that_a_price_and_an_arena_depend_on(kind: Kind) -> None:
    for number in range(5):
        graph = priced_operator(kind, 1, number)
        (op,) = graph.ops
        assert op.kind == kind
        row = {"id": "", **described(graph), "instructions": "1", "head": "0", "tail": "0"}
        again = LoneOperator.of(row)
        assert again.work == work(graph, op)
        assert plan(again.graph).head == plan(graph).head


def test_rows_of_the_census_are_described_as_they_are_written() -> None:
    """But for options that are the usual ones, and their order."""
    for row in census.rows("census_operators"):
        found = described(LoneOperator.of(row).graph)
        options = found.pop("options").split("; ")
        assert {name: row[name] for name in found} == found
        assert set(options) <= {*row["options"].split("; "), ""}
