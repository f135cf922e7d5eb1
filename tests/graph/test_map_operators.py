"""Operators on maps: numbers by hand, the real TFLM, and scratch memory read from CMSIS-NN."""

from dataclasses import replace

import numpy as np
import pytest

from micronas.errors import ModelError
from micronas.export.verify import tflm_arena
from micronas.graph.builder import Builder
from micronas.graph.check import check_int8
from micronas.graph.counts import count
from micronas.graph.ir import Graph, Kind, Op, Padding, Quantization, Tensor
from micronas.hardware.targets import HOST, plan
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly
from tests.graph import made
from tests.graph.made import tensor


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
    """Run a graph as `made.both`; a file must keep its options, and have the planned arena."""
    model = to_flatbuffer(graph)
    assert read(model).ops == graph.ops
    predicted, measured = plan(graph, HOST), tflm_arena(model)
    assert (predicted.head, predicted.tail) == (measured.head, measured.tail)
    return made.both(graph, inputs)


def scratch(graph: Graph) -> list[int]:
    return [buffer.size for buffer in plan(graph).buffers if buffer.is_scratch]


# Convolutions


def test_a_dilated_convolution_pads_for_its_reach() -> None:
    op = Op("CONV_2D", "y", ("x", "w", "b"), ("y",), dilation=(1, 2))
    row = np.array([1, 10, 100]).reshape(1, 1, 3, 1)
    graph = graph_of(op, tensor("x", (1, 1, 5, 1)), *weights(row, [0]), tensor("y", (1, 1, 5, 1)))
    inputs = np.array([1, 0, 0, 0, 1], np.int8).reshape(1, 1, 5, 1)
    # taps two apart see the first pixel at 0 (tap 1) and 2 (tap 0), the last at 2 and 4
    assert both(graph, inputs) == [10, 0, 101, 0, 10]


def test_groups_read_their_own_channels() -> None:
    op = Op("CONV_2D", "y", ("x", "w", "b"), ("y",))
    filters = np.array([[1, 2], [3, 4], [5, 6], [7, 8]]).reshape(4, 1, 1, 2)
    graph = graph_of(
        op,
        tensor("x", (1, 1, 1, 4)),
        *weights(filters, [0, 0, 0, 1]),
        tensor("y", (1, 1, 1, 4)),
    )
    inputs = np.array([1, 2, 3, 4], np.int8).reshape(1, 1, 1, 4)
    assert both(graph, inputs) == [1 + 4, 3 + 8, 15 + 24, 21 + 32 + 1]
    assert count(graph).macs == 4 * 2
    assert count(graph).im2col_bytes == 4
    without = replace(graph, ops=(replace(op, inputs=("x", "w")),))
    with pytest.raises(
        ModelError,
        match="CONV_2D in groups must have a bias, and weights and activations of 8 bits",
    ):
        check_int8(without)


def test_scratch_of_dilated_and_grouped_convolutions() -> None:
    builder = Builder((9, 9, 8))
    source = builder.conv(builder.input, "grouped", 12, (3, 3), groups=4)  # 72 values all the same
    source = builder.conv(source, "pointwise", 12, groups=2)  # patches, though 1x1
    source = builder.conv(source, "dilated", 4, (3, 3), dilation=(2, 2))
    graph = builder.finish(builder.depthwise(source, "plain C", (5, 5), dilation=(2, 2)))
    assert scratch(graph) == [4 * 72, 4 * 12, 4 * 108]


def shaped(op: Op, x: tuple[int, ...], y: tuple[int, ...], *more: Tensor) -> Graph:
    return graph_of(op, tensor("x", x), *more, tensor("y", y))


def table(name: str, values: list[int]) -> Tensor:
    data = np.array(values, np.int32)
    return Tensor(name, data.shape, "int32", True, data=data)


# Transposed convolutions


