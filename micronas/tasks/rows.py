"""Rows of arrays that are larger than memory."""

import mmap
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

_KEPT = 8 * 2**20
"""Bytes read before pages are released; the system maps up to eight times as much around rows."""


class Rows:
    """Rows of an array by tensors of indices, with little of a mapped file in memory.

    The system keeps read pages as long as memory is free, but counts them as this process's. So
    pages are released after every `_KEPT` bytes. A mapped array [M, ...] must be mapped privately
    and never written to.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self._rows = torch.from_numpy(array)
        self._map: mmap.mmap | None = getattr(array, "_mmap", None)
        self._read = 0

    def __getitem__(self, index: Tensor) -> Tensor:
        found = self._rows[index]
        self._read += found.nbytes
        if self._map is not None and self._read > _KEPT and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return Rows, (self._rows.numpy(),)  # another machine may have no such file
