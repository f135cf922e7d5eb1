"""Turn fatal errors into one line and an exit code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from micronas.errors import MicronasError
from micronas.files import FULL, full_disk
from micronas.text import one_line

_NO_MEMORY = ("can't allocate memory", "out of memory", "could not create a ")
"""Texts of errors of torch's allocators, accelerators and oneDNN when memory is full."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End errors that a user can cause with one line on stderr and exit code 2, not a traceback."""
    try:
        yield
    except MicronasError as error:
        _end(str(error))
    except ModuleNotFoundError as error:
        from micronas.cli.installation import missing_package

        message = missing_package(error)
        if message is None:
            raise
        _end(message)
    except OSError as error:
        _end(_of_a_file(error))
    except MemoryError as error:
        _end(_of_memory(str(error)))
    except RecursionError as error:
        _end(f"inputs must not be nested without end, but {error}; look for repeated brackets")
    except RuntimeError as error:
        if not any(text in str(error) for text in _NO_MEMORY):
            raise
        _end(_of_memory(str(error)))


@contextmanager
def stoppable(kept: str = "the same command goes on from the last saved step") -> Iterator[None]:
    """Turn Ctrl-C during a long command into one line, what is kept, and the usual exit code."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped; {kept}", file=sys.stderr)
        sys.exit(130)


def _end(message: str) -> None:
    print(f"error: {one_line(message)}", file=sys.stderr)
    sys.exit(2)


def _of_memory(said: str) -> str:
    lines = said.strip().splitlines() or ["it is full"]
    return (
        f"memory must suffice for what is read and computed, but {lines[0]}; free some, take a "
        "smaller batch_size, or look for a huge number in the input; after that the same command "
        "goes on from the last saved step"
    )


def _of_a_file(error: OSError) -> str:
    what = f"{error.strerror or error}: {error.filename or 'a file'}"
    if error.errno in FULL:
        return full_disk(what)
    return f"files must be readable and their folders writable, but {what}; look at its rights"
