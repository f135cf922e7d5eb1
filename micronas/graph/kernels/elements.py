"""Operators on single elements: sums, products, and functions of one code as tables."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from micronas.arrays import Shape
from micronas.graph import fixed_point, lookup, recurrent
from micronas.graph.fixed_point import Int32, Int64
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.kernels.codes import (
    Accumulators,
    Kernel,
    Values,
    activation_range,
    codes_of,
    limits,
    scale,
    stored,
    zero_point,
)
from micronas.graph.kernels.rule import LARGEST_RANK, Rule, fine_shape, rescaled_scales, same_shape

_Precision = type[np.float32] | type[np.float64]
"""Type in which scales are divided. TFLM used float32 for the kernels in `BY_VERSION` until August
2026, and uses float64 since; for most others it always used float64."""

_SUM_BITS, _SQUARE_BITS, _WIDE_SUM_BITS = 20, 7, 15
"""Spare bits of operands at their common scale; a sum of int16 has fewer."""
_gate_shape = partial(fine_shape, 2.5)  # a factor of 15 bits to steps of 2**-12 / 3


def _sum(
    function: Callable[[Any, Any], Any], graph: Graph, op: Op, precision: _Precision = np.float64
) -> Kernel:
    """Return the kernel of ADD or SUB, by the function that adds or subtracts."""
    left, right = _at_common_scale(graph, op, _sum_bits(graph, op), precision)
    factor = _sum_factor(graph, op, precision)
    return _finished(
        graph, op, lambda x, y: fixed_point.rescale(function(left(x), right(y)), *factor)
    )


_add, _sub = partial(_sum, operator.add), partial(_sum, operator.sub)


def squared_difference(graph: Graph, op: Op) -> Kernel:
    left, right = _at_common_scale(graph, op, _SQUARE_BITS, np.float64)
    common = 2 * max(scale(graph.tensors[name]) for name in op.operands)
    step = scale(graph.output_of(op)) * 2.0 ** (2 * _SQUARE_BITS)
    factor = fixed_point.quantize_multiplier(common**2 / step)

    def square(x: Values, y: Values) -> Int64:
        difference = left(x) - right(y)
        return fixed_point.rescale(difference * difference, *factor)

    return _finished(graph, op, square)


def _mul(graph: Graph, op: Op) -> Kernel:
    left, right = (graph.tensors[name] for name in op.operands)
    output = graph.output_of(op)
    factor = fixed_point.quantize_multiplier(scale(left) * scale(right) / scale(output))

    def multiply(x: Values, y: Values) -> Int64:
        product = _from_zero(x, left) * _from_zero(y, right)
        return fixed_point.rescale(product, *factor)

    return _finished(graph, op, multiply)


def _prelu(graph: Graph, op: Op) -> Kernel:
    """Return the kernel of PRELU: values below zero are multiplied by slopes of their own scale."""
    source, slopes = (graph.tensors[name] for name in op.operands)
    step = scale(source) / scale(graph.output_of(op))
    above = fixed_point.quantize_multiplier(step)
    product = scale(source) * scale(slopes) / scale(graph.output_of(op))
    below = fixed_point.quantize_multiplier(product)

    def bend(x: Values, alpha: Values) -> Int64:
        values = _from_zero(x, source)
        bent = fixed_point.rescale(values * _from_zero(alpha, slopes), *below)
        return np.where(values >= 0, fixed_point.rescale(values, *above), bent)

    return _finished(graph, op, bend)


def _extreme(function: Callable[[Values, Values], Values], graph: Graph, op: Op) -> Kernel:
    """Return the kernel of the larger or smaller codes: all three tensors share one scale."""
    output = graph.output_of(op)
    return lambda x, y: function(_widened(x, output), _widened(y, output))


def _gate(
    table: Callable[[float, int], Any],
    curve: Callable[[Int64, tuple[int, int]], Int64],
    graph: Graph,
    op: Op,
) -> Kernel:
    """Return the kernel of a gate, by TFLM's table of int8 codes or its curve of int16."""
    source = graph.input_of(op)
    step = float(scale(source))
    if source.dtype == "int16":
        codes = curve(codes_of(source), recurrent.gate_factor(step))
        return _looked_up(stored(codes, source))
    return _looked_up(table(step, zero_point(source)))