@pytest.mark.parametrize(
    ("padding", "reach", "expected"),
    [
        # the second pixel begins two to the right of the first; bias 5, zero point of x 1
        ("VALID", 3, [1 + 5, 10 + 5, 100 + 2 + 5, 20 + 5, 127]),
        ("SAME", 2, [1 + 5, 10 + 5, 100 + 2 + 5, 20 + 5]),
    ],
)
def test_a_transposed_convolution_adds_filters(
    padding: Padding, reach: int, expected: list[int]
) -> None:
    op = Op(
        "TRANSPOSE_CONV",
        "y",
        ("x", "w", "b", "shape"),
        ("y",),
        stride=(1, 2),
        padding=padding,
        reach=(1, reach),
    )
    filters = np.array([1, 10, 100]).reshape(1, 1, 3, 1)
    shape = (1, 1, 2 + reach, 1)
    tensors = [tensor("x", (1, 1, 2, 1), zero_point=1), *weights(filters, [5])]
    output = tensor("y", shape)
    graph = graph_of(op, *tensors, table("shape", list(shape)), output)
    inputs = np.array([2, 3], np.int8).reshape(1, 1, 2, 1)
    assert both(graph, inputs) == expected
    assert count(graph).macs == 2 * 3


def test_what_cmsis_nn_gets_wrong_is_refused() -> None:
    builder = Builder((4, 4, 16))
    few = builder.finish(builder.transposed(builder.input, "up", 2, (4, 4), stride=(2, 2)))
    with pytest.raises(ModelError, match=r"up to 16 channels .* must be padded by whole strides"):
        check_int8(quantize_randomly(few))
    builder = Builder((4, 4, 17))
    many = builder.finish(builder.transposed(builder.input, "up", 2, (4, 4), stride=(2, 2)))
    check_int8(quantize_randomly(many))
    assert scratch(many) == [4 * 16 * 17, 2 * 16 * 17]  # patches; filters turned around


