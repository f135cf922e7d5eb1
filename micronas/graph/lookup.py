"""Operators from one code to another as tables of all codes, bit for bit those of TFLM's kernels.

Sources: TFLM reference/integer_ops/logistic.h and tanh.h, reference/hard_swish.h, leaky_relu.h and
requantize.h, kernels/activations.cc, elementwise.cc and elu.cc.
"""

import math

import numpy as np
import numpy.typing as npt

from micronas.graph import fixed_point
from micronas.graph.fixed_point import Int64

Scale = np.float32 | np.float64
"""Type of scales, in which factors are computed."""

_CODES = np.arange(-128, 128, dtype=np.int64)
_ROOT_BITS = 20
"""Fractional bits of the root of a code."""


def logistic(source_scale: float, source_zero: int) -> npt.NDArray[np.int8]:
    """Return the sigmoid of every code, at scale 1/256 and zero point -128."""
    multiplier, shift = fixed_point.quantize_multiplier(source_scale * 2**27)
    radius = int(15 * 2.0**27 / 2.0 ** int(shift))
    values = _CODES - source_zero
    inside = np.where(np.abs(values) < radius, values, 0)
    raised = fixed_point.doubling_high_mul(inside << int(shift), multiplier)
    exponentials = fixed_point.exp_of_negative(-np.abs(raised), integer_bits=4)
    positive = fixed_point.reciprocal_of_one_plus(exponentials)
    curve = np.where(raised > 0, positive, 2**31 - 1 - positive)
    curve = np.where(raised == 0, 2**30, curve)
    codes = fixed_point.rounding_divide(curve, 23) - 128
    codes = np.where(values >= radius, 127, codes)
    return _int8(np.where(values <= -radius, -128, codes))


def tanh(source_scale: float, source_zero: int) -> npt.NDArray[np.int8]:
    """Return the hyperbolic tangent of every code, at scale 1/128 and zero point 0."""
    factor = fixed_point.quantize_multiplier(source_scale * 2**27)
    radius = int(15 * 2.0**27 / 2.0 ** int(factor[1]))
    values = _CODES - source_zero
    inside = np.where(np.abs(values) < radius, values, 0)
    raised = fixed_point.rescale(inside.astype(np.int32), *factor)
    exponentials = fixed_point.exp_of_negative(-np.abs(raised))  # half the unit: of twice x
    curve = np.sign(raised) * fixed_point.one_minus_over_one_plus(exponentials)
    codes = fixed_point.rounding_divide(curve, 24)
    codes = np.where(values >= radius, 127, codes)
    return _int8(np.where(values <= -radius, -128, codes))


def hard_swish(
    source_scale: Scale, source_zero: int, scale: Scale, zero: int
) -> npt.NDArray[np.int8]:
    """Return x * min(max(x + 3, 0), 6) / 6 of every code, in 16-bit steps."""
    multiplier, shift, gate_multiplier, gate_shift = _hard_swish_factors(source_scale, scale)
    fine = (_CODES - source_zero) << 7
    linear = _high_mul_16(fine, multiplier)
    gate = _int16(fine << max(gate_shift - 1, 0))
    gate = _high_mul_16(gate, gate_multiplier)
    gate = _int16(gate << 1) if gate_shift > 0 else gate
    gate = fixed_point.rounding_divide(gate, max(-gate_shift, 0))
    gate = (gate + 2**15) >> 1
    product = gate * linear
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return _int8(fixed_point.rounding_divide(truncated, -shift) + zero)


def hard_swish_shifts(source_scale: Scale, scale: Scale) -> tuple[int, int]:
    """Return the exponents of the output's and the gate's factor; 16-bit steps limit them."""
    _, shift, _, gate_shift = _hard_swish_factors(source_scale, scale)
    return shift, gate_shift


def relu(codes: Int64, source_scale: Scale, source_zero: int, scale: Scale, zero: int) -> Int64:
    """Return the positive part of codes, rescaled, before they are clamped."""
    return np.maximum(requantize(codes, source_scale, source_zero, scale, zero), zero)


