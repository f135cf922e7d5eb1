"""Keep memory that a training step frees, as the next one needs it again; or return it."""

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of `mallopt`, from glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Make this process keep the memory it frees, until it ends.

    By default glibc returns large blocks to the kernel at once, which must find and clear pages for
    the next activation: a quarter to a half of a training step (benchmarks/freed_memory.py).
    PyTorch has no cache of its own on CPUs. Peak memory grows by up to a tenth by fragmentation.
    With other C libraries and operating systems nothing changes.
    """
    mallopt = _of_malloc("mallopt")
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)


def return_freed_memory() -> None:
    """Return freed memory to the system where glibc keeps it, as it does between small blocks."""
    trim = _of_malloc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_malloc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
