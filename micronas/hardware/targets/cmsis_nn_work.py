"""Work of operators in the kernels of TFLM with CMSIS-NN."""

import math
from collections.abc import Callable, Mapping

from micronas.engine.newlib import Runs
from micronas.graph import moves, products
from micronas.graph.ir import Graph, Kind, Op, Tensor
from micronas.graph.kernels.rule import is_wide
from micronas.graph.transposing import is_turned
from micronas.hardware import convolutions, copies, elements, kernels
from micronas.hardware.convolutions import Sweep
from micronas.hardware.kernels import Work

_SCALED = ("QUANTIZE", "DEQUANTIZE")
_Rule = Callable[[Graph, Op], Work]


def work(graph: Graph, op: Op) -> Work | None:
    """Return the work of an operator; None for those of unknown kind without a known kernel.

    Shapes are enough, and the data of tables such as axes and paddings.
    """
    if op.kind == "UNKNOWN" or is_wide(graph, op):
        return _foreign(graph, op)
    return _WORK.get(op.kind, _unmeasured)(graph, op)


def runs_as_convolution(graph: Graph, op: Op) -> bool:
    """Return whether the vectors of a FULLY_CONNECTED run as positions of a 1x1 convolution."""
    weights = graph.constant_of(op)
    rank = len(graph.output_of(op).shape)
    return rank > 2 and weights.shape[1] % 4 == 0 and weights.dtype != "int4"


def _foreign(graph: Graph, op: Op) -> Work | None:
    """Return the work of operators that a graph cannot express but a file may hold, or of int16."""
    kind = op.name if op.kind == "UNKNOWN" else op.kind
    tensors = [graph.tensors[name] for name in (*op.inputs, *op.outputs)]
    if kind in _SCALED and len(tensors) == 2:
        from_float = kind == "QUANTIZE" and tensors[0].dtype == "float32"
        kernel = "quantize_from_float" if from_float else kind.lower()
        return kernels.elementwise(kernel, tensors[0].elements)
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and len(op.inputs) > 1 and op.outputs:
        weights, out = tensors[1], tensors[-1]
        if len(weights.shape) == 4 and all(out.shape):
            inner = weights.elements // out.shape[-1]
            return Work("unknown_convolution", {"macs": out.elements * inner, "calls": 1})
    return None


def _convolution(graph: Graph, op: Op) -> Work:
    source, out, weights = graph.input_of(op), graph.output_of(op), graph.constant_of(op)
    taps = weights.shape[1], weights.shape[2]
    sweep = Sweep(_area(source), _area(out), taps, op.stride, op.padding, op.dilation)
    depth, width, bits = _channels(source), _channels(out), _bits(weights)
    if op.kind == "CONV_2D":
        groups = graph.groups_of(op)
        if groups > 1:
            part = out.shape[3] // groups
            return convolutions.convolution_grouped(sweep, _channels(weights), part, groups)
        return convolutions.convolution(sweep, depth, width, bits=bits)
    multiplier = out.shape[3] // source.shape[3]
    if multiplier == 1:
        return convolutions.depthwise(sweep, width, bits=bits)
    return convolutions.depthwise_multiplied(sweep, depth, width, multiplier, bits=bits)


def _transposed(graph: Graph, op: Op) -> Work:
    source, out, weights = graph.input_of(op), graph.output_of(op), graph.constant_of(op)
    taps = weights.shape[1], weights.shape[2]
    shapes = _area(source), _area(out), taps, op.stride, _channels(source), _channels(out)
    if is_turned(op.stride, source.shape[3]):
        return convolutions.transposed_turned(*shapes)
    return convolutions.transposed(*shapes, biased=bool(op.biases))


def _dense(graph: Graph, op: Op) -> Work:
    weights = graph.constant_of(op)
    rows = graph.output_of(op).elements // weights.shape[0]
    width, depth = weights.shape
    if runs_as_convolution(graph, op):
        return convolutions.dense_as_convolution(
            rows, depth, width, is_spread=not weights.per_channel
        )
    return kernels.dense(rows, depth, width, per_channel=weights.per_channel, bits=_bits(weights))


def _pool(graph: Graph, op: Op) -> Work:
    source, out = graph.input_of(op), graph.output_of(op)
    sweep = Sweep(_area(source), _area(out), op.window, op.stride, op.padding)
    return convolutions.pool(sweep, _channels(out), maximum=op.kind == "MAX_POOL_2D")


def _reduced(graph: Graph, op: Op) -> Work:
    axes, outputs = moves.integers(graph, op), graph.output_of(op).elements
    return elements.reduction(op.kind.lower(), graph.input_of(op).shape, axes, outputs)


def _of_two(graph: Graph, op: Op) -> Work:
    return elements.of_two(op.kind.lower(), *_shapes(graph, op))


def _each(graph: Graph, op: Op) -> Work:
    """Return work proportional to the elements written."""
    return kernels.elementwise(op.kind.lower(), graph.output_of(op).elements)


def _by_row(graph: Graph, op: Op) -> Work:
    return elements.by_row(op.kind.lower(), _out(graph, op))


