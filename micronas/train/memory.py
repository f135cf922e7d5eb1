"""Keep memory that a training step frees, as the next one needs it again."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of `mallopt`, from glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Make this process keep the memory it frees, until it ends.

    By default glibc returns large blocks to the kernel at once, which must find and clear pages for
    the next activation: a quarter to a half of a training step (benchmarks/freed_memory.py).
    PyTorch has no cache of its own on CPUs. Peak memory grows by up to a tenth by fragmentation.
    With other C libraries and operating systems nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
