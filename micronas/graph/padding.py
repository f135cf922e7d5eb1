"""Sizes of maps by TensorFlow's padding rules."""


def extent(kernel: int, dilation: int) -> int:
    """Return the pixels from first to last tap of a kernel whose taps are `dilation` apart."""
    return (kernel - 1) * dilation + 1


def same_output(size: int, stride: int) -> int:
    """Return the output size of TF "SAME" padding: ceil(size / stride)."""
    return -(-size // stride)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after by TF "SAME" padding; the odd one goes after.

    `kernel` is the `extent` of a dilated one.
    """
    total = max((same_output(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
