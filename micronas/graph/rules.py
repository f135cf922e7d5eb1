"""Rules of single operators, by kind: output shapes, and scales that TFLM takes."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from micronas.graph import lookup
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.operators import each_kind
from micronas.graph.padding import same_output

Shape = tuple[int, ...]


def kept(graph: Graph, op: Op) -> Shape | None:
    """Shape of the first operand."""
    return graph.input_of(op).shape


def convolved(graph: Graph, op: Op) -> Shape | None:
    """Shape of CONV_2D: the filters' first dimension is the output's channels."""
    depth, filters = graph.input_of(op).shape[3], graph.constant_of(op).shape
    return _swept(graph, op, filters[1:3], filters[0]) if filters[3] == depth else None


def convolved_depthwise(graph: Graph, op: Op) -> Shape | None:
    """Shape of DEPTHWISE_CONV_2D: each channel gives one or several."""
    depth, filters = graph.input_of(op).shape[3], graph.constant_of(op).shape
    fits = filters[0] == 1 and filters[3] % depth == 0
    return _swept(graph, op, filters[1:3], filters[3]) if fits else None


def pooled(graph: Graph, op: Op) -> Shape | None:
    return _swept(graph, op, op.window, graph.input_of(op).shape[3])


def multiplied(graph: Graph, op: Op) -> Shape | None:
    """Shape of FULLY_CONNECTED: any that holds a row of features for each row of the input."""
    source, output = graph.input_of(op), graph.output_of(op)
    features, depth = graph.constant_of(op).shape
    fits = source.elements % depth == 0 and output.shape[-1] == features
    fits = fits and output.elements == source.elements // depth * features
    return output.shape if fits else None


def broadcast(graph: Graph, op: Op) -> Shape | None:
    """Shape of two operands whose sizes, counted from the last, are equal or 1."""
    left, right = (graph.tensors[name].shape for name in op.operands)
    sides = zip(left[::-1], right[::-1], strict=False)
    fits = all(a == b or 1 in (a, b) for a, b in sides)
    return np.broadcast_shapes(left, right) if fits else None


def padded(graph: Graph, op: Op) -> Shape | str:
    source, table = graph.input_of(op).shape, graph.constant_of(op).data
    if table is None or table.shape != (len(source), 2) or table.min() < 0:
        return "PAD must have two amounts >= 0 for each dimension"
    return tuple(size + int(sum(pair)) for size, pair in zip(source, table, strict=True))


def averaged(graph: Graph, op: Op) -> Shape | None:
    """Shape of MEAN over the spatial axes, which may be kept as 1 or dropped."""
    shape, data = graph.input_of(op).shape, graph.constant_of(op).data
    if data is None or len(shape) != 4 or {int(axis) % 4 for axis in data.flat} != {1, 2}:
        return None
    dropped = (shape[0], shape[3])
    return dropped if len(graph.output_of(op).shape) == 2 else (shape[0], 1, 1, shape[3])


def reshaped(graph: Graph, op: Op) -> Shape | None:
    source, output = graph.input_of(op), graph.output_of(op)
    return output.shape if output.elements == source.elements else None


def joined(graph: Graph, op: Op) -> Shape | None:
    """Shape of tensors side by side; TFLM takes up to 6 dimensions."""
    shapes = [graph.tensors[name].shape for name in op.operands]
    rank, axis = len(shapes[0]), op.axis
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if not 0 <= axis < rank <= 6 or len(rests) > 1 or {len(shape) for shape in shapes} != {rank}:
        return None
    total = sum(shape[axis] for shape in shapes)
    return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])


def _swept(graph: Graph, op: Op, window: Sequence[int], channels: int) -> Shape | None:
    """Shape of a window moved over a map."""
    batch, *area, _ = graph.input_of(op).shape
    sizes = []
    for size, step, extent in zip(area, op.stride, window, strict=True):
        if op.padding == "VALID" and extent > size:
            return None
        valid = (size - extent) // step + 1
        sizes.append(valid if op.padding == "VALID" else same_output(size, step))
    return (batch, *sizes, channels)


# TFLM aborts the process at factors it cannot write, or shifts by more bits than there are.


def softmax_scales(sources: Sequence[float], output: float) -> str | None:
    return "SOFTMAX must read a scale above 2**-26" if sources[0] * 2**26 <= 1 else None


def logistic_scales(sources: Sequence[float], output: float) -> str | None:
    return None if _is_usual(sources[0]) else "LOGISTIC must read a scale of 2**-27 to 2**16"


def relu6_scales(sources: Sequence[float], output: float) -> str | None:
    return None if _is_usual(sources[0]) else "RELU6 must read a scale of 2**-27 to 2**16"


def relu_scales(sources: Sequence[float], output: float) -> str | None:
    holds = sources[0] < output * 2**22
    return None if holds else "RELU must write a scale above 2**-22 of that it reads"


def hard_swish_scales(sources: Sequence[float], output: float) -> str | None:
    shift, gate_shift = lookup.hard_swish_shifts(np.float32(sources[0]), np.float32(output))
    if -15 <= shift <= 0 and -15 <= gate_shift <= 30:
        return None
    return "HARD_SWISH must read a scale of 2**-21 to 2**23 and write 1/127 to 256 times that"


def add_scales(sources: Sequence[float], output: float) -> str | None:
    holds = max(sources) < output * 2**19
    return None if holds else "ADD must write a scale above 2**-19 of those it reads"


def mul_scales(sources: Sequence[float], output: float) -> str | None:
    holds = sources[0] * sources[1] < output * 2**14
    return None if holds else "MUL must write a scale above 2**-14 of the product of those it reads"


def rescaled(sources: Sequence[float], output: float) -> str | None:
    """Of operators that rescale a product, with weights or an average among the factors."""
    holds = math.prod(sources) < output * 2**30
    return None if holds else "it must write a scale above 2**-30 of the product of those it reads"


def fused_scale(op: Op, output: float) -> str | None:
    holds = op.activation != "RELU6" or 6 / output < 2**31
    return None if holds else f"{op.kind} with RELU6 must write a scale above 6 * 2**-31"


def _is_usual(scale: float) -> bool:
    return 2**-27 < scale < 2**16


SHAPES: Mapping[Kind, Callable[[Graph, Op], Shape | str | None]] = each_kind(
    "graph.rules",
    {
        "CONV_2D": convolved,
        "DEPTHWISE_CONV_2D": convolved_depthwise,
        "FULLY_CONNECTED": multiplied,
        "ADD": broadcast,
        "MUL": broadcast,
        "PAD": padded,
        "AVERAGE_POOL_2D": pooled,
        "MAX_POOL_2D": pooled,
        "MEAN": averaged,
        "RESHAPE": reshaped,
        "SOFTMAX": kept,
        "CONCATENATION": joined,
        "LOGISTIC": kept,
        "HARD_SWISH": kept,
        "RELU": kept,
        "RELU6": kept,
    },
)
"""The output's shape; None if the operands do not fit together, or the rule they break."""
SCALES: Mapping[Kind, Callable[[Sequence[float], float], str | None]] = {
    "ADD": add_scales,
    "MUL": mul_scales,
    "MEAN": rescaled,
    "SOFTMAX": softmax_scales,
    "LOGISTIC": logistic_scales,
    "HARD_SWISH": hard_swish_scales,
    "RELU": relu_scales,
    "RELU6": relu6_scales,
}
"""Given the scales of operands and output, the rule of TFLM's that they break, or None.

A kind without one takes any."""