def hard_swish(graph: Graph, op: Op, precision: _Precision = np.float64) -> Kernel:
    return _looked_up(lookup.hard_swish(*_ends(graph, op, precision)))


def _relu6(graph: Graph, op: Op) -> Kernel:
    source = graph.input_of(op)
    codes = lookup.relu6(codes_of(source), np.float32(scale(source)), zero_point(source))
    return _clamped(codes, source)


def _of_every_code(
    function: Callable[..., Int64], graph: Graph, op: Op, precision: _Precision = np.float64
) -> Kernel:
    table = function(codes_of(graph.input_of(op)), *_ends(graph, op, precision))
    return _clamped(table, graph.output_of(op))


_relu = partial(_of_every_code, lookup.relu)
_absolute = partial(_of_every_code, lookup.absolute)


def leaky_relu(graph: Graph, op: Op, precision: _Precision = np.float64) -> Kernel:
    return _of_every_code(partial(lookup.leaky_relu, alpha=op.alpha), graph, op, precision)


def _elu(graph: Graph, op: Op) -> Kernel:
    return _looked_up(lookup.elu(*_ends(graph, op, np.float32)))


def inverse_root(graph: Graph, op: Op, precision: _Precision = np.float64) -> Kernel:
    source_scale, _, output_scale, zero = _ends(graph, op, precision)
    return _looked_up(lookup.inverse_root(source_scale, output_scale, zero))


BY_VERSION: Mapping[str, Callable[[Graph, Op, _Precision], Kernel]] = {
    "SUB": _sub,
    "RELU": _relu,
    "LEAKY_RELU": leaky_relu,
    "HARD_SWISH": hard_swish,
    "ABS": _absolute,
    "RSQRT": inverse_root,
}
"""Kernels whose codes may differ by one between versions of TFLM, at a few scales."""


def same_in_all_versions(graph: Graph, op: Op) -> bool:
    """Return whether every version of TFLM gives the same codes at these scales."""
    if op.kind not in BY_VERSION:
        return True
    codes = np.arange(-128, 128).astype(np.int8)
    rank = len(graph.output_of(op).shape)
    pairs = (codes.reshape(256, *(1,) * rank), codes.reshape(1, 256, *(1,) * (rank - 1)))
    precisions: tuple[_Precision, ...] = (np.float32, np.float64)
    first, second = (
        BY_VERSION[op.kind](graph, op, precision)(*pairs[: len(op.operands)])
        for precision in precisions
    )
    return np.array_equal(first, second)


def _ends(graph: Graph, op: Op, precision: _Precision) -> tuple[Any, int, Any, int]:
    """Return scale and zero point of an operator's input, then of its output."""
    source, output = graph.input_of(op), graph.output_of(op)
    steps = precision(scale(source)), precision(scale(output))
    return steps[0], zero_point(source), steps[1], zero_point(output)


def _at_common_scale(
    graph: Graph, op: Op, bits: int, precision: _Precision
) -> list[Callable[[Values], Accumulators]]:
    """Return, per operand, a lookup of codes at twice the larger scale, with spare bits."""
    tensors = [graph.tensors[name] for name in op.operands]
    common = _twice_the_largest(tensors, precision)
    steps = [precision(scale(tensor)) / common for tensor in tensors]
    multipliers, shifts = fixed_point.quantize_multiplier(np.array(steps)[:, None])
    codes = codes_of(tensors[0])
    shifted = np.stack([(codes - zero_point(tensor)) << bits for tensor in tensors])
    tables = fixed_point.rescale(shifted.astype(np.int32), multipliers, shifts).astype(np.int32)
    return [_looked_up(table) for table in tables]


def _sum_bits(graph: Graph, op: Op) -> int:
    return _WIDE_SUM_BITS if graph.output_of(op).dtype == "int16" else _SUM_BITS


def _sum_factor(graph: Graph, op: Op, precision: _Precision) -> tuple[Int32, Int32]:
    """Return the factor from operands at their common scale to the output."""
    common = _twice_the_largest([graph.tensors[name] for name in op.operands], precision)
    step = precision(2 ** _sum_bits(graph, op)) * precision(scale(graph.output_of(op)))
    return fixed_point.quantize_multiplier(common / step)


