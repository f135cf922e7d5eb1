"""Place buffers in an arena; outputs may overlap operands that no later operator reads.

Buffers begin at whole words, which work memory holds.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from micronas.engine.steps import Overlap
from micronas.quantities import aligned

_ORDERS = 300
"""Most random orders to try, fewer for many buffers."""
_WORK = 30_000


@dataclass(frozen=True)
class Buffer:
    """Bytes in use from step `first` to step `last`."""

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Offsets of buffers by their position, in bytes."""

    offsets: tuple[int, ...]
    size: int
    bound: int
    """Lower bound of the size of any placement."""


Pair = tuple[int, int]
"""Positions of an operand and of the output that may overlap it."""


def plan(buffers: Sequence[Buffer], overlaps: Mapping[Pair, Overlap]) -> Plan:
    """Return the first-fit placement of the best of several orders."""
    sizes = [aligned(buffer.size) for buffer in buffers]
    meets = _meeting(buffers)
    bound = lower_bound(buffers, overlaps)
    best: tuple[int, list[int]] | None = None
    for order in _orders(buffers, sizes):
        offsets = _first_fit(order, sizes, meets, overlaps)
        size = max((at + bytes_ for at, bytes_ in zip(offsets, sizes, strict=True)), default=0)
        if best is None or size < best[0]:
            best = size, offsets
        if size <= bound:
            break
    assert best is not None
    return Plan(tuple(best[1]), best[0], bound)


def lower_bound(buffers: Sequence[Buffer], overlaps: Mapping[Pair, Overlap]) -> int:
    """Return the bytes that some step needs, however buffers are placed."""
    change: dict[int, int] = {}
    for buffer in buffers:
        change[buffer.first] = change.get(buffer.first, 0) + aligned(buffer.size)
        change[buffer.last + 1] = change.get(buffer.last + 1, 0) - aligned(buffer.size)
    live, at = {}, 0
    for step in sorted(change):
        at += change[step]
        live[step] = at
    spared: dict[int, list[int]] = {}  # by output, for each operand it may overlap
    for (operand, output), overlap in overlaps.items():
        inner, outer = aligned(buffers[operand].size), aligned(buffers[output].size)
        union = max(inner + max(_distance(overlap), 0), outer)
        spared.setdefault(output, []).append(max(inner + outer - union, 0))
    for output, each in spared.items():
        # with several operands an output can at most be free
        saving = each[0] if len(each) == 1 else aligned(buffers[output].size)
        live[buffers[output].first] -= saving
    return max(live.values(), default=0)


def _meeting(buffers: Sequence[Buffer]) -> list[list[int]]:
    """Return for each buffer those in use at the same time."""
    meets: list[list[int]] = [[] for _ in buffers]
    order = sorted(range(len(buffers)), key=lambda index: buffers[index].first)
    active: list[int] = []
    for index in order:
        active = [other for other in active if buffers[other].last >= buffers[index].first]
        for other in active:
            meets[index].append(other)
            meets[other].append(index)
        active.append(index)
    return meets


def _orders(buffers: Sequence[Buffer], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield orders: by size, as given, reversed, then random ones that tend to large sizes."""
    indices = list(range(len(buffers)))
    yield sorted(indices, key=lambda index: -sizes[index])
    yield indices
    yield indices[::-1]
    source = random.Random(0)
    for number in range(min(_ORDERS, max(_WORK // max(len(buffers), 1), 3))):
        spread = (0.3, 1.0, 3.0)[number % 3]
        keys = [math.log(size + 1) + source.gauss(0, spread) for size in sizes]
        yield sorted(indices, key=lambda index: -keys[index])


def _distance(overlap: Overlap) -> int:
    return 0 if overlap.exact else aligned(overlap.distance)


def _first_fit(
    order: Sequence[int],
    sizes: Sequence[int],
    meets: Sequence[Sequence[int]],
    overlaps: Mapping[Pair, Overlap],
) -> list[int]:
    offsets = [-1] * len(sizes)
    for index in order:
        others = [other for other in meets[index] if offsets[other] >= 0]
        places = {0}
        for other in others:
            places.add(offsets[other] + sizes[other])
            if (other, index) in overlaps:
                places.add(offsets[other] - _distance(overlaps[other, index]))
            if (index, other) in overlaps:
                places.add(offsets[other] + _distance(overlaps[index, other]))
        offsets[index] = next(
            place
            for place in sorted(places)
            if place >= 0
            and all(_fits(index, other, place, offsets, sizes, overlaps) for other in others)
        )
    return offsets


def _fits(
    index: int,
    other: int,
    place: int,
    offsets: Sequence[int],
    sizes: Sequence[int],
    overlaps: Mapping[Pair, Overlap],
) -> bool:
    there = offsets[other]
    if place + sizes[index] <= there or there + sizes[other] <= place:
        return True
    if (overlap := overlaps.get((other, index))) is not None:
        distance = there - place
    elif (overlap := overlaps.get((index, other))) is not None:
        distance = place - there
    else:
        return False
    return distance == 0 if overlap.exact else distance >= _distance(overlap)
