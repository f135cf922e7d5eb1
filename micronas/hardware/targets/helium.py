"""TFLM with CMSIS-NN on Cortex-M cores with Helium (M52, M55, M85), whose kernels use other memory.

Structures are those of any 32-bit Cortex-M. Sources of scratch sizes: CMSIS-NN's
``*_get_buffer_size_mve`` and the Prepare functions of TFLM's kernels.
"""

import math
from dataclasses import replace

from micronas.graph.counts import is_pointwise
from micronas.graph.ir import Graph, Op, same_padding
from micronas.graph.kernels.rule import is_wide
from micronas.graph.transposing import is_turned
from micronas.hardware.targets.cmsis_nn import CMSIS_NN, is_fast
from micronas.hardware.targets.cmsis_nn_work import runs_as_convolution

_CHANNELS = 124
"""Channels of a depthwise convolution that are copied at a time (CH_IN_BLOCK_MVE)."""


def _scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    if op.kind == "AVERAGE_POOL_2D":
        return ()
    if is_wide(graph, op):
        return _wide_scratch(graph, op)
    if op.kind == "BATCH_MATMUL":
        return (4 * graph.output_of(op).shape[-1],)
    if op.kind == "TRANSPOSE_CONV" and is_turned(op.stride, graph.input_of(op).shape[3]):
        filters = graph.constant_of(op)
        return _patches(filters.elements // filters.shape[0]), filters.elements
    if op.kind == "CONV_2D":
        return () if is_pointwise(graph, op) else _convolution(graph, op)
    if op.kind != "DEPTHWISE_CONV_2D":
        return CMSIS_NN.scratch(graph, op)
    source, weights = graph.input_of(op), graph.constant_of(op)
    taps = math.prod(weights.shape[1:3])
    if source.shape[3] == 1 and weights.shape[3] > 1 and weights.dtype != "int4":
        # runs as a convolution, with reversed filters
        return (_convolution(graph, op)[0] + weights.elements,)
    is_plain = weights.shape[3] != source.shape[3] or op.dilation != (1, 1)
    return () if is_plain else (4 * _CHANNELS * taps,)


def _wide_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return the scratch sizes of int16: four patches, in whole vectors of 8 for CONV_2D."""
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return CMSIS_NN.scratch(graph, op)
    patch = math.prod(graph.constant_of(op).shape[1:3]) * graph.input_of(op).shape[3]
    if op.kind == "CONV_2D":
        return (64 * -(-patch // 8),)
    return (8 * patch + 8,) if is_fast(graph, op) else ()


def _convolution(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return the size of four patches, or for a map of one row of one patch with its padding."""
    source, weights = graph.input_of(op).shape, graph.constant_of(op)
    _, height, width, _ = weights.shape
    depth, stride = source[3], op.stride[1]
    is_row = source[1] == height == 1 and op.dilation[1] == 1 and stride * depth % 4 == 0
    if is_row and graph.groups_of(op) == 1:
        row = _row(source[2], graph.output_of(op).shape[2], width, stride, depth, op)
        if row is not None:
            return (row,) if row else ()
    return (_patches(height * width * depth),)


def _patches(elements: int) -> int:
    """Return the bytes of four patches of int8 in whole vectors of 16."""
    return 64 * -(-elements // 16)


def _row(size: int, out: int, kernel: int, stride: int, depth: int, op: Op) -> int | None:
    """Return the bytes of arm_convolve_1_x_n_s8, or None where it calls the general kernel."""
    before = same_padding(size, kernel, stride)[0] if op.padding == "SAME" else 0
    uneven = ((out - 1) * stride + kernel - size) % 2
    right = max(1, (before + uneven + stride - 1) // stride) if before + uneven else 0
    left = max(1, (before + stride - 1) // stride) if before else 0
    if right + left + max(out - right - left, 0) != out:
        return None
    at_left = before * depth
    at_right = right * depth if uneven else at_left
    return max(kernel * depth + at_left, (kernel - 1) * depth + at_right)


def _prepared(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return sizes kept for good: sums of a dense layer's filters, else those of any core."""
    is_summed = op.kind == "FULLY_CONNECTED" and not is_wide(graph, op)
    if is_summed and not runs_as_convolution(graph, op):
        weights = graph.constant_of(op)
        return () if weights.dtype == "int4" else (4 * weights.shape[0],)
    return CMSIS_NN.sizes.prepared(graph, op)


HELIUM = replace(
    CMSIS_NN,
    name="cmsis_nn_helium",
    title="TFLM with CMSIS-NN on a Cortex-M with Helium (M52, M55, M85)",
    sizes=replace(CMSIS_NN.sizes, prepared=_prepared),
    scratch=_scratch,
)
"""Target whose instructions are a Cortex-M4's; vectors take fewer."""
