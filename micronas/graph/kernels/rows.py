"""Operators on rows, the values along the last dimension: softmax and normalisation."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from micronas.arrays import Shape
from micronas.graph import fixed_point
from micronas.graph.fixed_point import Int32, Int64
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.codes import Kernel, Values, scale, stored, zero_point
from micronas.graph.kernels.rule import Rule, fine_shape, same_shape

_LOG_BITS = 22
"""Bits of a logarithm in Q5.26 below a step of 1/16."""


_MOST_SQUARES = (2**31 - 1) // 255**2


def _softmax(graph: Graph, op: Op) -> Kernel:
    """Return the kernel: exp of the 256 differences to the maximum by table, then a reciprocal."""
    if graph.input_of(op).dtype == "int16":
        return _wide_softmax(graph, op)
    _, exponentials = _exponentials(*_softmax_input(graph, op))
    addends = fixed_point.rounding_divide(exponentials.copy(), 12)

    def softmax(x: Values) -> Values:
        index = x.astype(np.intp) - x.max(axis=-1, keepdims=True) + 255
        total = addends[index].sum(axis=-1, keepdims=True)
        headroom = 32 - np.frexp(total.astype(np.float64))[1]
        reciprocal = fixed_point.reciprocal_of_one_plus((total << headroom) - 2**31)
        products = fixed_point.doubling_high_mul(exponentials[index], reciprocal)
        codes = fixed_point.rounding_divide(products, 12 - headroom + 23) - 128
        return np.clip(codes, -128, 127).astype(np.int8)

    return softmax


def _wide_softmax(graph: Graph, op: Op) -> Kernel:
    """Return the kernel of int16: exp of differences down to -10, then a reciprocal, by curves."""
    factor = fixed_point.quantize_multiplier(scale(graph.input_of(op)) / (10 / 65535))
    exponential, reciprocal = _curve(np.exp, 10, 32767), _curve(lambda x: 1 / (1 + x), 1, -32768)

    def softmax(x: Values) -> Values:
        differences = x.astype(np.int32) - x.max(axis=-1, keepdims=True)
        raised = fixed_point.rescale(differences, *factor) + 32767
        powers = _on_curve(exponential, np.maximum(raised, -32768))
        total = powers.sum(axis=-1, keepdims=True)
        headroom = 31 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
        fraction = ((total << headroom) + 2**13 >> 14) - 3 * 2**15
        inverse = _on_curve(reciprocal, np.clip(fraction, -32768, 32767))
        shift = 30 - headroom
        codes = powers * inverse + (np.int64(1) << (shift - 1)) >> shift
        return stored(np.clip(codes, 0, 32767), graph.output_of(op))

    return softmax


def _curve(function: Callable[[Any], Any], width: int, zero: int) -> Int64:
    """Return TFLM's 513 points, in steps of 2/65535, of a function over codes that span `width`.

    Computed in float32; each point is moved by half the error of interpolation behind it.
    """
    step = np.float32(width) / np.float32(65535)
    low, high = step * np.float32(-32768 - zero), step * np.float32(32767 - zero)
    fine = np.float32(2) / np.float32(65535)
    scale = np.float32(65536) / (fine * np.float32(32767) - fine * np.float32(-32768))
    piece = (high - low) / np.float32(512)

    def value(at: Any) -> Any:
        return function(at.astype(np.float64)).astype(np.float32) * scale

    at = low + np.arange(512, dtype=np.float32) * piece
    points = _rounded(value(at))
    after = low + np.arange(1, 513, dtype=np.float32) * piece
    middle = _rounded((value(after) + points) / 2) - _rounded(value(at + piece / 2))
    points = points - _rounded(middle / 2)
    points = np.append(points, _rounded(value(high)))
    curve: Int64 = np.clip(points, -32768, 32767).astype(np.int64)
    return curve


def _on_curve(curve: Int64, codes: Int64) -> Int64:
    """Return a curve at int16 codes, between points by a line."""
    place = 256 + (codes >> 7)
    low, high = curve[place], curve[place + 1]
    return np.asarray(low + ((high - low) * (codes & 127) + 64 >> 7))


def _rounded(values: Any) -> Any:
    return np.trunc(values + np.copysign(np.float32(0.5), values))


def log_softmax(graph: Graph, op: Op) -> Kernel:
    """Return the kernel: differences to the maximum less the log of their exponentials' sum."""
    multiplier, shift, radius = _softmax_input(graph, op)
    raised, exponentials = _exponentials(multiplier, shift, radius)
    addends = fixed_point.rounding_divide(exponentials, 12)
    back = fixed_point.quantize_multiplier(2.0 ** (31 - int(shift)) / int(multiplier))

    def log_softmax(x: Values) -> Values:
        index = x.astype(np.intp) - x.max(axis=-1, keepdims=True) + 255
        log = fixed_point.log(addends[index].sum(axis=-1, keepdims=True))
        lowest = fixed_point.rescale((log - 2**31).astype(np.int32), *back)
        lowest = np.maximum(-radius - 1, lowest)
        codes = fixed_point.rounding_divide(raised[index] - log, _LOG_BITS) + 127
        return np.where(index - 255 > lowest, np.clip(codes, -128, 127), -128).astype(np.int8)

    return log_softmax


