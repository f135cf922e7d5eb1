"""Sizes that TensorFlow's padding rules give a map."""


def same_output(size: int, stride: int) -> int:
    """Output size of TF "SAME" padding: ceil(size / stride)."""
    return -(-size // stride)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, as TF "SAME" places them: the odd one goes after."""
    total = max((same_output(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
