"""Place buffers in an arena's head like TFLM's greedy planner (greedy_memory_planner.cc)."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_Offsets = npt.NDArray[np.int64]
Request = tuple[int, int, int]
"""Bytes, and the first and last step at which they are in use."""

_MANY = 256
"""Number of buffers from which NumPy finds those in use faster than Python; a search has fewer."""
_CROWD = 64
"""Number of buffers in use at once from which NumPy finds a gap faster too."""


def place(requests: Sequence[Request]) -> list[int]:
    """Place buffers and return their offsets.

    The largest is placed first, of equal ones the last; each goes to the lowest gap that holds it
    among the buffers already placed that are in use at the same time.
    """
    return [*_placed(tuple(requests))]


@lru_cache(maxsize=4)  # one network on several boards repeats its requests
def _placed(requests: tuple[Request, ...]) -> tuple[int, ...]:
    order = sorted(range(len(requests) - 1, -1, -1), key=lambda index: -requests[index][0])
    offsets = [0] * len(requests)
    placed = _Few() if len(requests) < _MANY else _Many(len(requests))
    for index in order:
        offsets[index] = placed.add(*requests[index])
    return tuple(offsets)


class _Few:
    def __init__(self) -> None:
        self._placed: list[tuple[int, int, int, int]] = []  # by offset: start, end, first, last

    def add(self, size: int, first: int, last: int) -> int:
        """Place one more buffer and return its offset."""
        placed = self._placed
        offset = _gap(
            size,
            (
                (start, end)
                for start, end, other_first, other_last in placed
                if other_first <= last and first <= other_last
            ),
        )
        position = len(placed)
        while position and placed[position - 1][0] > offset:
            position -= 1
        placed.insert(position, (offset, offset + size, first, last))
        return offset


class _Many:
    """Placement like `_Few`'s, fast enough for tens of thousands."""

    def __init__(self, most: int) -> None:
        self._count = 0
        self._first, self._last = np.empty((2, most), np.int32)
        self._start, self._end = np.empty((2, most), np.int64)

    def add(self, size: int, first: int, last: int) -> int:
        count = self._count
        meets = ((self._first[:count] <= last) & (self._last[:count] >= first)).nonzero()[0]
        starts, ends = self._start[meets], self._end[meets]
        if len(meets) < _CROWD:
            offset = _gap(size, sorted(zip(starts.tolist(), ends.tolist(), strict=True)))
        else:
            offset = _gap_in_crowd(size, starts, ends)
        self._first[count], self._last[count] = first, last
        self._start[count], self._end[count] = offset, offset + size
        self._count += 1
        return offset


def _gap(size: int, taken: Iterable[tuple[int, int]]) -> int:
    """Return the lowest offset of a gap of `size` between taken ranges, sorted by start."""
    offset = 0
    for start, end in taken:
        if start - offset >= size:
            break
        if end > offset:
            offset = end
    return offset


def _gap_in_crowd(size: int, starts: _Offsets, ends: _Offsets) -> int:
    order = starts.argsort(kind="stable")
    # possible offsets: 0, or the end of all ranges before a gap
    above = np.zeros(len(order) + 1, np.int64)
    np.maximum.accumulate(ends[order], out=above[1:])
    holds = starts[order] - above[:-1] >= size
    gap = int(holds.argmax())
    return int(above[gap] if holds[gap] else above[-1])
