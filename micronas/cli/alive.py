"""Report that a command is at work before it has output: imports and data take seconds."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_AFTER = 1.5
"""Seconds before the line; most errors show earlier."""
_SILENT = {"--quiet", "--json", "--csv"}
_GROUPS = ("data", "router", "judge")


@contextmanager
def sign_of_life(words: Sequence[str], *, after: float = _AFTER) -> Iterator[None]:
    """Write one line to stderr if the block takes longer than `after` seconds.

    Parameters
    ----------
    words
        Words of the command, without the program's name. Commands that print values alone, and a
        shell's completion, get no line.
    """
    completes = any(name.endswith("_COMPLETE") and name[0] == "_" for name in os.environ)
    if not words or completes or not _SILENT.isdisjoint(words):
        yield
        return
    name = " ".join(words[: 2 if words[0] in _GROUPS else 1])
    timer = threading.Timer(after, _say, (f"micronas {name} is at work",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(line: str) -> None:
    tqdm = sys.modules.get("tqdm")
    if tqdm is None or not hasattr(tqdm, "tqdm"):
        print(line, file=sys.stderr, flush=True)
    else:
        tqdm.tqdm.write(line, file=sys.stderr)  # above a bar