def requantize(
    codes: Int64, source_scale: Scale, source_zero: int, scale: Scale, zero: int
) -> Int64:
    """Return codes at another scale and zero point, before they are clamped."""
    return _rescaled(codes - source_zero, source_scale / scale) + zero


def leaky_relu(
    codes: Int64, source_scale: Scale, source_zero: int, scale: Scale, zero: int, alpha: float
) -> Int64:
    """Return codes rescaled, those below zero by alpha (>= 0) times as much, not yet clamped."""
    values = codes - source_zero
    above = _rescaled(values, source_scale / scale)
    below = _rescaled(values, source_scale * np.float32(alpha) / scale)
    return np.where(values >= 0, above, below) + zero


def elu(
    source_scale: np.float32, source_zero: int, scale: np.float32, zero: int
) -> npt.NDArray[np.int8]:
    """Return x, or exp(x) - 1 below zero, of every code, in float32 like TFLM's table."""
    x = source_scale * (_CODES - source_zero).astype(np.float32)
    exponential = np.exp(np.minimum(x, 0).astype(np.float64)).astype(np.float32)
    steps = np.where(x < 0, exponential - np.float32(1), x) * (np.float32(1) / scale)
    rounded = np.trunc(steps + np.copysign(np.float32(0.5), steps))
    return _int8(np.clip(rounded, -512, 512).astype(np.int64) + zero)


def absolute(codes: Int64, source_scale: Scale, source_zero: int, scale: Scale, zero: int) -> Int64:
    """Return the absolute value of codes, rescaled, before they are clamped."""
    return _rescaled(np.abs(codes - source_zero), source_scale / scale) + zero


def inverse_root(source_scale: Scale, scale: Scale, zero: int) -> npt.NDArray[np.int8]:
    """Return 1 / sqrt(x) of every code at zero point -128; the largest code for 0."""
    factor = fixed_point.quantize_multiplier(1 / float(np.sqrt(source_scale) * scale))
    values = _CODES + 128
    multiplier, shift = fixed_point.inverse_root(values)
    ones = np.ones(256, np.int32)
    roots = fixed_point.rescale(ones, multiplier, shift + _ROOT_BITS).astype(np.int32)
    codes = fixed_point.rescale(roots, factor[0], factor[1] - _ROOT_BITS) + zero
    return _int8(np.where(values == 0, 127, codes))


def relu6(codes: Int64, scale: np.float32, zero: int) -> Int64:
    """Return codes clipped to 0..6; input and output share scale and zero point."""
    six = math.floor(float(np.float32(6) / scale) + 0.5)  # divided in float32, as in TFLM
    return np.clip(codes, zero, zero + six)


def _rescaled(values: Int64, factor: float | np.float32) -> Int64:
    return fixed_point.rescale(values.astype(np.int32), *fixed_point.quantize_multiplier(factor))


def _hard_swish_factors(source_scale: Scale, scale: Scale) -> tuple[int, int, int, int]:
    fine_scale = np.float32(1 / 128) * source_scale
    gate_scale = np.float32(3) / np.float32(32768)
    multipliers, shifts = fixed_point.quantize_multiplier(
        [fine_scale / scale, fine_scale / gate_scale]
    )
    halves = np.minimum((multipliers.astype(np.int64) + 2**15) >> 16, 2**15 - 1)
    return int(halves[0]), int(shifts[0]), int(halves[1]), int(shifts[1])


def _high_mul_16(values: Int64, multiplier: int) -> Int64:
    """Return the high 16 bits of twice the product of int16 values, ties towards plus infinity."""
    return (values * multiplier + 2**14) >> 15


def _int16(values: Int64) -> Int64:
    return np.clip(values, -(2**15), 2**15 - 1)


def _int8(values: Int64) -> npt.NDArray[np.int8]:
    return np.clip(values, -128, 127).astype(np.int8)
