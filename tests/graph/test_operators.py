"""The operator table, and tables by kind, which must be complete."""

from typing import get_args

import pytest

from micronas.graph.operators import OPERATORS, Kind, each_kind


def test_a_table_without_a_kind_is_an_error_that_names_it() -> None:
    complete = dict.fromkeys(get_args(Kind), 0)
    assert each_kind("room", complete) == complete
    del complete["HARD_SWISH"]
    with pytest.raises(LookupError, match=r"room must have .* HARD_SWISH; add what is missing"):
        each_kind("room", complete)


def test_weights_come_after_the_operands() -> None:
    for kind, row in OPERATORS.items():
        fewest, most = row.inputs
        own = 2 + row.tables, 3 + row.tables
        assert (fewest, most) == own if row.weights else fewest <= most, kind
        assert (row.operands or most) <= most, kind
