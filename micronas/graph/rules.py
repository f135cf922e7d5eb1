"""Rules of single operators, by kind: output shapes, and scales that TFLM takes."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from micronas.graph import lookup, moves, products, recurrent, resizing
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.kinds import each_kind
from micronas.graph.padding import extent, same_output
from micronas.graph.transposing import is_computed

Shape = tuple[int, ...]

_LARGEST_SIDE = 2**15
"""Of a resized map: its positions, in 1/1024 of a pixel, fit int32."""

LARGEST_RANK = 6
"""Dimensions a tensor may have in TFLM's kernels."""
_MOST_SQUARES = (2**31 - 1) // 255**2


def kept(graph: Graph, op: Op) -> Shape | None:
    """Shape of the first operand."""
    return graph.input_of(op).shape


def convolved(graph: Graph, op: Op) -> Shape | str | None:
    """Shape of CONV_2D: the filters' first dimension is the output's channels.

    Filters of less depth than the input divide it into groups.
    """
    depth, filters = graph.input_of(op).shape[3], graph.constant_of(op)
    channels, *window, part = filters.shape
    if depth % part or channels % (depth // part):
        return None
    if part < depth and (len(op.inputs) < 3 or filters.dtype == "int4"):
        # CMSIS-NN steps a bias from group to group unasked, and takes int4 filters for whole ones
        return "CONV_2D in groups must have a bias, and weights of 8 bits"
    return _swept(graph, op, window, channels)


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


def broadcast(graph: Graph, op: Op) -> Shape | str | None:
    """Shape of two operands whose sizes, counted from the last, are equal or 1."""
    left, right = (graph.tensors[name].shape for name in op.operands)
    sides = zip(left[::-1], right[::-1], strict=False)
    if left != right and not all(a == b or 1 in (a, b) for a, b in sides):
        return None
    shape = left if left == right else np.broadcast_shapes(left, right)
    if len(shape) > LARGEST_RANK:
        return f"{op.kind} must have up to {LARGEST_RANK} dimensions"
    return shape


def broadcast_by_loops(graph: Graph, op: Op) -> Shape | str | None:
    """Shape of MAXIMUM and MINIMUM, which CMSIS-NN walks along four dimensions.

    It steps twice over an operand that has one element a row, unless it has only one in all.
    """
    shapes = [graph.tensors[name].shape for name in op.operands]
    if max(map(len, shapes)) > 4:
        return f"{op.kind} must have up to 4 dimensions"
    for shape, other in (shapes, shapes[::-1]):
        is_thin = math.prod(shape[-2:]) == 1 < math.prod(shape)
        if is_thin and math.prod(other[-2:]) > 1:
            return f"{op.kind} must not spread single elements over rows"
    return broadcast(graph, op)


def bent(graph: Graph, op: Op) -> Shape | str | None:
    """Shape of PRELU: its slopes are spread over the values."""
    shape = graph.input_of(op).shape
    found = broadcast(graph, op)
    return found if isinstance(found, str) or found == shape else None


def scaled_below_zero(graph: Graph, op: Op) -> Shape | str:
    source, output = graph.input_of(op), graph.output_of(op)
    if not 0 <= op.alpha < math.inf:
        return "LEAKY_RELU must have a finite alpha >= 0"
    if source.quantization is not None and output.quantization is not None:
        factor = float(source.quantization.scale[0]) * op.alpha
        if broken := rescaled_scales([factor], float(output.quantization.scale[0])):
            return broken.format(kind="LEAKY_RELU") + ", alpha included"
    return source.shape


def rooted(graph: Graph, op: Op) -> Shape | str:
    """Shape of RSQRT, which stops the network at a code below that of zero."""
    quantization = graph.input_of(op).quantization
    if quantization is not None and quantization.zero_point != -128:
        return "RSQRT must read values that are never negative, at zero point -128"
    return graph.input_of(op).shape


def looked_up(graph: Graph, op: Op) -> Shape | str:
    """Shape of TABLE; TFLM does not check that positions lie in the table."""
    source, table = graph.input_of(op), graph.constant_of(op)
    written = {name: each.kind for each in graph.ops for name in each.outputs}
    if op.axis != 0 or table.shape != (256,) or written.get(source.name) != "POSITIONS":
        return "TABLE must read positions of 256 codes"
    return source.shape


def normalized(graph: Graph, op: Op) -> Shape | str:
    """Shape of L2_NORMALIZATION along the last dimension; sums of squares must fit in int32."""
    shape = graph.input_of(op).shape
    if len(shape) > 4 or shape[-1] > _MOST_SQUARES:
        return f"{op.kind} must have up to 4 dimensions, the last of up to {_MOST_SQUARES}"
    return shape


def padded(graph: Graph, op: Op) -> Shape | str:
    source, table = graph.input_of(op).shape, graph.constant_of(op, -1).data
    # CMSIS-NN looks at the last four dimensions alone
    if table is None or table.shape != (len(source), 2) or table.min() < 0 or len(source) > 4:
        return f"{op.kind} must have two amounts >= 0 for each dimension, of which there are 4"
    return tuple(size + int(sum(pair)) for size, pair in zip(source, table, strict=True))


def padded_with(graph: Graph, op: Op) -> Shape | str:
    """Shape of PADV2, whose second operand is what it writes around the first."""
    value = graph.constant_of(op)
    if value.data is None or value.elements != 1:
        return "PADV2 must write one constant around its input"
    return padded(graph, op)


def reduced(graph: Graph, op: Op) -> Shape | str:
    """Shape of MEAN, SUM or REDUCE_MAX: axes become 1, or all of them are dropped."""
    shape, data = graph.input_of(op).shape, graph.constant_of(op).data
    rank = len(shape)
    if data is None or not data.size or data.min() < -rank or data.max() >= rank:
        return f"{op.kind} must name axes from {-rank} to {rank - 1}"
    axes = {int(axis) % rank for axis in data.flat}
    if len(graph.output_of(op).shape) == rank:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes) or (1,)