def l2_normalization(graph: Graph, op: Op) -> Kernel:
    """Return the kernel: values over the root of their squares' sum, scale 1/128, zero point 0."""
    zero = zero_point(graph.input_of(op))

    def normalize(x: Values) -> Values:
        values = x.astype(np.int32) - zero
        multiplier, shift = fixed_point.inverse_root((values**2).sum(axis=-1, keepdims=True))
        codes = fixed_point.rescale(values, multiplier, shift + 7)
        return np.clip(codes, -128, 127).astype(np.int8)

    return normalize


def _softmax_input(graph: Graph, op: Op) -> tuple[Int32, Int32, int]:
    """Return the factor of differences to Q5.26, and the largest difference it keeps in range."""
    step = scale(graph.input_of(op))
    multiplier, shift = fixed_point.quantize_multiplier(min(step * 2**26, 2**31 - 1.0))
    return multiplier, shift, int(31 * 2.0**26 / 2.0 ** int(shift))


def _exponentials(multiplier: Int32, shift: Int32, radius: int) -> tuple[Int64, Int64]:
    """Return the differences -255..0 in Q5.26, and their exponentials in Q0.31; 0 beyond radius."""
    differences = np.arange(-255, 1, dtype=np.int64)
    kept = differences >= -radius
    raised = fixed_point.doubling_high_mul(np.where(kept, differences, 0) << shift, multiplier)
    return raised, np.where(kept, fixed_point.exp_of_negative(raised), 0)


def _l2_shape(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of L2_NORMALIZATION, whose sums of squares must fit in int32."""
    shape = graph.input_of(op).shape
    if len(shape) > 4 or shape[-1] > _MOST_SQUARES:
        return f"{op.kind} must have up to 4 dimensions, the last of up to {_MOST_SQUARES}"
    return shape


def _softmax_scales(sources: Sequence[float], output: float) -> str | None:
    return "SOFTMAX must read a scale above 2**-26" if sources[0] * 2**26 <= 1 else None


def _log_softmax_scales(sources: Sequence[float], output: float) -> str | None:
    return "LOG_SOFTMAX must read a scale above 2**-25" if sources[0] * 2**25 <= 1 else None


RULES: Mapping[str, Rule] = {
    "SOFTMAX": Rule(partial(fine_shape, 2.0), _softmax, scales=_softmax_scales),
    "LOG_SOFTMAX": Rule(same_shape, log_softmax, scales=_log_softmax_scales),
    "L2_NORMALIZATION": Rule(_l2_shape, l2_normalization),
}
