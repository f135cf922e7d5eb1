"""Cache large arrays on disk: verified when read, memory-mapped."""

import errno
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from micronas.files import aside, regular

_MAGIC = b"micronas cache 1"
_CHUNK = 1 << 24
Notes = dict[str, Any]
"""Metadata of an array; JSON."""
Build = Callable[[Notes], Iterator[NDArray[Any]]]
"""Function that yields the array in pieces along its first axis, and fills in the notes."""


@dataclass(frozen=True)
class Cached:
    """An array and its notes."""

    array: NDArray[Any]
    """In memory, or memory-mapped; writing to it changes no file."""
    notes: Notes


def cached(
    path: Path | None, key: str, *, tail: tuple[int, ...], dtype: DTypeLike, build: Build
) -> Cached:
    """Map the array in `path`, or build and write it first; without a path build it in memory.

    The file is the array's bytes, a line of JSON (key, shape, notes, CRC-32) and its length. The
    file is checked whole, which takes about a second for 2 GB: one that is cut, changed or of
    another key, a hash of everything that the array depends on, is built again. Pieces are written
    at once, so that the array need not fit into memory, under a temporary name that is changed when
    the file is complete: two processes may build the same array at the same time, and mapped arrays
    do not change. `tail` is the shape without the first axis. Raises OSError if the file cannot be
    written.
    """
    dtype = np.dtype(dtype)
    if path is None:
        notes: Notes = {}
        held = bytearray()
        for piece in build(notes):
            held += np.ascontiguousarray(piece, dtype).tobytes()
        return Cached(np.frombuffer(held, dtype).reshape(-1, *tail), notes)
    return _read(path, key, tail, dtype) or _write(path, key, tail, dtype, build)


def _write(
    path: Path, key: str, tail: tuple[int, ...], dtype: np.dtype[Any], build: Build
) -> Cached:
    notes: Notes = {}
    rows, crc = 0, 0
    with aside(path) as temporary:
        with temporary.open("xb") as file:
            # Written and not mapped: a full disk is then an error and not a signal.
            for piece in build(notes):
                data = np.ascontiguousarray(piece, dtype).tobytes()
                rows += len(piece)
                crc = zlib.crc32(data, crc)
                file.write(data)
            head = {"key": key, "shape": [rows, *tail], "dtype": dtype.str, "notes": notes}
            trailer = _trailer(head, crc)
            file.write(trailer + len(trailer).to_bytes(8, "little") + _MAGIC)
        # Mapped before it is renamed: another process may replace the file at any moment.
        written = _read(temporary, key, tail, dtype)
        if written is None:
            raise OSError(errno.EIO, "the file does not hold what was written to it", str(path))
    return written


def _read(path: Path, key: str, tail: tuple[int, ...], dtype: np.dtype[Any]) -> Cached | None:
    """Return the contents of the file, or None where they differ from those written under `key`."""
    try:
        with regular(path).open("rb") as file:
            end = file.seek(0, os.SEEK_END) - len(_MAGIC) - 8
            file.seek(max(end, 0))
            length = int.from_bytes(file.read(8), "little")
            if end < 0 or file.read() != _MAGIC or length > end:
                return None
            file.seek(end - length)
            trailer = file.read(length)
            head = json.loads(trailer)
            del head["crc"]
            shape = (head["shape"][0], *tail)
            size = math.prod(shape) * dtype.itemsize
            if head["key"] != key or head["shape"] != list(shape) or head["dtype"] != dtype.str:
                return None
            # compare the bytes: damaged JSON may still parse to the same values
            if size != end - length or trailer != _trailer(head, _checksum(file, size)):
                return None
            if size == 0:
                return Cached(np.zeros(shape, dtype), head["notes"])
            # Copy on write: torch wants memory it could write to.
            return Cached(np.memmap(file, dtype, mode="c", shape=shape), head["notes"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def _checksum(file: Any, size: int) -> int:
    file.seek(0)
    crc = 0
    for start in range(0, size, _CHUNK):
        crc = zlib.crc32(file.read(min(_CHUNK, size - start)), crc)
    return crc


def _trailer(head: Notes, crc: int) -> bytes:
    """Write the line of JSON; `crc` is that of the array's bytes."""
    return json.dumps({**head, "crc": zlib.crc32(json.dumps(head).encode(), crc)}).encode()
