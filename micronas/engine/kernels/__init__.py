"""Makers of each operator's calls: C functions and their constants."""

from collections.abc import Callable, Mapping

from micronas.engine.kernels import elements, maps, rows, weighted
from micronas.engine.steps import Maker
from micronas.graph.operators import OPERATORS, Kind

_MAKERS: Mapping[str, Maker] = {
    "CONV_2D": weighted.convolution,
    "DEPTHWISE_CONV_2D": weighted.depthwise,
    "FULLY_CONNECTED": weighted.fully_connected,
    "TRANSPOSE_CONV": weighted.transposed,
    "ADD": elements.add,
    **dict.fromkeys(
        ("MUL", "SUB", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "PRELU"), elements.pairs
    ),
    **dict.fromkeys(
        ("LOGISTIC", "HARD_SWISH", "RELU", "RELU6", "LEAKY_RELU", "ELU"), elements.function
    ),
    **dict.fromkeys(("TANH", "ABS", "RSQRT", "QUANTIZE"), elements.function),
    "POSITIONS": elements.positions,
    "TABLE": elements.table,
    "AVERAGE_POOL_2D": maps.average_pool,
    "MAX_POOL_2D": maps.max_pool,
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX"), maps.reduction),
    "PAD": maps.pad,
    "PADV2": maps.pad_with,
    "RESHAPE": maps.reshape,
    "CONCATENATION": maps.concatenation,
    "TRANSPOSE": maps.transpose,
    **dict.fromkeys(("SLICE", "STRIDED_SLICE"), maps.cut),
    "GATHER": maps.gather,
    "BROADCAST_TO": maps.broadcast_to,
    **dict.fromkeys(("SPACE_TO_DEPTH", "DEPTH_TO_SPACE"), maps.in_blocks),
    "RESIZE_NEAREST_NEIGHBOR": maps.resize_nearest,
    "RESIZE_BILINEAR": maps.resize_bilinear,
    "SOFTMAX": rows.softmax,
    "LOG_SOFTMAX": rows.log_softmax,
    "L2_NORMALIZATION": rows.l2_normalization,
    "BATCH_MATMUL": rows.batch_matmul,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": rows.lstm,
}


Makers = Callable[[Kind], Maker | None]
"""Function from a kind to its maker; None where there is no kernel."""


def maker_of(kind: Kind) -> Maker | None:
    """Return the maker of a kind; None where the engine has no kernel."""
    return _MAKERS.get(kind, maps.moved if OPERATORS[kind].moves else None)
