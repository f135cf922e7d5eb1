"""Where TRANSPOSE_CONV writes, and how a torch layer becomes one that the device computes right.

Source: TFLM kernels/padding.h, CMSIS-NN arm_transpose_conv_s8.c and its buffer sizes. CMSIS-NN has
two ways. It runs strides up to 2 on more than 16 channels as a convolution of an enlarged map, with
the filters turned around. Everything else goes through a buffer of a few rows, which is right only
where `is_computed` says so: other paddings give wrong numbers, or write beyond the map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from micronas.graph.ir import Padding

_Pair = tuple[int, int]

_TURNED_ABOVE = 16
"""Channels (REVERSE_TCOL_EFFICIENT_THRESHOLD)."""


@dataclass(frozen=True)
class Transposed:
    """A transposed convolution in TFLite's terms."""

    padding: Padding
    zeros: tuple[_Pair, _Pair]
    """Taps of zero to add before and after, down and across."""
    reach: _Pair
    """See `Op.reach`."""


def is_turned(stride: _Pair, depth: int) -> bool:
    """Whether CMSIS-NN runs an operator that reads `depth` channels as a convolution."""
    return max(stride) <= 2 and depth > _TURNED_ABOVE


def before(taps: int, reach: int) -> int:
    """Rows (or columns) of what filters reach that TFLite leaves away before the map it writes."""
    return max(taps - reach, 0) // 2


def is_computed(size: _Pair, taps: _Pair, stride: _Pair, reach: _Pair, depth: int) -> bool:
    """Whether CMSIS-NN computes a TRANSPOSE_CONV as TFLM's reference kernel does.

    Parameters
    ----------
    size, taps
        Height and width of the map that is read, and of the filters.
    depth
        Channels that are read.
    """
    if is_turned(stride, depth):
        return True
    for axis, (many, step, last) in enumerate(zip(taps, stride, reach, strict=True)):
        cut = before(many, last)
        if cut + last > max(many, step):
            return False
        if axis == 0 and (cut % step or cut > size[0] * step or cut + last < step):
            return False
    return stride[1] <= max(taps[1], stride[0])  # the buffer's width goes by the other stride


def of_torch(
    size: _Pair, kernel: _Pair, stride: _Pair, padding: _Pair, output_padding: _Pair, depth: int
) -> Transposed | None:
    """Write torch's ``conv_transpose2d`` as a TRANSPOSE_CONV, or None if it needs a crop behind.

    Torch leaves `padding` rows away before the map where TFLite halves what is left over; taps of
    zero, which change no value, bring both together. Without padding there always is a way as long
    as the stride is not larger than the kernel: a crop of that is the way out.

    Parameters
    ----------
    size
        Height and width of the map that is read.
    depth
        Its channels.
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
