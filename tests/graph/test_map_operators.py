"""Operators on maps: scratch memory read from CMSIS-NN, groups by hand, and what is refused."""

import numpy as np
import pytest

from micronas.errors import ModelError
from micronas.graph.check import check_int8
from micronas.graph.counts import count
from micronas.graph.ir import Graph, Tensor, table
from micronas.hardware.targets import plan
from testing.builder import Builder
from testing.graphs import quantize_randomly
from tests.graph.made import both, constant, one, quantization, tensor


def scratch(graph: Graph) -> list[int]:
    return [buffer.size for buffer in plan(graph).buffers if buffer.is_scratch]


def test_groups_read_their_own_channels() -> None:
    x, y = tensor("x", (1, 1, 1, 4)), tensor("y", (1, 1, 1, 4))
    filters = constant(tensor("w", (4, 1, 1, 2)), range(1, 9))
    bias = Tensor("b", (4,), "int32", True, quantization(1.0), np.array([0, 0, 0, 1], np.int32))
    graph = one("CONV_2D", x, filters, bias, y)
    assert both(graph, [1, 2, 3, 4]) == [1 + 4, 3 + 8, 15 + 24, 21 + 32 + 1]
    assert count(graph).macs == 4 * 2
    assert count(graph).im2col_bytes == 4
    rule = "CONV_2D in groups must have a bias, and weights and activations of 8 bits"
    with pytest.raises(ModelError, match=rule):
        check_int8(one("CONV_2D", x, filters, y))


def test_scratch_of_dilated_and_grouped_convolutions() -> None:
    builder = Builder((9, 9, 8))
    source = builder.conv(builder.input, "grouped", 12, (3, 3), groups=4)  # 72 values all the same
    source = builder.conv(source, "pointwise", 12, groups=2)  # patches, though 1x1
    source = builder.conv(source, "dilated", 4, (3, 3), dilation=(2, 2))
    graph = builder.finish(builder.depthwise(source, "plain C", (5, 5), dilation=(2, 2)))
    assert scratch(graph) == [4 * 72, 4 * 12, 4 * 108]


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
    assert count(graph).macs == (4 * 5) * 3 * (3 * 2) * 8


def test_pixels_beyond_the_map_are_refused() -> None:
    x, refused = tensor("x", (1, 1, 10, 1)), 0
    for wide in range(150, 200):
        step = (1024 * 10 + wide // 2) // wide
        reads = (wide - 1) * step // 1024
        size = table("size", [1, wide])
        graph = one("RESIZE_BILINEAR", x, size, tensor("y", (1, 1, wide, 1)))
        if reads < 10:
            check_int8(graph)
        else:
            refused += 1
            with pytest.raises(ModelError, match="TFLM reads beyond the map"):
                check_int8(graph)
    assert 0 < refused < 50


def test_everything_becomes_one_number() -> None:
    axes = table("axes", [0, 1, 2, 3])
    graph = one("SUM", tensor("x", (1, 2, 2, 1)), axes, tensor("y", (1,)))
    assert both(graph, [1, 2, 3, 4]) == [10]


def test_sums_that_tflm_would_shift_out_are_refused() -> None:
    tensors = tensor("x", (1, 1, 2, 3)), table("axes", [3]), tensor("y", (1, 1, 2), 1e-3)
    with pytest.raises(ModelError, match=r"SUM must write a scale above 2\*\*-7 of that it reads"):
        check_int8(one("SUM", *tensors))
