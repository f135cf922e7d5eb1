"""Work of CMSIS-NN's kernels that compute value by value or row by row."""

import math
from collections.abc import Sequence

from micronas.arrays import Shape
from micronas.engine.kernels.elements import joined_axes
from micronas.hardware.kernels import Work, elementwise


def of_two(kernel: str, left: Shape, right: Shape, out: Shape) -> Work:
    """Return the work of an operator on two tensors; one broadcast to the other takes loops.

    TFLM's loops join axes that are broadcast alike, so that the innermost is as long as can be, but
    go value by value where there is one channel.
    """
    wide, other = ((1,) * (len(out) - len(shape)) + shape for shape in (left, right))
    if wide == other:
        return elementwise(kernel, math.prod(out))
    joined = [size for _, size in joined_axes([wide, other], out)]
    terms = {
        "elements": math.prod(out),
        "rows": math.prod(out) if out[-1] == 1 else math.prod(joined[:-1]),
        "calls": 1,
    }
    return Work(f"{kernel}_broadcast", terms)


def larger_of_two(left: Shape, right: Shape, out: Shape) -> Work:
    """Return the work of MAXIMUM or MINIMUM: longest runs without broadcast, or of one number."""
    wide, other, whole = ((1,) * (4 - len(shape)) + shape for shape in (left, right, out))
    axis = next(
        axis
        for axis in range(5)
        if wide[axis:] == other[axis:] or 1 in (math.prod(wide[axis:]), math.prod(other[axis:]))
    )
    runs = "" if wide[axis:] == other[axis:] else "_scalar"
    if axis == 0:
        return elementwise(f"maximum{runs}", math.prod(out))
    terms = {
        "elements": math.prod(out),
        "rows": math.prod(whole[:axis]),
        "lines": math.prod(whole[:2]) * (axis == 3),
        "calls": 1,
    }
    return Work(f"maximum{runs or '_row'}s", terms)


def by_row(kernel: str, shape: Shape) -> Work:
    """Return the work of an operator on rows of the last axis."""
    terms = {"elements": math.prod(shape), "rows": math.prod(shape[:-1]), "calls": 1}
    return Work(kernel, terms)


def reduction(kernel: str, shape: Shape, axes: Sequence[int], outputs: int) -> Work:
    """Return the work of MEAN, SUM or REDUCE_MAX.

    For each value an index of all axes is counted up and compared with `axes`.
    """
    rank, elements = len(shape), math.prod(shape)
    order = list(dict.fromkeys(axis % rank for axis in axes))
    looked_at = [order.index(axis) + 1 if axis in order else len(order) for axis in range(rank)]
    terms = {
        "elements": elements,
        "axes": elements * rank,
        "comparisons": elements * sum(looked_at),
        "kept_axes": elements * (rank - len(order)),
        "carries": sum(math.prod(shape[:axis]) for axis in range(1, rank)),
        "outputs": outputs,
        "calls": 1,
    }
    return Work(kernel, terms)


def resize_bilinear(out: Shape) -> Work:
    """Return the work of RESIZE_BILINEAR: weights per row and pixel, four products per value."""
    _, height, width, _ = out
    terms = {"elements": math.prod(out), "pixels": height * width, "rows": height, "calls": 1}
    return Work("resize_bilinear", terms)
