"""Sizes that TensorFlow's padding rules give a map, and which of them are torch's."""

from collections.abc import Sequence
from typing import Literal


def extent(kernel: int, dilation: int) -> int:
    """Pixels from the first to the last tap of a kernel whose taps are `dilation` apart."""
    return (kernel - 1) * dilation + 1


def same_output(size: int, stride: int) -> int:
    """Output size of TF "SAME" padding: ceil(size / stride)."""
    return -(-size // stride)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, as TF "SAME" places them: the odd one goes after.

    `kernel` is the `extent` of a dilated one.
    """
    total = max((same_output(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def torch_output(
    size: int, kernel: int, stride: int, padding: int, *, dilation: int = 1, ceil: bool = False
) -> int:
    """Output size of torch's convolutions and pools; `ceil` is ``ceil_mode``.

    A last window that would begin in the padding behind the map is left away.
    """
    free = size + 2 * padding - extent(kernel, dilation)
    out = (-(-free // stride) if ceil else free // stride) + 1
    return out - (ceil and (out - 1) * stride >= size + padding)


def window_padding(
    sizes: Sequence[int],
    outs: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    paddings: Sequence[int],
) -> Literal["SAME", "VALID"] | None:
    """Which padding of TensorFlow's puts windows where torch does, or None if neither.

    One entry for each side of the map: `outs` windows, the first of which begins `paddings` pixels
    before it. What lies behind the map follows from the output size, so uneven last windows, as
    ``ceil_mode`` gives, are SAME where the pixels missing are twice the padding, or one more: for
    windows of 3 or 2 every 2 pixels without padding always. `kernels` are extents of dilated ones.

    An average is torch's too if the windows reach beyond no padding, or ``count_include_pad`` is
    off: TensorFlow divides by the pixels inside the map. Pixels behind the map that ``ceil_mode``
    adds are not counted by torch either.
    """
    sides = list(zip(sizes, outs, kernels, strides, paddings, strict=True))
    if all(cut == 0 and out == (size - taps) // step + 1 for size, out, taps, step, cut in sides):
        return "VALID"
    if all(
        out == same_output(size, step) and same_padding(size, taps, step)[0] == cut
        for size, out, taps, step, cut in sides
    ):
        return "SAME"
    return None
