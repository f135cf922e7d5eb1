"""TFLM with CMSIS-NN on 32-bit Cortex-M cores with the DSP extension.

Sizes are those of the C structures under the ARM embedded ABI, where enumerations take one byte.
"""

import math

from micronas.graph.counts import is_pointwise
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.rule import is_wide
from micronas.graph.memory import Sizes
from micronas.graph.operators import OPERATORS, WEIGHTED
from micronas.graph.transposing import is_turned
from micronas.hardware.instructions import Price, priced
from micronas.hardware.targets.cmsis_nn_work import runs_as_convolution, work
from micronas.hardware.targets.host import HOST
from micronas.hardware.targets.tflm import Tflm, lstm_scratch, prepared, reference_scratch
from micronas.quantities import aligned

_SIZES = Sizes(
    fixed=136,
    pointer=4,
    eval_tensor=12,
    node=32,
    tensor=32,
    affine_quantization=12,
    request=12,
    allocation=24,
    prepared=prepared(12, lstm_sums=8),
    kinds={kind: row.cortex_m or row.structures for kind, row in OPERATORS.items()},
)


def _scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return scratch sizes: patches as int16 (two for CONV_2D, one for a depthwise one), sums."""
    if is_wide(graph, op) and op.kind in WEIGHTED:
        return _wide_scratch(graph, op)
    if op.kind == "TRANSPOSE_CONV":
        return _transposed_scratch(graph, op)
    if op.kind == "AVERAGE_POOL_2D":
        return (4 * graph.input_of(op).shape[-1],)
    if op.kind == "FULLY_CONNECTED":
        return _spread_scales(graph, op)
    if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return lstm_scratch(graph, op, 3)
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return reference_scratch(graph, op)
    weights = graph.constant_of(op)
    is_int4 = weights.dtype == "int4"
    patch = math.prod(weights.shape[1:3]) * graph.input_of(op).shape[3]
    if op.kind == "CONV_2D":  # for groups too, though their patches are smaller
        asked = 4 * (patch if is_int4 else aligned(patch))
        return () if is_pointwise(graph, op) else (asked,)
    is_plain = weights.shape[3] != graph.input_of(op).shape[3] or op.dilation != (1, 1)
    if is_plain or (weights.shape[1:3] == (3, 3) and not is_int4):
        return ()
    return (2 * patch,)


def _wide_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return the scratch sizes of int16: two patches, or one of a depthwise convolution."""
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return HOST.scratch(graph, op)
    patch = math.prod(graph.constant_of(op).shape[1:3]) * graph.input_of(op).shape[3]
    if op.kind == "CONV_2D":
        return (4 * patch,)
    return (2 * patch,) if is_fast(graph, op) else ()


def is_fast(graph: Graph, op: Op) -> bool:
    """Return whether a depthwise convolution of int16 copies its patches."""
    weights = graph.constant_of(op)
    is_plain = weights.shape[3] != graph.input_of(op).shape[3] or op.dilation != (1, 1)
    return not is_plain and math.prod(weights.shape[1:3]) < 512


def _spread_scales(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return the size of a multiplier and shift per channel, where a dense layer of one scale runs
    as a convolution."""
    weights = graph.constant_of(op)
    is_spread = runs_as_convolution(graph, op) and not weights.per_channel
    return (8 * weights.shape[0],) if is_spread else ()


def _transposed_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return sizes of patches and reversed filters, or of the sums that an input row reaches."""
    source, output, filters = graph.input_of(op), graph.output_of(op), graph.constant_of(op)
    _, height, width, depth = filters.shape
    if is_turned(op.stride, depth):
        return 4 * aligned(height * width * depth), filters.elements
    # CMSIS-NN computes a row's width with the vertical stride
    row = ((source.shape[2] - 1) * op.stride[1] + max(width, op.stride[0])) * output.shape[3]
    return 4 * row * max(height, op.stride[0]), 0


def price(graph: Graph, op: Op) -> Price | None:
    """Return the instructions of an operator on a Cortex-M4, or None if its kind is not known.

    QUANTIZE, DEQUANTIZE and convolutions may be UNKNOWN.
    """
    found = work(graph, op)
    return None if found is None else priced(found)


CMSIS_NN = Tflm(
    "cmsis_nn",
    "TFLM with CMSIS-NN on a Cortex-M with the DSP extension (M4, M7, M33)",
    _SIZES,
    _scratch,
    price,
    HOST,
)