def convolved_back(graph: Graph, op: Op) -> Shape | str | None:
    """Shape of TRANSPOSE_CONV: that of maps which a convolution would make the input from."""
    batch, *area, depth = graph.input_of(op).shape
    channels, *window, part = graph.constant_of(op).shape
    (height, width), (rows, columns) = area, window
    sizes = []
    for size, step, taps, reach in zip(area, op.stride, window, op.reach, strict=True):
        first = taps if op.padding == "VALID" else 1
        if not first <= reach < first + step:
            return "TRANSPOSE_CONV must write a map from which its convolution makes the input"
        sizes.append((size - 1) * step + reach)
    if not is_computed((height, width), (rows, columns), op.stride, op.reach, depth):
        return (
            "TRANSPOSE_CONV of up to 16 channels or strides above 2 must be padded by whole "
            "strides and have filters as large as strides, as CMSIS-NN computes no others"
        )
    shape = (batch, *sizes, channels)
    table = graph.tensors[op.inputs[-1]].data
    if table is None or tuple(table.ravel()) != shape:
        return "TRANSPOSE_CONV must name the shape it writes"
    return shape if part == depth else None


def resized(graph: Graph, op: Op) -> Shape | str:
    source, table = graph.input_of(op).shape, graph.constant_of(op).data
    sizes = [] if table is None else [int(size) for size in table.flat]
    if len(source) != 4 or len(sizes) != 2 or min(sizes) < 1 or max(sizes) > _LARGEST_SIDE:
        return f"{op.kind} must read a map [N, ...] and two sizes of 1 to {_LARGEST_SIDE}"
    if op.kind == "RESIZE_BILINEAR":
        if op.half_pixel and op.align_corners:
            return "RESIZE_BILINEAR must have centres of half a pixel or aligned corners, not both"
        sides = zip(source[1:3], sizes, strict=True)
        if any(resizing.between(size, out, op)[0].max() >= size for size, out in sides):
            return "RESIZE_BILINEAR must not enlarge so much that TFLM reads beyond the map"
    return (source[0], *sizes, source[3])


