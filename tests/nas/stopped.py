"""Searches that are stopped again and again, and go on from the file on disk."""

from collections.abc import Callable
from pathlib import Path

from micronas.checkpoint import Checkpoint
from micronas.nas.search import SearchResult
from micronas.progress import Progress


class StoppedError(Exception):
    """Stands for a signal that ends a search in the middle."""


def until_it_ends(
    run: Callable[[Checkpoint, Progress], SearchResult], path: Path, calls: Callable[[int], int]
) -> tuple[SearchResult, int]:
    """Return what a search finds that is stopped, and in how many attempts.

    Parameters
    ----------
    calls
        Calls of the progress function after which an attempt, counted from 1, is stopped.
    """
    attempts = 0
    while True:
        attempts += 1
        left = calls(attempts)

        def progress(*_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise StoppedError

        try:
            return run(Checkpoint(path), progress), attempts
        except StoppedError:
            continue