def _twice_the_largest(tensors: Sequence[Tensor], precision: _Precision) -> Any:
    return precision(2) * precision(max(scale(tensor) for tensor in tensors))


def _finished(graph: Graph, op: Op, compute: Callable[[Values, Values], Int64]) -> Kernel:
    """Return a kernel that widens two operands, computes, adds the zero point and clamps."""
    output = graph.output_of(op)
    low, high = activation_range(op, output)

    def finish(x: Values, y: Values) -> Values:
        scaled = compute(_widened(x, output), _widened(y, output)) + zero_point(output)
        return stored(np.clip(scaled, low, high), output)

    return finish


def _from_zero(x: Values, tensor: Tensor) -> Accumulators:
    return x.astype(np.int32) - zero_point(tensor)


def _widened(x: Values, output: Tensor) -> Values:
    """Give a batch of operands the output's rank, for broadcasting."""
    missing = len(output.shape) + 1 - x.ndim
    return x.reshape(len(x), *(1,) * missing, *x.shape[1:])


def _looked_up(table: npt.NDArray[Any]) -> Callable[[Values], Any]:
    """Return a kernel that looks each code up in a table of all, which starts with the lowest."""
    return lambda x: table[x.astype(np.intp) + len(table) // 2]


def _clamped(table: Int64, output: Tensor) -> Kernel:
    return _looked_up(stored(np.clip(table, *limits(output)), output))


def _broadcast_shape(graph: Graph, op: Op) -> Shape | str | None:
    """Return the shape of two operands whose sizes, counted from the last, are equal or 1."""
    left, right = (graph.tensors[name].shape for name in op.operands)
    sides = zip(left[::-1], right[::-1], strict=False)
    if left != right and not all(a == b or 1 in (a, b) for a, b in sides):
        return None
    shape = left if left == right else np.broadcast_shapes(left, right)
    if len(shape) > LARGEST_RANK:
        return f"{op.kind} must have up to {LARGEST_RANK} dimensions"
    return shape


def _loop_broadcast_shape(graph: Graph, op: Op) -> Shape | str | None:
    """Return the shape of MAXIMUM and MINIMUM, for which CMSIS-NN loops over four dimensions.

    It advances twice over an operand of one element per row, unless that has only one in all.
    """
    shapes = [graph.tensors[name].shape for name in op.operands]
    if max(map(len, shapes)) > 4:
        return f"{op.kind} must have up to 4 dimensions"
    for shape, other in (shapes, shapes[::-1]):
        is_thin = math.prod(shape[-2:]) == 1 < math.prod(shape)
        if is_thin and math.prod(other[-2:]) > 1:
            return f"{op.kind} must not spread single elements over rows"
    return _broadcast_shape(graph, op)


def _prelu_shape(graph: Graph, op: Op) -> Shape | str | None:
    """Return the shape of PRELU, whose slopes are broadcast to the values."""
    shape = graph.input_of(op).shape
    found = _broadcast_shape(graph, op)
    return found if isinstance(found, str) or found == shape else None


def _leaky_relu_shape(graph: Graph, op: Op) -> Shape | str:
    source, output = graph.input_of(op), graph.output_of(op)
    if not 0 <= op.alpha < math.inf:
        return "LEAKY_RELU must have a finite alpha >= 0"
    if source.quantization is not None and output.quantization is not None:
        factor = float(source.quantization.scale[0]) * op.alpha
        if broken := rescaled_scales([factor], float(output.quantization.scale[0])):
            return broken.format(kind="LEAKY_RELU") + ", alpha included"
    return source.shape


def _rsqrt_shape(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of RSQRT, which stops the network at a code below that of zero."""
    quantization = graph.input_of(op).quantization
    if quantization is not None and quantization.zero_point != -128:
        return "RSQRT must read values that are never negative, at zero point -128"
    return graph.input_of(op).shape


def _usual_scales(sources: Sequence[float], output: float) -> str | None:
    """Return the rule of scales of LOGISTIC, TANH and RELU6, if broken."""
    return None if 2**-27 < sources[0] < 2**16 else "{kind} must read a scale of 2**-27 to 2**16"


def _prelu_scales(sources: Sequence[float], output: float) -> str | None:
    return rescaled_scales(sources, output) or _mul_scales(sources, output)


def _inverse_root_scales(sources: Sequence[float], output: float) -> str | None:
    """Return the rule of RSQRT, if broken: a root of 20 fractional bits times its factor must fit
    in int32."""
    factor = 1 / (sources[0] ** 0.5 * output)
    holds = 2**-11 < factor < 2**20
    return None if holds else "{kind} must write 2**-20 to 2**11 times 1 / sqrt(the scale it reads)"


def _hard_swish_scales(sources: Sequence[float], output: float) -> str | None:
    # float64 first: scales that pass it have finite factors in float32 too
    types = (np.float64, np.float32)
    shifts = (lookup.hard_swish_shifts(each(sources[0]), each(output)) for each in types)
    if all(-15 <= shift <= 0 and -15 <= gate_shift <= 30 for shift, gate_shift in shifts):
        return None
    return "HARD_SWISH must read a scale of 2**-21 to 2**23 and write 1/127 to 256 times that"


def _elu_scales(sources: Sequence[float], output: float) -> str | None:
    """Return the rule of ELU, if broken: codes finite in float32, and in int32 before clamping."""
    if sources[0] < 2**100 and output > 2**-30 and rescaled_scales(sources, output) is None:
        return None
    return "{kind} must read a scale below 2**100 and write one above 2**-30 and 2**-22 of that"


def _common_scales(sources: Sequence[float], output: float) -> str | None:
    if min(sources) * 2**30 < max(sources):
        return "{kind} must read scales that differ by less than 2**30"
    holds = max(sources) < output * 2**19
    return None if holds else "{kind} must write a scale above 2**-19 of those it reads"


def _mul_scales(sources: Sequence[float], output: float) -> str | None:
    holds = sources[0] * sources[1] < output * 2**14
    return (
        None if holds else "{kind} must write a scale above 2**-14 of the product of those it reads"
    )


def _square_scales(sources: Sequence[float], output: float) -> str | None:
    if min(sources) * 2**30 < max(sources):
        return "{kind} must read scales that differ by less than 2**30"
    holds = max(sources) ** 2 < output * 2**12
    return None if holds else "{kind} must write a scale above 2**-12 of the read one's square"


RULES: Mapping[str, Rule] = {
    "ADD": Rule(_broadcast_shape, _add, scales=_common_scales),
    "MUL": Rule(_broadcast_shape, _mul, scales=_mul_scales),
    "LOGISTIC": Rule(
        _gate_shape, partial(_gate, lookup.logistic, recurrent.sigmoid), scales=_usual_scales
    ),
    "HARD_SWISH": Rule(same_shape, hard_swish, scales=_hard_swish_scales),
    "RELU": Rule(same_shape, _relu, scales=rescaled_scales),
    "RELU6": Rule(same_shape, _relu6, scales=_usual_scales),
    "SUB": Rule(_broadcast_shape, _sub, scales=_common_scales),
    "SQUARED_DIFFERENCE": Rule(_broadcast_shape, squared_difference, scales=_square_scales),
    "MAXIMUM": Rule(_loop_broadcast_shape, partial(_extreme, np.maximum)),
    "MINIMUM": Rule(_loop_broadcast_shape, partial(_extreme, np.minimum)),
    "PRELU": Rule(_prelu_shape, _prelu, scales=_prelu_scales),
    "LEAKY_RELU": Rule(_leaky_relu_shape, leaky_relu, scales=rescaled_scales),
    "ELU": Rule(same_shape, _elu, scales=_elu_scales),
    "TANH": Rule(_gate_shape, partial(_gate, lookup.tanh, recurrent.tanh), scales=_usual_scales),
    "ABS": Rule(same_shape, _absolute, scales=rescaled_scales),
    "RSQRT": Rule(_rsqrt_shape, inverse_root, scales=_inverse_root_scales),
    "QUANTIZE": Rule(
        same_shape, partial(_of_every_code, lookup.requantize), scales=rescaled_scales
    ),
}