def folded(graph: Graph, op: Op) -> Shape | str:
    """Shape of SPACE_TO_DEPTH: squares of pixels become channels."""
    shape, block = graph.input_of(op).shape, op.block
    if len(shape) != 4 or block < 1 or shape[1] % block or shape[2] % block:
        return "SPACE_TO_DEPTH must read [N, height, width, channels] of whole blocks"
    return (shape[0], shape[1] // block, shape[2] // block, shape[3] * block**2)


def unfolded(graph: Graph, op: Op) -> Shape | str:
    """Shape of DEPTH_TO_SPACE: channels become squares of pixels."""
    shape, block = graph.input_of(op).shape, op.block
    if len(shape) != 4 or block < 1 or shape[3] % block**2:
        return "DEPTH_TO_SPACE must read [N, height, width, channels] of whole blocks"
    return (shape[0], shape[1] * block, shape[2] * block, shape[3] // block**2)


def reshaped(graph: Graph, op: Op) -> Shape | None:
    source, output = graph.input_of(op), graph.output_of(op)
    return output.shape if output.elements == source.elements else None


def joined(graph: Graph, op: Op) -> Shape | None:
    """Shape of tensors side by side."""
    shapes = [graph.tensors[name].shape for name in op.operands]
    rank, axis = len(shapes[0]), op.axis
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if (
        not 0 <= axis < rank <= LARGEST_RANK
        or len(rests) > 1
        or {len(shape) for shape in shapes} != {rank}
    ):
        return None
    total = sum(shape[axis] for shape in shapes)
    return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])


def _swept(graph: Graph, op: Op, window: Sequence[int], channels: int) -> Shape | None:
    """Shape of a window moved over a map."""
    batch, *area, _ = graph.input_of(op).shape
    sizes = []
    for size, step, taps, apart in zip(area, op.stride, window, op.dilation, strict=True):
        reach = extent(taps, apart)
        if op.padding == "VALID" and reach > size:
            return None
        valid = (size - reach) // step + 1
        sizes.append(valid if op.padding == "VALID" else same_output(size, step))
    return (batch, *sizes, channels)


# TFLM aborts the process at factors it cannot write, or shifts by more bits than there are.


def softmax_scales(sources: Sequence[float], output: float) -> str | None:
    return "SOFTMAX must read a scale above 2**-26" if sources[0] * 2**26 <= 1 else None


def usual_scales(sources: Sequence[float], output: float) -> str | None:
    """Scales that LOGISTIC, TANH and RELU6 take."""
    return None if 2**-27 < sources[0] < 2**16 else "{kind} must read a scale of 2**-27 to 2**16"


def log_softmax_scales(sources: Sequence[float], output: float) -> str | None:
    return "LOG_SOFTMAX must read a scale above 2**-25" if sources[0] * 2**25 <= 1 else None


def rescaled_scales(sources: Sequence[float], output: float) -> str | None:
    """Scales of RELU, QUANTIZE and others that rescale codes."""
    holds = sources[0] < output * 2**22
    return None if holds else "{kind} must write a scale above 2**-22 of that it reads"


def prelu_scales(sources: Sequence[float], output: float) -> str | None:
    return rescaled_scales(sources, output) or mul_scales(sources, output)


def inverse_root_scales(sources: Sequence[float], output: float) -> str | None:
    """A root has 20 bits behind the point; together with the factor they must fit in int32."""
    factor = 1 / (sources[0] ** 0.5 * output)
    holds = 2**-11 < factor < 2**20
    return None if holds else "{kind} must write 2**-20 to 2**11 times 1 / sqrt(the scale it reads)"


def hard_swish_scales(sources: Sequence[float], output: float) -> str | None:
    shift, gate_shift = lookup.hard_swish_shifts(np.float32(sources[0]), np.float32(output))
    if -15 <= shift <= 0 and -15 <= gate_shift <= 30:
        return None
    return "HARD_SWISH must read a scale of 2**-21 to 2**23 and write 1/127 to 256 times that"


def common_scales(sources: Sequence[float], output: float) -> str | None:
    if min(sources) * 2**30 < max(sources):
        return "{kind} must read scales that differ by less than 2**30"
    holds = max(sources) < output * 2**19
    return None if holds else "{kind} must write a scale above 2**-19 of those it reads"


def total_scales(sources: Sequence[float], output: float) -> str | None:
    holds = sources[0] < output * 2**7
    return None if holds else "SUM must write a scale above 2**-7 of that it reads"


