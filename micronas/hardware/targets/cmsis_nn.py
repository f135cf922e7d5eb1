"""TFLM with CMSIS-NN on 32-bit Cortex-M cores: with the DSP extension, and a bound for Helium.

Sizes are those of the C structures under the ARM embedded ABI, where enumerations take one byte.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from micronas.graph import products
from micronas.graph.counts import is_pointwise
from micronas.graph.ir import Graph, Kind, Op, Tensor
from micronas.graph.memory import Sizes, Structures
from micronas.graph.operators import each_kind
from micronas.graph.transposing import is_turned
from micronas.hardware import kernels
from micronas.hardware.instructions import Price, priced
from micronas.hardware.kernels import Sweep, Width, Work, exactly
from micronas.hardware.targets.target import REDUCING, Target, prepared, reduce_scratch

_SCALED = ("QUANTIZE", "DEQUANTIZE")
_HELIUM_CHANNELS = 124
"""Channels of a depthwise convolution that CMSIS-NN copies at a time (CH_IN_BLOCK_MVE)."""

_SIZES = Sizes(
    fixed=136,
    pointer=4,
    eval_tensor=12,
    node=32,
    tensor=32,
    affine_quantization=12,
    request=12,
    allocation=24,
    prepared=prepared(12),
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
    if op.kind == "FULLY_CONNECTED" and _is_pointwise(graph, op):
        scales = graph.constant_of(op).quantization
        is_single = scales is None or len(scales.scale) == 1
        return (8 * graph.constant_of(op).shape[0],) if is_single else ()
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


def _transposed_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Patches and filters turned around; or sums of the rows that a row of the input reaches."""
    source, output, filters = graph.input_of(op), graph.output_of(op), graph.constant_of(op)
    _, height, width, depth = filters.shape
    if is_turned(op.stride, depth):
        return 4 * (-(-height * width * depth // 4) * 4), filters.elements
    # the width of a row is as CMSIS-NN asks for it, by the stride downwards
    row = ((source.shape[2] - 1) * op.stride[1] + max(width, op.stride[0])) * output.shape[3]
    return 4 * row * max(height, op.stride[0]), 0


def _helium_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """At least what kernels for Helium ask for, and no less than those for DSP.

    Source: CMSIS-NN's ``*_get_buffer_size_mve``: four patches of int8 in full vectors of 16 for a
    convolution, four blocks of channels for a depthwise one, sums of a dense layer's filters.
    """
    asked = _scratch(graph, op)
    if op.kind == "BATCH_MATMUL":
        return (4 * graph.output_of(op).shape[-1],)
    if op.kind == "FULLY_CONNECTED":
        return (*asked, 4 * graph.constant_of(op).shape[0])
    if op.kind == "TRANSPOSE_CONV" and is_turned(op.stride, graph.input_of(op).shape[3]):
        filters = graph.constant_of(op)
        return 64 * -(-filters.elements // filters.shape[0] // 16), filters.elements
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return asked
    _, height, width, _ = graph.constant_of(op).shape
    taps, depth = height * width, graph.input_of(op).shape[3]
    needed = 64 * -(-taps * depth // 16) if op.kind == "CONV_2D" else 4 * _HELIUM_CHANNELS * taps
    return (max(needed, *asked, 0),)


def price(graph: Graph, op: Op) -> Price | None:
    """Return the instructions of an operator on a Cortex-M4, or None if its kind is not known.

    Parameters
    ----------
    graph
        Shapes are enough.
    op
        One of its operators; QUANTIZE, DEQUANTIZE and convolutions may be UNKNOWN.
    """
    work = _foreign(graph, op) if op.kind == "UNKNOWN" else _WORK[op.kind](graph, op)
    return None if work is None else priced(work)


def _convolution(graph: Graph, op: Op) -> Work:
    source, out, weights = graph.input_of(op), graph.output_of(op), graph.constant_of(op)
    taps = weights.shape[1], weights.shape[2]
    sweep = Sweep(_area(source), _area(out), taps, op.stride, op.padding, op.dilation)
    depth, width, bits = _channels(source), _channels(out), _bits(weights)
    if op.kind == "CONV_2D":
        groups = graph.groups_of(op)
        if groups > 1:
            part = exactly(out.shape[3] // groups)
            return kernels.convolution_grouped(sweep, _channels(weights), part, groups)
        return kernels.convolution(sweep, depth, width, bits=bits)
    multiplier = out.shape[3] // source.shape[3]
    if multiplier == 1:
        return kernels.depthwise(sweep, width, bits=bits)
    return kernels.depthwise_multiplied(sweep, depth, width, multiplier, bits=bits)


def _foreign(graph: Graph, op: Op) -> Work | None:
    """Price what a graph cannot express but a file may hold."""
    tensors = [graph.tensors[name] for name in (*op.inputs, *op.outputs)]
    if op.name in _SCALED and len(tensors) == 2:
        from_float = op.name == "QUANTIZE" and tensors[0].dtype == "float32"
        kernel = "quantize_from_float" if from_float else op.name.lower()
        return kernels.elementwise(kernel, tensors[0].elements)
    if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D") and len(op.inputs) > 1 and op.outputs:
        weights, out = tensors[1], tensors[-1]
        if len(weights.shape) == 4 and all(out.shape):
            inner = weights.elements // out.shape[-1]
            return Work("unknown_convolution", {"macs": out.elements * inner, "calls": 1})
    return None


def _pad(graph: Graph, op: Op) -> Work:
    source, out = graph.input_of(op), graph.output_of(op)
    rows = source.shape[1] if len(source.shape) > 1 else 1
    positions = math.prod(source.shape[:-1])
    return kernels.pad(
        rows,
        positions,
        source.elements,
        out.elements - source.elements,
        channels=source.shape[:-1] == out.shape[:-1],
    )


def _bits(weights: Tensor) -> int:
    return 4 if weights.dtype == "int4" else 8


def _area(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[1], tensor.shape[2]


def _channels(tensor: Tensor) -> Width:
    return exactly(tensor.shape[3])


def _dense(graph: Graph, op: Op) -> Work:
    weights = graph.constant_of(op)
    rows = graph.output_of(op).elements // weights.shape[0]
    width, depth = (exactly(size) for size in weights.shape)
    if _is_pointwise(graph, op):
        return kernels.convolution(Sweep((rows, 1), (rows, 1), (1, 1)), depth, width)
    return kernels.dense(rows, depth, width, bits=_bits(weights))


def _is_pointwise(graph: Graph, op: Op) -> bool:
    """Whether CMSIS-NN runs a FULLY_CONNECTED on rows of features as a 1x1 convolution.

    Its one multiplier and shift are then written out for each channel, in scratch memory.
    """
    weights = graph.constant_of(op)
    is_plain = weights.dtype != "int4" and weights.shape[1] % 4 == 0
    return is_plain and len(graph.output_of(op).shape) > 2


def _pool(graph: Graph, op: Op) -> Work:
    source, out = graph.input_of(op), graph.output_of(op)
    sweep = Sweep(_area(source), _area(out), op.window, op.stride, op.padding)
    return kernels.pool(sweep, _channels(out), maximum=op.kind == "MAX_POOL_2D")


def _of_two(kernel: str) -> Callable[[Graph, Op], Work]:
    """Work on two operands, which takes a loop of its own where one is spread over the other."""

    def work(graph: Graph, op: Op) -> Work:
        left, right = (graph.tensors[name].shape for name in op.operands)
        name = kernel if left == right else f"{kernel}_broadcast"
        return kernels.elementwise(name, graph.output_of(op).elements)

    return work


def _transposed(graph: Graph, op: Op) -> Work:
    source, out, weights = graph.input_of(op), graph.output_of(op), graph.constant_of(op)
    taps = weights.shape[1], weights.shape[2]
    if is_turned(op.stride, source.shape[3]):
        large = source.shape[1] * op.stride[0], source.shape[2] * op.stride[1]
        return kernels.transposed_turned(
            Sweep(large, _area(out), taps), _channels(source), _channels(out)
        )
    positions = source.shape[1] * source.shape[2]
    return kernels.transposed(positions, out.elements, taps, _channels(source), _channels(out))


def _resized(kernel: str) -> Callable[[Graph, Op], Work]:
    def work(graph: Graph, op: Op) -> Work:
        out = graph.output_of(op)
        return kernels.resize(kernel, out.elements // out.shape[3], out.elements)

    return work


def _reduced(kernel: str) -> Callable[[Graph, Op], Work]:
    """Work in proportion to the elements read, and to those written."""
    return lambda graph, op: kernels.elementwise(
        kernel, graph.input_of(op).elements, graph.output_of(op).elements
    )


def _each(kernel: str) -> Callable[[Graph, Op], Work]:
    """Work in proportion to the elements written."""
    return lambda graph, op: kernels.elementwise(kernel, graph.output_of(op).elements)


def _in_rows(kernel: str) -> Callable[[Graph, Op], Work]:
    """Work in proportion to the elements written and to their rows, the last axis."""

    def work(graph: Graph, op: Op) -> Work:
        shape = graph.output_of(op).shape
        return kernels.in_rows(kernel, math.prod(shape), math.prod(shape[:-1]))

    return work


def _gather(graph: Graph, op: Op) -> Work:
    """Each place is one copy of all that follows the axis."""
    elements, source = graph.output_of(op).elements, graph.input_of(op)
    return kernels.in_rows("gather", elements, elements // math.prod(source.shape[op.axis + 1 :]))


def _product_of_matrices(graph: Graph, op: Op) -> Work:
    """Dot products of rows; operands that lie otherwise are copied in each run, or once."""
    left, right = (graph.tensors[name] for name in op.operands)
    copied = left.elements if op.transposed[0] else 0
    copied += 0 if op.transposed[1] or right.constant else right.elements
    outputs = graph.output_of(op).elements
    return kernels.matrix_product(outputs * products.depth(graph, op), outputs, copied)


_WORK: Mapping[Kind, Callable[[Graph, Op], Work]] = each_kind(
    "hardware.targets.cmsis_nn (prices)",
    {
        "CONV_2D": _convolution,
        "DEPTHWISE_CONV_2D": _convolution,
        "FULLY_CONNECTED": _dense,
        "ADD": _of_two("add"),
        "MUL": _of_two("mul"),
        "PAD": _pad,
        "PADV2": _pad,
        "AVERAGE_POOL_2D": _pool,
        "MAX_POOL_2D": _pool,
        "MEAN": _reduced("mean"),
        "SUM": _reduced("sum"),
        "REDUCE_MAX": _reduced("reduce_max"),
        "TRANSPOSE_CONV": _transposed,
        "RESIZE_NEAREST_NEIGHBOR": _resized("resize_nearest"),
        "RESIZE_BILINEAR": _resized("resize_bilinear"),
        "SPACE_TO_DEPTH": _each("space_to_depth"),
        "DEPTH_TO_SPACE": _each("depth_to_space"),
        "RESHAPE": _each("reshape"),
        "SOFTMAX": _each("softmax"),
        "CONCATENATION": _each("concatenation"),
        "TRANSPOSE": _each("transpose"),
        "SLICE": _in_rows("slice"),
        "STRIDED_SLICE": _in_rows("strided_slice"),
        "GATHER": _gather,
        "POSITIONS": _each("quantize"),
        "TABLE": lambda graph, op: kernels.in_rows("gather", *[graph.output_of(op).elements] * 2),
        "BROADCAST_TO": _each("broadcast_to"),
        "BATCH_MATMUL": _product_of_matrices,
        "LOGISTIC": _each("logistic"),
        "HARD_SWISH": _each("hard_swish"),
        "RELU": _each("relu"),
        "RELU6": _each("relu"),
        "SUB": _of_two("sub"),
        "SQUARED_DIFFERENCE": _of_two("squared_difference"),
        "MAXIMUM": _each("maximum"),
        "MINIMUM": _each("maximum"),
        "PRELU": _each("prelu"),
        "LEAKY_RELU": _each("relu"),
        "ELU": _each("table"),
        "TANH": _each("logistic"),
        "ABS": _each("relu"),
        "RSQRT": _each("inverse_root"),
        "QUANTIZE": _each("quantize"),
        "LOG_SOFTMAX": _each("log_softmax"),
        "L2_NORMALIZATION": _each("l2_normalization"),
    },
)

CMSIS_NN = Target(
    "cmsis_nn",
    "TFLM with CMSIS-NN on a Cortex-M with the DSP extension (M4, M7, M33)",
    _SIZES,
    _scratch,
    price,
)
HELIUM_BOUND = replace(
    CMSIS_NN,
    name="cmsis_nn_helium",
    title="TFLM with CMSIS-NN on a Cortex-M with Helium (M52, M55, M85), from above",
    scratch=_helium_scratch,
)
