"""Operators that only move values, by hand, and the rules that keep files running on boards."""

import numpy as np
import pytest

from micronas.export.verify import tflm_run
from micronas.graph import integer
from micronas.graph.batches import keeps_examples
from micronas.graph.check import broken_rule, check_int8
from micronas.graph.ir import Graph, Kind, Op, Quantization, Tensor
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer


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


def both(graph: Graph) -> np.ndarray:
    """What the operator makes of 0, 1, 2, ...; TFLM and a graph read from the file must agree."""
    inputs = np.arange(graph.tensors["x"].elements, dtype=np.int8)
    inputs = inputs.reshape(graph.tensors["x"].shape)
    check_int8(graph)
    model = to_flatbuffer(graph)
    ours = integer.run(graph, inputs)
    np.testing.assert_array_equal(ours, tflm_run(model, inputs))
    np.testing.assert_array_equal(ours, integer.run(read(model), inputs))
    return ours[0]


def test_transpose() -> None:
    graph = moving("TRANSPOSE", (1, 2, 3), (1, 3, 2), [0, 2, 1])
    assert both(graph).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_slice_to_the_end() -> None:
    graph = moving("SLICE", (1, 3, 4), (1, 2, 2), [0, 1, 1], [1, -1, 2])
    assert both(graph).tolist() == [[5, 6], [9, 10]]


@pytest.mark.parametrize(
    ("table", "masks", "expected"),
    [
        (([0, 1], [1, 6], [1, 2]), (0, 0, 0), [1, 3, 5]),
        (([0, -1], [1, 0], [1, -2]), (0, 0, 0), [5, 3, 1]),
        (([0, -1], [1, 0], [1, -2]), (0, 0b10, 0), [5, 3, 1]),
        (([0, 3], [1, 0], [1, -1]), (0, 0b10, 0), [3, 2, 1, 0]),
        (([0, 3], [1, 9], [1, 2]), (0b10, 0, 0), [0, 2, 4]),
        (([0, -2], [1, 99], [1, 1]), (0, 0, 0), [4, 5]),
    ],
)
def test_strided_slice(
    table: tuple[list[int], ...], masks: tuple[int, int, int], expected: list[int]
) -> None:
    graph = moving("STRIDED_SLICE", (1, 6), (1, len(expected)), *table, masks=masks)
    assert both(graph).tolist() == expected


def test_strided_slice_drops_axes() -> None:
    tables = [0, -1, 0], [1, 0, 3], [1, 1, 2]
    graph = moving("STRIDED_SLICE", (1, 2, 3), (1, 2), *tables, masks=(0, 0, 0b10))
    assert both(graph).tolist() == [3, 5]


def test_gather_puts_the_places_where_the_axis_was() -> None:
    graph = moving("GATHER", (1, 3, 2), (1, 2, 2, 2), [[2, 0], [0, 0]], axis=1)
    assert both(graph).tolist() == [[[4, 5], [0, 1]], [[0, 1], [0, 1]]]


def test_broadcast_to() -> None:
    graph = moving("BROADCAST_TO", (1, 2), (1, 2, 2), [1, 2, 2])
    assert both(graph).tolist() == [[0, 1], [0, 1]]


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
