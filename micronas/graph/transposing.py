"""Positions that TRANSPOSE_CONV writes, and torch layers as ones that the device computes right.

Source: TFLM kernels/padding.h, CMSIS-NN arm_transpose_conv_s8.c and its buffer sizes. CMSIS-NN has
two ways. It runs strides up to 2 on more than 16 channels as a convolution of an enlarged map, with
reversed filters. Everything else uses a buffer of a few rows, which is right only where
`is_computed` holds: other paddings give wrong numbers, or write beyond the map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from micronas.graph.ir import Padding

_Pair = tuple[int, int]

_TURNED_ABOVE = 16
"""Channels up to which filters are not reversed (REVERSE_TCOL_EFFICIENT_THRESHOLD)."""


@dataclass(frozen=True)
class Transposed:
    """A transposed convolution in TFLite's terms."""

    padding: Padding
    zeros: tuple[_Pair, _Pair]
    """Taps of zero to add before and after, down and across."""
    reach: _Pair
    """See `Op.reach`."""


def is_turned(stride: _Pair, depth: int) -> bool:
    """Return whether CMSIS-NN runs an operator on `depth` channels as a convolution."""
    return max(stride) <= 2 and depth > _TURNED_ABOVE


def before(taps: int, reach: int) -> int:
    """Return the rows (or columns) of the filters' reach that TFLite cuts off before the map."""
    return max(taps - reach, 0) // 2


def is_computed(size: _Pair, taps: _Pair, stride: _Pair, reach: _Pair, depth: int) -> bool:
    """Return whether CMSIS-NN computes a TRANSPOSE_CONV as TFLM's reference kernel does."""
    if is_turned(stride, depth):
        return True
    for axis, (many, step, last) in enumerate(zip(taps, stride, reach, strict=True)):
        cut = before(many, last)
        if cut + last > max(many, step):
            return False
        if axis == 0 and (cut % step or cut > size[0] * step or cut + last < step):
            return False
    return stride[1] <= max(taps[1], stride[0])  # the buffer's width depends on the other stride


def of_torch(
    size: _Pair, kernel: _Pair, stride: _Pair, padding: _Pair, output_padding: _Pair, depth: int
) -> Transposed | None:
    """Return torch's ``conv_transpose2d`` as a TRANSPOSE_CONV, or None if it needs a crop after it.

    Torch cuts `padding` rows off before the map, TFLite half of the surplus; taps of zero, which
    change no value, make both agree. Without padding this is always possible if the stride is not
    larger than the kernel, so that a caller may crop such a map. `size` is the input's.
    """
    sides = list(zip(kernel, padding, output_padding, strict=True))
    down, across = (taps + more - 2 * cut for taps, cut, more in sides)
    reach = down, across
    if all(1 <= last <= step for last, step in zip(reach, stride, strict=True)):
        for top in range(2 * stride[0] + 1):
            for left in range(stride[1] + 1):
                zeros = (top, top + output_padding[0]), (left, left + output_padding[1])
                if is_computed(size, _widened(kernel, zeros), stride, reach, depth):
                    return Transposed("SAME", zeros, reach)
    zeros = (0, output_padding[0]), (0, output_padding[1])
    if not any(padding) and is_computed(size, _widened(kernel, zeros), stride, reach, depth):
        return Transposed("VALID", zeros, reach)
    return None


def _widened(kernel: _Pair, zeros: Sequence[_Pair]) -> _Pair:
    return kernel[0] + sum(zeros[0]), kernel[1] + sum(zeros[1])
