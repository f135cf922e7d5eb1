"""Work of CMSIS-NN's data-movement kernels.

Most of them call `memcpy` and `memset` for runs of bytes (`micronas.engine.newlib`).
"""

import math
from collections.abc import Sequence

from micronas.arrays import Shape
from micronas.engine.newlib import Runs, copied, copying, filled, filling
from micronas.hardware.kernels import Work

Pairs = Sequence[Sequence[int]]


def reshape(size: int) -> Work:
    """Return the work of RESHAPE of an int8 tensor that is not yet in its place."""
    return Work("reshape", {"copying": copied(size, 0, 0), "calls": 1})


def concatenation(outer: int, parts: Sequence[int]) -> Work:
    """Return the work of CONCATENATION of runs of `parts` bytes, `outer` times."""
    places = [Runs(sum(parts[:place]), sum(parts)) for place in range(len(parts))]
    terms = {
        "copying": outer
        * sum(copying(part, to, Runs(0, part)) for part, to in zip(parts, places, strict=True)),
        "copies": outer * len(parts),
        "outer": outer,
        "parts": len(parts),
        "calls": 1,
    }
    return Work("concatenation", terms)


def gather(outer: int, places: int, inner: int) -> Work:
    """Return the work of GATHER of `places` runs of `inner` bytes, `outer` times."""
    copies, side_by_side = outer * places, Runs(0, inner)
    terms = {
        "copying": copies * copying(inner, side_by_side, side_by_side),
        "copies": copies,
        "outer": outer,
        "calls": 1,
    }
    return Work("gather", terms)


def cut(shape: Shape) -> Work:
    """Return the work of SLICE to a shape, one value after another."""
    return Work("slice", _loops(shape))


def strided(shape: Shape, row: Runs, step: int) -> Work:
    """Return the work of STRIDED_SLICE to a shape; with `step` 1 the last axis is copied whole."""
    if step != 1:
        return Work("strided_slice_elements", _loops(shape))
    terms = _loops(shape)
    length = shape[-1]
    terms["copying"] = terms["rows"] * copying(length, Runs(0, length), row)
    del terms["elements"]
    return Work("strided_slice", terms)


def transposition(shape: Shape) -> Work:
    """Return the work of TRANSPOSE of a tensor, one value after another in reading order."""
    return Work("transpose" if len(shape) > 3 else "transpose_3d", _loops(shape))


def repetition(source: Shape, target: Shape) -> Work:
    """Return the work of BROADCAST_TO, which repeats the last axis, then whole axes before it."""
    source = (1,) * (len(target) - len(source)) + source
    repeated = [axis for axis, size in enumerate(target) if source[axis] != size]
    if not repeated:
        return Work("broadcast_to", {"copying": copied(math.prod(target), 0, 0), "calls": 1})
    last = repeated[-1]
    visited = [math.prod(source[:axis]) for axis in range(last + 1)]
    terms: dict[str, float] = {"copying": 0, "copies": 0}
    for axis in repeated:
        count = visited[axis] * (target[axis] - (axis != last))
        size = math.prod(target[axis + 1 :])
        terms["copying"] += count * copying(size, Runs(0, size), Runs(0, size * (axis != last)))
        terms["copies"] += count
    visits = {"outer": visited[-1], "visited": sum(visited)}
    return Work("broadcast_to", {**terms, **visits, "calls": 1})


def blocks(kernel: str, deep: Shape, block: int) -> Work:
    """Return the work of SPACE_TO_DEPTH or DEPTH_TO_SPACE; `deep` is the map of more channels."""
    _, height, width, _ = deep
    terms = {
        "elements": math.prod(deep),
        "pixels": height * width * block**2,
        "rows": height * block,
        "calls": 1,
    }
    return Work(kernel, terms)


def resize_nearest(source: Shape, out: Shape, *, corners: bool, half_pixel: bool) -> Work:
    """Return the work of RESIZE_NEAREST_NEIGHBOR, which copies each pixel as a run of channels.

    Places are computed for each row, then for each pixel in it; rounding takes longer between two
    whole numbers.
    """
    _, height, width, channels = out
    down, across = (
        _places_between(size, wanted, corners=corners, half_pixel=half_pixel)
        for size, wanted in zip(source[1:3], out[1:3], strict=True)
    )
    places = height + height * width
    terms = {
        "copying": height * width * copying(channels, Runs(0, channels), Runs(0, channels)),
        "pixels": height * width,
        "rows": height,
        "between": down + height * across,
        "rounded": places * corners,
        "centred": places * half_pixel,
        "calls": 1,
    }
    return Work("resize_nearest", terms)


def _places_between(size: int, out: int, *, corners: bool, half_pixel: bool) -> int:
    """Return the number of places of a resized side that are not whole numbers."""
    over, under = (size - 1, out - 1) if corners and out > 1 else (size, out)
    twice = ((2 * place + half_pixel) * over for place in range(out))
    return sum(place % (2 * under) != 0 for place in twice)


def mirror_pad(shape: Shape, amounts: Pairs) -> Work:
    """Return the work of MIRROR_PAD, which finds each element's place axis by axis."""
    sides = [size + sum(pair) for size, pair in zip(shape, amounts, strict=True)]
    elements = math.prod(sides)
    before, after = (
        sum(elements // side * pair[end] for side, pair in zip(sides, amounts, strict=True))
        for end in (0, 1)
    )
    terms = {
        "elements": elements,
        "places": elements * len(sides),
        "before": before,
        "after": after,
        "calls": 1,
    }
    return Work("mirror_pad", terms)


def pad(shape: Shape, amounts: Pairs, *, value: bool = False) -> Work:
    """Return the work of PAD of an int8 tensor, or of PADV2 with its `value`.

    Where channels are added, each position is a run of its own.
    """
    shape = (1,) * (4 - len(shape)) + shape
    _, down, across, deep = [(0, 0)] * (4 - len(amounts)) + [tuple(pair) for pair in amounts]
    batches, rows, columns, channels = shape
    depth = channels + sum(deep)
    width = depth * (columns + sum(across))
    start = width * down[0] + depth * across[0]
    if any(deep):
        row = columns * (
            filling(deep[0], Runs(start, depth))
            + copying(channels, Runs(start + deep[0], depth), Runs(0, channels))
            + filling(deep[1], Runs(start + deep[0] + channels, depth))
        )
        positions = rows * columns
    else:
        row = copying(columns * channels, Runs(start, width), Runs(0, columns * channels))
        positions = 0
    row += filling(depth * across[0], Runs(width * down[0], width))
    row += filling(depth * across[1], Runs(start + columns * depth, width))
    ends = filled(width * down[0], 0) + filled(width * down[1], width * (down[0] + rows) % 4)
    terms = {
        "memory": batches * (rows * row + ends),
        "positions": batches * positions,
        "rows": batches * rows,
        "values": int(value),
        "calls": 1,
    }
    return Work("pad", terms)


def _loops(shape: Shape) -> dict[str, float]:
    """Return the numbers of passes through the innermost three loops."""
    return {
        "elements": math.prod(shape),
        "rows": math.prod(shape[:-1]),
        "planes": math.prod(shape[:-2]),
        "calls": 1,
    }