def test_scratch_of_a_transposed_convolution_is_a_few_rows() -> None:
    builder = Builder((4, 5, 8))
    graph = builder.finish(builder.transposed(builder.input, "up", 3, (3, 2), stride=(2, 2)))
    # three rows of (5 - 1) x 2 + 2 pixels of 3 sums of int32, and nothing turned around
    assert scratch(graph) == [-(-4 * 3 * 10 * 3 // 16) * 16, 0]


# Resizing


@pytest.mark.parametrize(
    ("corners", "half", "expected"),
    [
        (False, False, [0, 0, 0, 1, 1, 2, 2]),  # floor(i * 3 / 7)
        (False, True, [0, 0, 1, 1, 1, 2, 2]),  # floor((i + 1/2) * 3 / 7)
        (True, False, [0, 0, 1, 1, 1, 2, 2]),  # round(i / 3)
        (True, True, [0, 1, 1, 1, 2, 2, 2]),  # round((i + 1/2) / 3)
    ],
)
def test_the_nearest_pixel(corners: bool, half: bool, expected: list[int]) -> None:
    op = Op(
        "RESIZE_NEAREST_NEIGHBOR",
        "y",
        ("x", "size"),
        ("y",),
        align_corners=corners,
        half_pixel=half,
    )
    graph = shaped(op, (1, 1, 3, 1), (1, 1, 7, 1), table("size", [1, 7]))
    assert both(graph, np.arange(3, dtype=np.int8).reshape(1, 1, 3, 1)) == expected


@pytest.mark.parametrize(
    ("corners", "half", "expected"),
    [
        (False, False, [-100, -10, 80, 80]),  # -10 lies between, at 1/2
        (False, True, [-100, -55, 35, 80]),  # at -1/4, 1/4, 3/4, 5/4
        (True, False, [-100, -40, 20, 80]),  # at thirds: 1/1024 of 180 is less than a code
    ],
)
def test_between_pixels(corners: bool, half: bool, expected: list[int]) -> None:
    op = Op("RESIZE_BILINEAR", "y", ("x", "size"), ("y",), align_corners=corners, half_pixel=half)
    graph = shaped(op, (1, 1, 2, 1), (1, 1, 4, 1), table("size", [1, 4]))
    assert both(graph, np.array([-100, 80], np.int8).reshape(1, 1, 2, 1)) == expected


def test_ties_between_pixels_go_away_from_code_zero() -> None:
    op = Op("RESIZE_BILINEAR", "y", ("x", "size"), ("y",))
    graph = shaped(op, (1, 1, 2, 1), (1, 1, 4, 1), table("size", [1, 4]))
    inputs = np.array([[0, 1], [0, -1]], np.int8).reshape(2, 1, 2, 1)
    assert both(graph, inputs) == [0, 1, 1, 1, 0, -1, -1, -1]


def test_pixels_beyond_the_map_are_refused() -> None:
    op = Op("RESIZE_BILINEAR", "y", ("x", "size"), ("y",))
    refused = 0
    for wide in range(150, 200):
        step = (1024 * 10 + wide // 2) // wide
        reads = (wide - 1) * step // 1024
        graph = shaped(op, (1, 1, 10, 1), (1, 1, wide, 1), table("size", [1, wide]))
        if reads < 10:
            check_int8(graph)
        else:
            refused += 1
            with pytest.raises(ModelError, match="TFLM reads beyond the map"):
                check_int8(graph)
    assert 0 < refused < 50


# Reductions


@pytest.mark.parametrize(
    ("kind", "scale", "expected"),
    [
        ("MEAN", 1.0, [2, 5]),  # (1 + 2 + 3) / 3, (4 + 5 + 6) / 3
        ("MEAN", 0.5, [4, 10]),
        ("SUM", 1.0, [6, 15]),
        ("SUM", 3.0, [2, 5]),
        ("REDUCE_MAX", 1.0, [3, 6]),
    ],
)
def test_reductions_of_channels(kind: Kind, scale: float, expected: list[int]) -> None:
    op = Op(kind, "y", ("x", "axes"), ("y",))
    tensors = tensor("x", (1, 1, 2, 3)), table("axes", [-1]), tensor("y", (1, 1, 2), scale)
    inputs = np.arange(1, 7, dtype=np.int8).reshape(1, 1, 2, 3)
    assert both(graph_of(op, *tensors), inputs) == expected


def test_everything_becomes_one_number() -> None:
    op = Op("SUM", "y", ("x", "axes"), ("y",))
    graph = shaped(op, (1, 2, 2, 1), (1,), table("axes", [0, 1, 2, 3]))
    assert both(graph, np.array([1, 2, 3, 4], np.int8).reshape(1, 2, 2, 1)) == [10]


def test_sums_that_tflm_would_shift_out_are_refused() -> None:
    op = Op("SUM", "y", ("x", "axes"), ("y",))
    tensors = tensor("x", (1, 1, 2, 3)), table("axes", [3]), tensor("y", (1, 1, 2), 1e-3)
    with pytest.raises(ModelError, match=r"SUM must write a scale above 2\*\*-7 of that it reads"):
        check_int8(graph_of(op, *tensors))


# Blocks of pixels


def test_blocks_become_channels_pixel_by_pixel() -> None:
    op = Op("SPACE_TO_DEPTH", "y", ("x",), ("y",), block=2)
    graph = shaped(op, (1, 2, 2, 2), (1, 1, 1, 8))
    inputs = np.arange(8, dtype=np.int8).reshape(1, 2, 2, 2)
    assert both(graph, inputs) == list(range(8))
    op = Op("DEPTH_TO_SPACE", "y", ("x",), ("y",), block=2)
    graph = shaped(op, (1, 1, 2, 4), (1, 2, 4, 1))
    inputs = np.arange(8, dtype=np.int8).reshape(1, 1, 2, 4)
    assert both(graph, inputs) == [0, 1, 4, 5, 2, 3, 6, 7]