def mul_scales(sources: Sequence[float], output: float) -> str | None:
    holds = sources[0] * sources[1] < output * 2**14
    return (
        None if holds else "{kind} must write a scale above 2**-14 of the product of those it reads"
    )


def square_scales(sources: Sequence[float], output: float) -> str | None:
    if min(sources) * 2**30 < max(sources):
        return "{kind} must read scales that differ by less than 2**30"
    holds = max(sources) ** 2 < output * 2**12
    return None if holds else "{kind} must write a scale above 2**-12 of the read one's square"


def rescaled(sources: Sequence[float], output: float) -> str | None:
    """Of operators that rescale a product, with weights or an average among the factors."""
    holds = math.prod(sources) < output * 2**30
    return None if holds else "it must write a scale above 2**-30 of the product of those it reads"


def fused_scale(op: Op, output: float) -> str | None:
    holds = op.activation != "RELU6" or 6 / output < 2**31
    return None if holds else f"{op.kind} with RELU6 must write a scale above 6 * 2**-31"


SHAPES: Mapping[Kind, Callable[[Graph, Op], Shape | str | None]] = each_kind(
    "graph.rules",
    {
        "CONV_2D": convolved,
        "DEPTHWISE_CONV_2D": convolved_depthwise,
        "FULLY_CONNECTED": multiplied,
        "ADD": broadcast,
        "MUL": broadcast,
        "PAD": padded,
        "PADV2": padded_with,
        "AVERAGE_POOL_2D": pooled,
        "MAX_POOL_2D": pooled,
        "MEAN": reduced,
        "SUM": reduced,
        "REDUCE_MAX": reduced,
        "TRANSPOSE_CONV": convolved_back,
        "RESIZE_NEAREST_NEIGHBOR": resized,
        "RESIZE_BILINEAR": resized,
        "SPACE_TO_DEPTH": folded,
        "DEPTH_TO_SPACE": unfolded,
        "RESHAPE": reshaped,
        "SOFTMAX": kept,
        "CONCATENATION": joined,
        "TRANSPOSE": moves.transposed,
        "SLICE": moves.sliced,
        "STRIDED_SLICE": moves.sliced_in_steps,
        "GATHER": moves.gathered,
        "BROADCAST_TO": moves.repeated,
        "BATCH_MATMUL": products.product_shape,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": recurrent.sequence_shape,
        "LOGISTIC": kept,
        "HARD_SWISH": kept,
        "RELU": kept,
        "RELU6": kept,
        "SUB": broadcast,
        "SQUARED_DIFFERENCE": broadcast,
        "MAXIMUM": broadcast_by_loops,
        "MINIMUM": broadcast_by_loops,
        "PRELU": bent,
        "LEAKY_RELU": scaled_below_zero,
        "ELU": kept,
        "TANH": kept,
        "ABS": kept,
        "RSQRT": rooted,
        "QUANTIZE": kept,
        "LOG_SOFTMAX": kept,
        "L2_NORMALIZATION": normalized,
        "POSITIONS": kept,
        "TABLE": looked_up,
    },
)
"""The output's shape; None if the operands do not fit together, or the rule they break."""
SCALES: Mapping[Kind, Callable[[Sequence[float], float], str | None]] = {
    "ADD": common_scales,
    "SUB": common_scales,
    "MUL": mul_scales,
    "SQUARED_DIFFERENCE": square_scales,
    "PRELU": prelu_scales,
    "SUM": total_scales,
    "MEAN": rescaled,
    "SOFTMAX": softmax_scales,
    "LOG_SOFTMAX": log_softmax_scales,
    "LOGISTIC": usual_scales,
    "TANH": usual_scales,
    "HARD_SWISH": hard_swish_scales,
    "RELU": rescaled_scales,
    "RELU6": usual_scales,
    "LEAKY_RELU": rescaled_scales,
    "ABS": rescaled_scales,
    "QUANTIZE": rescaled_scales,
    "RSQRT": inverse_root_scales,
}
"""Given the scales of operands and output, the rule of TFLM's that they break, or None.

The rule names the operator as ``{kind}``. A kind without one takes any.
"""
