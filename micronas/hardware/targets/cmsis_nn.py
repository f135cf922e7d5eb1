"""TFLM with CMSIS-NN on 32-bit Cortex-M cores with the DSP extension.

Sizes are those of the C structures under the ARM embedded ABI, where enumerations take one byte.
"""

import math

from micronas.graph.counts import is_pointwise
from micronas.graph.ir import Graph, Op
from micronas.graph.kinds import each_kind
from micronas.graph.memory import Sizes, Structures
from micronas.graph.transposing import is_turned
from micronas.hardware.instructions import Price, priced
from micronas.hardware.targets.cmsis_nn_work import runs_as_convolution, work
from micronas.hardware.targets.host import HOST
from micronas.hardware.targets.tflm import (
    REDUCING,
    Tflm,
    lstm_scratch,
    prepared,
    reduce_scratch,
)

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
    kinds=each_kind(
        "hardware.targets.cmsis_nn (sizes)",
        {
            "CONV_2D": Structures(28, data=60),
            "DEPTHWISE_CONV_2D": Structures(28, data=60),
            "FULLY_CONNECTED": Structures(5, 1, data=80),
            "ADD": Structures(2, 1, data=60),
            "MUL": Structures(1, 1, data=36),
            "PAD": Structures(data=56),
            "PADV2": Structures(data=56),
            "AVERAGE_POOL_2D": Structures(40, data=36),
            "MAX_POOL_2D": Structures(40, data=36),
            "MEAN": Structures(1, 1, data=44),
            "SUM": Structures(1, 1, data=44),
            "REDUCE_MAX": Structures(1, 1, data=44),
            "TRANSPOSE_CONV": Structures(16, data=76),
            "RESIZE_NEAREST_NEIGHBOR": Structures(2, 1),
            "RESIZE_BILINEAR": Structures(2, 1),
            "SPACE_TO_DEPTH": Structures(4),
            "DEPTH_TO_SPACE": Structures(4),
            "RESHAPE": Structures(36),
            "SOFTMAX": Structures(4, data=60),
            "CONCATENATION": Structures(8, data=24),
            "TRANSPOSE": Structures(),
            "SLICE": Structures(),
            "STRIDED_SLICE": Structures(24, data=84),
            "GATHER": Structures(8),
            "POSITIONS": Structures(data=32),
            "TABLE": Structures(8),
            "BROADCAST_TO": Structures(),
            "BATCH_MATMUL": Structures(3, 1, data=36),
            "UNIDIRECTIONAL_SEQUENCE_LSTM": Structures(16, data=912),
            "LOGISTIC": Structures(data=16),
            "HARD_SWISH": Structures(data=20),
            "RELU": Structures(data=28),
            "RELU6": Structures(data=2),
            "SUB": Structures(2, 1, data=52),
            "SQUARED_DIFFERENCE": Structures(data=112),
            "MAXIMUM": Structures(),
            "MINIMUM": Structures(),
            "PRELU": Structures(data=28),
            "LEAKY_RELU": Structures(4, data=24),
            "ELU": Structures(data=256),
            "TANH": Structures(data=16),
            "ABS": Structures(data=20),
            "RSQRT": Structures(data=20),
            "QUANTIZE": Structures(data=32),
            "LOG_SOFTMAX": Structures(data=28),
            "L2_NORMALIZATION": Structures(1, 1, data=4),
        },
    ),
)


def _scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Patches as int16 (two rows for a convolution, one for a depthwise one), and sums."""
    if op.kind in REDUCING:  # no CMSIS-NN kernel exists
        return reduce_scratch(graph, op)
    if op.kind == "TRANSPOSE_CONV":
        return _transposed_scratch(graph, op)
    if op.kind == "AVERAGE_POOL_2D":
        return (4 * graph.input_of(op).shape[-1],)
    if op.kind == "FULLY_CONNECTED":
        return _spread_scales(graph, op)
    if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return lstm_scratch(graph, op, 3)
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return ()
    weights = graph.constant_of(op)
    is_int4 = weights.dtype == "int4"
    patch = math.prod(weights.shape[1:3]) * graph.input_of(op).shape[3]
    if op.kind == "CONV_2D":  # a patch of a group is smaller, but that much is asked for
        asked = 4 * (patch if is_int4 else -(-patch // 4) * 4)
        return () if is_pointwise(graph, op) else (asked,)
    is_plain = weights.shape[3] != graph.input_of(op).shape[3] or op.dilation != (1, 1)
    if is_plain or (weights.shape[1:3] == (3, 3) and not is_int4):
        return ()
    return (2 * patch,)


def _spread_scales(graph: Graph, op: Op) -> tuple[int, ...]:
    """A multiplier and a shift a channel, where one scale of vectors runs as a convolution."""
    weights = graph.constant_of(op)
    is_spread = runs_as_convolution(graph, op) and not weights.per_channel
    return (8 * weights.shape[0],) if is_spread else ()


def _transposed_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Patches and filters turned around; or sums of the rows that a row of the input reaches."""
    source, output, filters = graph.input_of(op), graph.output_of(op), graph.constant_of(op)
    _, height, width, depth = filters.shape
    if is_turned(op.stride, depth):
        return 4 * (-(-height * width * depth // 4) * 4), filters.elements
    # the width of a row is as CMSIS-NN asks for it, by the stride downwards
    row = ((source.shape[2] - 1) * op.stride[1] + max(width, op.stride[0])) * output.shape[3]
    return 4 * row * max(height, op.stride[0]), 0


def price(graph: Graph, op: Op) -> Price | None:
    """Return the instructions of an operator on a Cortex-M4, or None if its kind is not known.

    Parameters
    ----------
    graph
        Shapes are enough.
    op
        One of its operators; QUANTIZE, DEQUANTIZE and convolutions may be UNKNOWN.
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
