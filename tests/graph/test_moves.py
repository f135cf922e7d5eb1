"""Operators that only move values: the rules that keep files running on boards, and batches."""

import numpy as np
import pytest

from micronas.graph.batches import keeps_examples
from micronas.graph.check import broken_rule
from micronas.graph.ir import Graph, Kind, Op, Quantization, Tensor


def moving(
    kind: Kind,
    shape: tuple[int, ...],
    output: tuple[int, ...],
    *tables: list[int] | list[list[int]],
    axis: int = 0,
    masks: tuple[int, int, int] = (0, 0, 0),
) -> Graph:
    """A graph of one operator with these int32 tables."""
    scale = Quantization(np.array([0.5], np.float32), 3)
    tensors = [Tensor("x", shape, "int8", quantization=scale)]
    for number, values in enumerate(tables):
        data = np.array(values, np.int32)
        tensors.append(Tensor(f"t{number}", data.shape, "int32", constant=True, data=data))
    inputs = tuple(tensor.name for tensor in tensors)
    tensors.append(Tensor("y", output, "int8", quantization=scale))
    op = Op(kind, "y", inputs, ("y",), axis=axis, masks=masks)
    return Graph({t.name: t for t in tensors}, (op,), ("x",), ("y",))


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
    ],
)
def test_examples_of_a_batch_stay_apart(graph: Graph, kept: bool) -> None:
    assert keeps_examples(graph, graph.ops[0]) == kept
