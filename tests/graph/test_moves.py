"""Operators that move or multiply values: rules that keep files running on boards, and batches."""

from typing import Any

import numpy as np
import pytest

from micronas.graph.batches import keeps_examples
from micronas.graph.check import broken_rule
from micronas.graph.counts import count
from micronas.graph.ir import Graph, Kind, table
from micronas.hardware.targets import CMSIS_NN, HOST, plan
from tests.graph.made import constant, one, tensor

Shape = tuple[int, ...]


def moving(kind: Kind, shape: Shape, output: Shape, *tables: Any, **options: Any) -> Graph:
    """A graph of one operator with these int32 tables."""
    more = (table(f"t{number}", values) for number, values in enumerate(tables))
    return one(kind, tensor("x", shape), *more, tensor("y", output), **options)


def product(
    left: Shape, right: Shape, output: Shape, *, fixed: bool = False, **options: Any
) -> Graph:
    """A product of matrices, the second of which is a constant if it is `fixed`."""
    w = tensor("w", right)
    w = constant(w, np.zeros(right)) if fixed else w
    return one("BATCH_MATMUL", tensor("x", left), w, tensor("y", output), **options)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        # CMSIS-NN exchanges rows and columns of any matrix, whatever the order asked for
        (moving("TRANSPOSE", (3, 4), (3, 4), [0, 1]), "into another order"),
        # and leaves the output as it is at rank 5, which TFLM's own kernel takes
        (moving("TRANSPOSE", (1, 2, 1, 1, 3), (1, 3, 1, 1, 2), [0, 4, 2, 3, 1]), "2 to 4 axes"),
        (moving("TRANSPOSE", (1, 2, 3), (1, 3, 2), [0, 2, 2]), "into another order"),
        (moving("SLICE", (1, 3), (1, 2), [0, 2], [1, 2]), "must begin inside its input"),
        (moving("SLICE", (1, 3), (1, 2), [0, 1], [1]), "must begin inside its input"),
        (moving("STRIDED_SLICE", (1, 3), (1, 1), [0, 2], [1, 2], [1, 1]), "part of each axis"),
        (moving("STRIDED_SLICE", (1, 3), (1, 1), [0, 2], [1, 3], [1, 0]), "part of each axis"),
        (
            moving("STRIDED_SLICE", (1, 3), (1,), [0, 2], [1, 0], [1, -1], masks=(0, 0, 2)),
            "part of each axis",
        ),
        (moving("STRIDED_SLICE", (1,) * 5, (1,) * 5, *[[0] * 5, [1] * 5, [1] * 5]), "4 at most"),
        (moving("GATHER", (1, 3), (1, 1), [3], axis=1), "places of its input"),
        (moving("GATHER", (1, 3), (1, 1), [-1], axis=1), "places of its input"),
        (moving("BROADCAST_TO", (1, 3), (1, 4), [1, 4]), "axes of size 1"),
        (moving("BROADCAST_TO", (1, 3), (3,), [3]), "axes of size 1"),
        (product((1, 2, 3), (2, 4), (1, 2, 4)), "fit each other"),
        (product((1, 2, 2, 3), (3, 3, 4), (1, 2, 2, 4)), "fit each other"),
        (product((1, 1, 1, 2, 3), (3, 4), (1, 1, 1, 2, 4)), "2 to 4 dimensions"),
    ],
)
def test_rules(graph: Graph, message: str) -> None:
    rule = broken_rule(graph, graph.ops[0])
    assert message in rule


@pytest.mark.parametrize(
    ("graph", "kept"),
    [
        (moving("TRANSPOSE", (1, 2, 3), (1, 3, 2), [0, 2, 1]), True),
        (moving("TRANSPOSE", (1, 1, 3), (1, 1, 3), [1, 0, 2]), False),
        (moving("STRIDED_SLICE", (1, 3), (3,), [0, 0], [1, 3], [1, 1], masks=(0, 0, 1)), False),
        (moving("GATHER", (1, 3), (1, 3), [0]), False),
        (moving("GATHER", (1, 3), (1, 1), [0], axis=1), True),
        (moving("BROADCAST_TO", (1, 3), (2, 3), [2, 3]), False),
        (moving("RESHAPE", (1, 6), (2, 3), [2, 3]), False),
        (product((1, 2, 3), (1, 3, 4), (1, 2, 4)), True),
        (product((1, 3), (3, 4), (1, 4), fixed=True), True),
        (product((1, 3), (1, 4), (3, 4), transposed=(True, False)), False),
        (product((1, 3), (1, 3), (1, 1), transposed=(False, True)), False),
    ],
)
def test_examples_of_a_batch_stay_apart(graph: Graph, kept: bool) -> None:
    assert keeps_examples(graph, graph.ops[0]) == kept


def test_an_operand_that_lies_the_other_way_is_copied_for_good() -> None:
    """A constant whose rows are those of the product costs no RAM: what exporters should write."""
    sizes = []
    for turned, shape in ((False, (256, 64)), (True, (64, 256))):
        graph = product((1, 4, 256), shape, (1, 4, 64), fixed=True, transposed=(False, turned))
        sizes.append([plan(graph, target).tail for target in (HOST, CMSIS_NN)])
        assert count(graph).macs == 4 * 64 * 256
    for copied, plain in zip(*sizes, strict=True):
        assert 64 * 256 <= copied - plain <= 64 * 256 + 64
