"""Instructions of newlib's `memcpy` and `memset`, which copy and clear runs of bytes.

Both are in assembly for cores with the DSP extension: single bytes up to the next word, 64 or 16
bytes at a time, then words and single bytes. A run's instructions are thus a step function of its
length and start, and are a term of their own.
"""

from typing import NamedTuple


class Runs(NamedTuple):
    """Starts of runs of bytes: the first, counted from a word, and the step to the next."""

    first: int
    step: int


def copying(size: int, to: Runs, source: Runs) -> float:
    """Return the instructions of `memcpy` for `size` bytes, on average over runs."""
    return (
        sum(
            copied(size, (to.first + turn * to.step) % 4, (source.first + turn * source.step) % 4)
            for turn in range(4)
        )
        / 4
    )


def filling(size: int, to: Runs) -> float:
    """Return the instructions of `memset` for `size` bytes, on average over runs."""
    return sum(filled(size, (to.first + turn * to.step) % 4) for turn in range(4)) / 4


def copied(size: int, to: int, source: int) -> float:
    """Return the instructions of `memcpy` between these bytes of a word."""
    if (to or source) and size < 8:
        return 10 + 4 * size if size > 3 else (18, 23, 25, 25)[size]
    if to and source:
        return copied(size - 4 + to, 0, 0) + (16, 16, 13)[to - 1]
    blocks, rest = divmod(size, 64)
    words = 20 + 34 * blocks + 10 * (rest // 16) + 4 * (rest % 16 // 4) + (0, 5, 7, 7)[rest % 4]
    return words + (4 if to else 6 if source else 0)


def filled(size: int, to: int) -> float:
    """Return the instructions of `memset` from this byte of a word."""
    if size < 4:
        return 18 + 3 * size if size else 16
    if to:
        return filled(size - 4 + to, 0) + (16, 11, 6)[to - 1]
    blocks, rest = divmod(size, 16)
    start = 36 + 5 * blocks if blocks else 28
    if rest < 4:
        return start + (0, 4, 7, 10)[rest]
    return start + 1 + 3 * (rest // 4) + (0, 5, 8, 11)[rest % 4]
