"""Sizes that TensorFlow's padding rules give a map, and which of them are torch's."""


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
