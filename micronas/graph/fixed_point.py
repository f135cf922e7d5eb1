"""TFLM's fixed-point arithmetic, vectorised: the same integers for the same operands.

TFLM rescales an accumulator in two rounded steps ("double rounding"): the high half of a doubled
product, then a division by a power of two. Single rounding differs in about 1 of 1000 outputs.
Sources: TFLM kernels/internal/common.cc and quantization_util.cc, gemmlowp fixedpoint.h.
"""

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_OFFSETS = np.concatenate([np.arange(4096), np.arange(4096, 2**16, 61)]).astype(np.float32)
"""Increases of a scale to try, in units in the last place; a hundredth of the scale at most."""


def quantize_multiplier(real: npt.ArrayLike) -> tuple[Int32, Int32]:
    """Write positive factors as ``multiplier * 2**(shift - 31)`` with a 31-bit multiplier.

    Factors below 2**-32 become 0, as in TFLM.
    """
    fraction, exponent = np.frexp(np.asarray(real, np.float64))
    multiplier = np.floor(fraction * 2**31 + 0.5).astype(np.int64)
    carry = multiplier == 2**31
    multiplier = np.where(carry, 2**30, multiplier)
    shift = exponent + carry
    tiny = shift < -31
    return (
        np.where(tiny, 0, multiplier).astype(np.int32),
        np.where(tiny, 0, shift).astype(np.int32),
    )


def agreeing_scale(weights: np.float32, source: np.float32, output: np.float32) -> np.float32:
    """Return the least scale of a linear layer's weights, from `weights` on, that every TFLM
    rescales alike.

    Where none is near, it is `weights`; see `rescales_alike`.
    """
    tried = weights + np.spacing(weights) * _OFFSETS
    found: np.float32 = tried[rescales_alike(tried, source, output).argmax()]
    return found


def rescales_alike(
    left: npt.NDArray[np.float32], right: np.float32, output: np.float32
) -> npt.NDArray[np.bool_]:
    """Return whether every TFLM rescales products of these scales alike, for each of `left`.

    FULLY_CONNECTED and BATCH_MATMUL multiplied their operands' scales in float32 until August 2026,
    and do so in float64 since. The multipliers differ for all but one scale in about a hundred, and
    so does a code where a sum lies between two steps.
    """
    products = (right * left).astype(np.float64), np.float64(right) * left.astype(np.float64)
    first, second = (quantize_multiplier(each / np.float64(output)) for each in products)
    same: npt.NDArray[np.bool_] = (first[0] == second[0]) & (first[1] == second[1])
    return same


def doubling_high_mul(left: npt.NDArray[np.signedinteger], right: npt.ArrayLike) -> Int64:
    """Return the high 32 bits of twice the product of int32 values, ties towards plus infinity.

    The one product that would saturate, of two minima, does not occur: multipliers are positive.
    """
    product = left.astype(np.int64) * np.asarray(right, np.int64)
    product += 2**30
    product >>= 31
    return product


def rounding_divide(values: Int64, exponent: npt.ArrayLike) -> Int64:
    """Divide by 2**exponent (>= 0), ties away from zero. Overwrites `values`."""
    power = np.asarray(exponent, np.int64)
    divided = power > 0
    half = np.where(divided, np.int64(1) << np.maximum(power - 1, 0), 0)
    negative = values >> 63
    negative &= np.where(divided, -1, 0)
    values += half
    values += negative
    values >>= power
    return values


def rescale(values: Int32, multiplier: Int32 | Int64, shift: Int32 | Int64) -> Int64:
    """Compute TFLM's MultiplyByQuantizedMultiplier, with the multipliers along the last axis."""
    if (shift > 0).any():
        values = (values.astype(np.int64) << np.maximum(shift, 0)).astype(np.int32)
    return rounding_divide(doubling_high_mul(values, multiplier), np.maximum(-shift, 0))


def rescale_sums(values: Int64, multiplier: Int32, shift: Int32) -> Int64:
    """Compute TFLM's MultiplyByQuantizedMultiplier of int64: by 15 bits, rounded once."""
    halved = np.minimum((multiplier.astype(np.int64) + 2**15) >> 16, 2**15 - 1)
    total = 15 - shift.astype(np.int64)
    scaled: Int64 = (values * halved + (np.int64(1) << (total - 1))) >> total
    return scaled.astype(np.int32).astype(np.int64)


# exp(-2**i) for i = -2..4, in Q0.31.
_EXP_OF_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_EXP_OF_EIGHTH = 1895147668
_THIRD = 715827883


