"""Arguments of the commands among the benchmarks."""

import os
import sys


def given(doc: str | None, least: int, *variables: str) -> list[str]:
    """Return a command's arguments; where one or a variable is missing, end with its usage."""
    if len(sys.argv) <= least or not os.environ.keys() >= {*variables}:
        sys.exit("\n\n".join((doc or "").split("\n\n")[:2]))
    return sys.argv[1:]
