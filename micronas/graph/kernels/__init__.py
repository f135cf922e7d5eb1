"""The integer kernel of each operator: TFLM's arithmetic in NumPy."""

from collections.abc import Callable

from micronas.graph.ir import Graph, Op
from micronas.graph.kernels import (
    elements,
    maps,
    movement,
    products,
    recurrent,
    rows,
    tables,
    weighted,
)
from micronas.graph.kernels.codes import Kernel
from micronas.graph.kinds import each_kind

Maker = Callable[[Graph, Op], Kernel]
"""Prepares the kernel of one operator of a graph that `check_int8` has seen."""

KERNELS = each_kind(
    "graph.kernels",
    {
        "CONV_2D": weighted.convolution,
        "DEPTHWISE_CONV_2D": weighted.depthwise_convolution,
        "FULLY_CONNECTED": weighted.fully_connected,
        "ADD": elements.add,
        "MUL": elements.mul,
        "PAD": maps.pad,
        "PADV2": maps.pad_with,
        "AVERAGE_POOL_2D": maps.average_pool,
        "MAX_POOL_2D": maps.max_pool,
        "MEAN": maps.mean,
        "SUM": maps.sum_up,
        "REDUCE_MAX": maps.reduce_max,
        "TRANSPOSE_CONV": weighted.transposed_convolution,
        "RESIZE_NEAREST_NEIGHBOR": maps.resize_nearest,
        "RESIZE_BILINEAR": maps.resize_bilinear,
        "SPACE_TO_DEPTH": maps.space_to_depth,
        "DEPTH_TO_SPACE": maps.depth_to_space,
        "RESHAPE": maps.reshape,
        "SOFTMAX": rows.softmax,
        "CONCATENATION": maps.concatenation,
        "TRANSPOSE": movement.transpose,
        "SLICE": movement.cut,
        "STRIDED_SLICE": movement.cut,
        "GATHER": movement.gather,
        "BROADCAST_TO": movement.broadcast_to,
        "BATCH_MATMUL": products.batch_matmul,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": recurrent.lstm,
        "LOGISTIC": elements.logistic,
        "HARD_SWISH": elements.hard_swish,
        "RELU": elements.relu,
        "RELU6": elements.relu6,
        "SUB": elements.sub,
        "SQUARED_DIFFERENCE": elements.squared_difference,
        "MAXIMUM": elements.maximum,
        "MINIMUM": elements.minimum,
        "PRELU": elements.prelu,
        "LEAKY_RELU": elements.leaky_relu,
        "ELU": elements.elu,
        "TANH": elements.tanh,
        "ABS": elements.absolute,
        "RSQRT": elements.inverse_root,
        "QUANTIZE": elements.quantize,
        "LOG_SOFTMAX": rows.log_softmax,
        "L2_NORMALIZATION": rows.l2_normalization,
        "POSITIONS": tables.positions,
        "TABLE": tables.table,
    },
)