def exp_of_negative(values: Int64, integer_bits: int = 5) -> Int64:
    """Return exp(x) in Q0.31 for x <= 0 with at most 5 integer bits (Q5.26).

    Computed by a Taylor series round -1/8, then a barrel shifter.
    """
    first = 29 - integer_bits  # the bit worth a quarter
    quarter = 1 << first
    residue = (values & (quarter - 1)) - quarter
    x = (residue << integer_bits) + (1 << 28)
    x2 = doubling_high_mul(x, x)
    x3 = doubling_high_mul(x2, x)
    x4 = doubling_high_mul(x2, x2)
    tail = doubling_high_mul(rounding_divide(x4, 2) + x3, _THIRD) + x2
    result = _EXP_OF_EIGHTH + doubling_high_mul(x + rounding_divide(tail, 1), _EXP_OF_EIGHTH)
    remainder = residue - values
    for bit, factor in enumerate(_EXP_OF_POWERS[: integer_bits + 2], start=first):
        result = np.where(remainder & (1 << bit), doubling_high_mul(result, factor), result)
    return np.where(values == 0, 2**31 - 1, result)


def reciprocal_of_one_plus(values: Int64) -> Int64:
    """Return 1 / (1 + x) in Q0.31 for x in [0, 1) in Q0.31."""
    return _saturate(_reciprocal_of_half_sum(values) << 1)


def one_minus_over_one_plus(values: Int64) -> Int64:
    """Return (1 - x) / (1 + x) in Q0.31 for x in [0, 1) in Q0.31."""
    return _saturate((_reciprocal_of_half_sum(values) - 2**29) << 2)


def _reciprocal_of_half_sum(values: Int64) -> Int64:
    """Return 2 / (1 + x) in Q2.29, by three Newton-Raphson steps."""
    denominator = (values + 2**31) >> 1  # ties of two non-negative numbers round up
    x = 1515870810 + doubling_high_mul(denominator, -1010580540)  # 48/17 - 32/17 d, in Q2.29
    for _ in range(3):
        error = 2**29 - doubling_high_mul(denominator, x)
        x = x + _saturate(doubling_high_mul(x, error) << 2)
    return x


_HALF_SQRT_2 = 1518500250  # sqrt(2) / 2, in Q0.31


def inverse_root(values: Int64) -> tuple[Int64, Int64]:
    """Return 1 / sqrt(x) of integers x >= 0 as ``multiplier * 2**(shift - 31)``; 1 for 0.

    Computed by five Newton-Raphson steps from 1 in Q3.28.
    """
    reduced = np.asarray(values, np.int64).copy()
    shift = np.full(reduced.shape, 11, np.int64)
    while (reduced >= 2**29).any():
        large = reduced >= 2**29
        reduced[large] >>= 2
        shift[large] += 1
    pairs = (_leading_zeros(np.maximum(reduced, 1)) - 1) // 2 - 1
    shift -= pairs
    half = rounding_divide((reduced << 2 * pairs) >> 1, 1)
    x = np.full(reduced.shape, 2**28, np.int64)
    for _ in range(5):
        cube = _saturate(doubling_high_mul(doubling_high_mul(x, x), x) << 6)
        x = doubling_high_mul(x, 2**28 + 2**27) - doubling_high_mul(half, cube)
        x = _saturate(x << 3)
    multiplier = doubling_high_mul(x, _HALF_SQRT_2)
    multiplier = multiplier << np.maximum(-shift, 0)
    tiny = np.asarray(values) <= 1
    return np.where(tiny, 2**31 - 1, multiplier), np.where(tiny, 0, -np.maximum(shift, 0))


_LOG_2, _FOURTH_ROOT_OF_HALF = 1488522236, 1805811301  # in Q0.31, as are those below
_LOG_NUMERATOR = 117049297  # 11/240 2**(1/4)
_LOG_SQUARE, _LOG_ONE, _LOG_FIRST = 127690142, 1057819769, 638450708


def log(values: Int64) -> Int64:
    """Return the natural logarithm, in Q5.26, of numbers of at least 1 in Q12.19."""
    zeros = _leading_zeros(values)
    quarter = 2**23  # in Q6.25
    rest = _saturate(doubling_high_mul(values << (zeros - 1), _HALF_SQRT_2) << 1)
    power = ((12 - zeros) << 25) + quarter
    headroom = _leading_zeros(doubling_high_mul(values, _HALF_SQRT_2)) - 1
    rest = np.minimum(rest, _saturate(values << headroom))
    power = np.maximum(power, ((12 - headroom) << 25) - quarter)
    mean = (rest + _FOURTH_ROOT_OF_HALF + 1) >> 1
    q = 2 * (rest - _FOURTH_ROOT_OF_HALF)
    square = doubling_high_mul(q, q)
    numerator = doubling_high_mul(q, rest)
    numerator += doubling_high_mul(doubling_high_mul(q, square), _LOG_NUMERATOR)
    denominator = doubling_high_mul(
        mean, _LOG_ONE + q + doubling_high_mul(square, _LOG_SQUARE)
    ) + doubling_high_mul(q, _LOG_FIRST)
    fraction = doubling_high_mul(rounding_divide(numerator, 6), reciprocal_of_one_plus(denominator))
    return _saturate((doubling_high_mul(power, _LOG_2) + fraction) << 1)


def _leading_zeros(values: Int64) -> Int64:
    """Return the number of leading zero bits of positive int32 values."""
    return 32 - np.frexp(values.astype(np.float64))[1].astype(np.int64)


def _saturate(values: Int64) -> Int64:
    return np.clip(values, -(2**31), 2**31 - 1)
