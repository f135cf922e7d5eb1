"""Operators on maps: numbers by hand, the real TFLM, and scratch memory read from CMSIS-NN."""

from dataclasses import replace

import numpy as np
import pytest

from micronas.errors import ModelError
from micronas.export.verify import tflm_arena, tflm_run
from micronas.graph import integer
from micronas.graph.builder import Builder
from micronas.graph.check import check_int8
from micronas.graph.counts import count
from micronas.graph.ir import Graph, Op, Quantization, Tensor
from micronas.hardware.targets import HOST, plan
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer


def activation(name: str, shape: tuple[int, ...], scale: float = 1.0, zero: int = 0) -> Tensor:
    quantization = Quantization(np.array([scale], np.float32), zero)
    return Tensor(name, shape, "int8", quantization=quantization)


def weights(values: np.ndarray, bias: list[int]) -> list[Tensor]:
    one = Quantization(np.ones(1, np.float32))
    table = np.array(bias, np.int32)
    return [
        Tensor("w", values.shape, "int8", True, one, values.astype(np.int8)),
        Tensor("b", table.shape, "int32", True, one, table),
    ]


def graph_of(op: Op, *tensors: Tensor) -> Graph:
    return Graph({each.name: each for each in tensors}, (op,), ("x",), ("y",))


def both(graph: Graph, inputs: np.ndarray) -> list[int]:
    """Run a graph in integers; TFLM must agree, and a file must keep it and its arena."""
    ours, model = integer.run(graph, inputs), to_flatbuffer(graph)
    np.testing.assert_array_equal(ours, tflm_run(model, inputs))
    assert read(model).ops == graph.ops
    predicted, measured = plan(graph, HOST), tflm_arena(model)
    assert (predicted.head, predicted.tail) == (measured.head, measured.tail)
    return [int(code) for code in ours.ravel()]


def scratch(graph: Graph) -> list[int]:
    return [buffer.size for buffer in plan(graph).buffers if buffer.is_scratch]


# Convolutions


def test_a_dilated_convolution_pads_for_its_reach() -> None:
    op = Op("CONV_2D", "y", ("x", "w", "b"), ("y",), dilation=(1, 2))
    row = np.array([1, 10, 100]).reshape(1, 1, 3, 1)
    graph = graph_of(
        op, activation("x", (1, 1, 5, 1)), *weights(row, [0]), activation("y", (1, 1, 5, 1))
    )
    inputs = np.array([1, 0, 0, 0, 1], np.int8).reshape(1, 1, 5, 1)
    # taps two apart see the first pixel at 0 (tap 1) and 2 (tap 0), the last at 2 and 4
    assert both(graph, inputs) == [10, 0, 101, 0, 10]


def test_groups_read_their_own_channels() -> None:
    op = Op("CONV_2D", "y", ("x", "w", "b"), ("y",))
    filters = np.array([[1, 2], [3, 4], [5, 6], [7, 8]]).reshape(4, 1, 1, 2)
    graph = graph_of(
        op,
        activation("x", (1, 1, 1, 4)),
        *weights(filters, [0, 0, 0, 1]),
        activation("y", (1, 1, 1, 4)),
    )
    inputs = np.array([1, 2, 3, 4], np.int8).reshape(1, 1, 1, 4)
    assert both(graph, inputs) == [1 + 4, 3 + 8, 15 + 24, 21 + 32 + 1]
    assert count(graph).macs == 4 * 2
    assert count(graph).im2col_bytes == 4
    without = replace(graph, ops=(replace(op, inputs=("x", "w")),))
    with pytest.raises(
        ModelError, match="CONV_2D in groups must have a bias, and weights of 8 bits"
    ):
        check_int8(without)


def test_scratch_of_dilated_and_grouped_convolutions() -> None:
    builder = Builder((9, 9, 8))
    source = builder.conv(builder.input, "grouped", 12, (3, 3), groups=4)  # 72 values all the same
    source = builder.conv(source, "pointwise", 12, groups=2)  # patches, though 1x1
    source = builder.conv(source, "dilated", 4, (3, 3), dilation=(2, 2))
    graph = builder.finish(builder.depthwise(source, "plain C", (5, 5), dilation=(2, 2)))
    assert scratch(graph) == [4 * 72, 4 * 12, 4 * 108]
