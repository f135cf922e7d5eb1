"""TFLM's reference kernels on x86-64, as the `tflite_micro` wheel measures them."""

import math

from micronas.graph.ir import Graph, Op
from micronas.graph.kinds import each_kind
from micronas.graph.memory import Sizes, Structures
from micronas.graph.operators import WEIGHTED
from micronas.hardware.targets.tflm import (
    REDUCING,
    Tflm,
    lstm_scratch,
    prepared,
    reduce_scratch,
)

_SIZES = Sizes(
    fixed=484,
    pointer=8,
    eval_tensor=24,
    node=64,
    tensor=64,
    affine_quantization=24,
    request=16,
    allocation=32,
    prepared=prepared(24),
    kinds=each_kind(
        "hardware.targets.host",
        {
            "CONV_2D": Structures(28, data=80),
            "DEPTHWISE_CONV_2D": Structures(28, data=80),
            "FULLY_CONNECTED": Structures(32, data=72),
            "ADD": Structures(8, data=60),
            "MUL": Structures(4, data=36),
            "PAD": Structures(data=56),
            "PADV2": Structures(data=56),
            "AVERAGE_POOL_2D": Structures(40, data=32),
            "MAX_POOL_2D": Structures(40, data=32),
            "MEAN": Structures(1, 1, data=44),
            "SUM": Structures(1, 1, data=44),
            "REDUCE_MAX": Structures(1, 1, data=44),
            "TRANSPOSE_CONV": Structures(20, data=88),
            "RESIZE_NEAREST_NEIGHBOR": Structures(2, 1),
            "RESIZE_BILINEAR": Structures(2, 1),
            "SPACE_TO_DEPTH": Structures(4),
            "DEPTH_TO_SPACE": Structures(4),
            "RESHAPE": Structures(36),
            "SOFTMAX": Structures(4, data=80),
            "CONCATENATION": Structures(8, data=80),
            "TRANSPOSE": Structures(),
            "SLICE": Structures(),
            "STRIDED_SLICE": Structures(24, data=84),
            "GATHER": Structures(8),
            "POSITIONS": Structures(data=32),
            "TABLE": Structures(8),
            "BROADCAST_TO": Structures(),
            "BATCH_MATMUL": Structures(3, 1, data=32),
            "UNIDIRECTIONAL_SEQUENCE_LSTM": Structures(16, data=688),
            "LOGISTIC": Structures(data=16),
            "HARD_SWISH": Structures(data=20),
            "RELU": Structures(data=28),
            "RELU6": Structures(data=2),
            "SUB": Structures(8, data=52),
            "SQUARED_DIFFERENCE": Structures(data=112),
            "MAXIMUM": Structures(),
            "MINIMUM": Structures(),
            "PRELU": Structures(data=28),
            "LEAKY_RELU": Structures(4, data=24),
            "ELU": Structures(data=256),
            "TANH": Structures(data=16),
            "ABS": Structures(data=28),
            "RSQRT": Structures(data=28),
            "QUANTIZE": Structures(data=32),
            "LOG_SOFTMAX": Structures(data=40),
            "L2_NORMALIZATION": Structures(4, data=4),
        },
    ),
)


def _scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Sums of means and maps; whole filters where int4 weights are unpacked."""
    if op.kind in REDUCING:
        return reduce_scratch(graph, op)
    if op.kind == "TRANSPOSE_CONV":
        return (4 * graph.output_of(op).elements,)
    if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return lstm_scratch(graph, op, 4)
    if op.kind in WEIGHTED and graph.constant_of(op).dtype == "int4":
        return (math.prod(graph.constant_of(op).shape),)
    return ()


HOST = Tflm("host", "TFLM's reference kernels on a 64-bit host", _SIZES, _scratch)