def _product_of_matrices(graph: Graph, op: Op) -> Work:
    """Return the work of dot products of rows; operands in another order are copied."""
    left, right = (graph.tensors[name] for name in op.operands)
    turned = [left.shape] if op.transposed[0] else []
    if not (op.transposed[1] or right.constant):
        turned.append(right.shape)
    *outer, rows, columns = _out(graph, op)
    depth = products.depth(graph, op)
    return kernels.matrix_product(math.prod(outer), rows, depth, columns, turned)


def _lstm(graph: Graph, op: Op) -> Work:
    _, steps, inputs = graph.input_of(op).shape
    return kernels.lstm(steps, inputs, _out(graph, op)[2])


def _joined(graph: Graph, op: Op) -> Work:
    shapes = [graph.tensors[name].shape for name in op.operands]
    parts = [math.prod(shape[op.axis :]) for shape in shapes]
    return copies.concatenation(math.prod(shapes[0][: op.axis]), parts)


def _looked_up(graph: Graph, op: Op) -> Work:
    places = graph.input_of(op).elements
    return copies.gather(1, places, graph.output_of(op).elements // places)


def _gathered(graph: Graph, op: Op) -> Work:
    shape, places = graph.input_of(op).shape, graph.constant_of(op).elements
    return copies.gather(math.prod(shape[: op.axis]), places, math.prod(shape[op.axis + 1 :]))


def _strided(graph: Graph, op: Op) -> Work:
    """Return the work of STRIDED_SLICE; dropped axes count too."""
    taken = moves.pieces(graph, op) or ()
    row = Runs(taken[-1].start, graph.input_of(op).shape[-1])
    return copies.strided(tuple(len(piece) for piece in taken), row, taken[-1].step)


def _padded(graph: Graph, op: Op) -> Work:
    """Return the work of padding; without data of its table all is taken to be at the end."""
    source, table = graph.input_of(op).shape, graph.tensors[op.inputs[-1]].data
    grown = [(0, more - size) for size, more in zip(source, _out(graph, op), strict=True)]
    amounts = grown if table is None else table.tolist()
    if op.kind == "MIRROR_PAD":
        return copies.mirror_pad(source, amounts)
    return copies.pad(source, amounts, value=op.kind == "PADV2")


def _resized(graph: Graph, op: Op) -> Work:
    return copies.resize_nearest(
        graph.input_of(op).shape,
        _out(graph, op),
        corners=op.align_corners,
        half_pixel=op.half_pixel,
    )


def _blocks(graph: Graph, op: Op) -> Work:
    """Return the work of SPACE_TO_DEPTH or DEPTH_TO_SPACE, by the map of fewer pixels."""
    source, out = graph.input_of(op).shape, _out(graph, op)
    deep = out if op.kind == "SPACE_TO_DEPTH" else source
    return copies.blocks(op.kind.lower(), deep, op.block)


_WORK: Mapping[Kind, _Rule] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _dense,
    **dict.fromkeys(("ADD", "MUL", "SUB", "SQUARED_DIFFERENCE", "PRELU"), _of_two),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _padded),
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX"), _reduced),
    "TRANSPOSE_CONV": _transposed,
    "RESIZE_NEAREST_NEIGHBOR": _resized,
    "RESIZE_BILINEAR": lambda graph, op: elements.resize_bilinear(_out(graph, op)),
    "SPACE_TO_DEPTH": _blocks,
    "DEPTH_TO_SPACE": _blocks,
    "RESHAPE": lambda graph, op: copies.reshape(graph.output_of(op).elements),
    "CONCATENATION": _joined,
    "TRANSPOSE": lambda graph, op: copies.transposition(graph.input_of(op).shape),
    "SLICE": lambda graph, op: copies.cut(_out(graph, op)),
    "STRIDED_SLICE": _strided,
    "GATHER": _gathered,
    "TABLE": _looked_up,
    "BROADCAST_TO": lambda graph, op: copies.repetition(*_shapes(graph, op)),
    "BATCH_MATMUL": _product_of_matrices,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    **dict.fromkeys(("LOGISTIC", "HARD_SWISH", "RELU", "RELU6", "LEAKY_RELU", "ELU"), _each),
    **dict.fromkeys(("TANH", "ABS", "RSQRT", "QUANTIZE", "POSITIONS"), _each),
    "MAXIMUM": lambda graph, op: elements.larger_of_two(*_shapes(graph, op)),
    "MINIMUM": lambda graph, op: elements.larger_of_two(*_shapes(graph, op)),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"), _by_row),
}
"""Rules of the measured kinds."""


def _unmeasured(graph: Graph, op: Op) -> Work:
    elements = max(graph.input_of(op).elements, graph.output_of(op).elements)
    return kernels.elementwise("unmeasured", elements)


def _shapes(graph: Graph, op: Op) -> list[tuple[int, ...]]:
    """Return the shapes of operands and output."""
    return [graph.tensors[name].shape for name in (*op.operands, *op.outputs)]


def _out(graph: Graph, op: Op) -> tuple[int, ...]:
    return graph.output_of(op).shape


def _bits(weights: Tensor) -> int:
    return 4 if weights.dtype == "int4" else 8


def _area(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[1], tensor.shape[2]


def _channels(tensor: Tensor) -> int:
    return tensor.shape[3]
