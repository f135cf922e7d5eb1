"""Read the tables of a flatbuffer field by field, faster than the generated code.

That code looks up a table's layout for every field. Here equal layouts are looked up once per file,
and nothing longer than asked for is unpacked, whatever a damaged file claims.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from micronas.graph.ir import Array
from micronas.tflite.fields import fields_of

_offset = struct.Struct("<I").unpack_from
"""Unpacks offsets and lengths."""
_distance = struct.Struct("<i").unpack_from
_LARGEST_VTABLE = 64
"""Most bytes of a vtable that are read; the fields of every table of the schema fit."""


class Part:
    """A table of a file, whose fields have the schema's names; an absent field is its default.

    Reading beyond the file raises struct.error or ValueError.
    """

    __slots__ = ("_data", "_fields", "_file", "_layout", "_place")

    def __init__(self, file: "File", kind: str, place: int) -> None:
        self._file, self._place, self._data = file, place, file.data
        self._fields, self._layout = fields_of(kind), file.layout(place)

    def __getitem__(self, name: str) -> Any:
        """Return a number."""
        slot, packer, default = self._fields[name]
        layout, slot = self._layout, slot + 2
        if slot < len(layout) and layout[slot]:
            return packer.unpack_from(self._data, self._place + layout[slot])[0]
        return default

    def part(self, name: str, kind: str) -> "Part | None":
        """Return the table that a field refers to; None where there is none."""
        start = self._target(name)
        return None if start is None else Part(self._file, kind, start)

    def parts(self, name: str, kind: str) -> "Parts":
        """Return a vector of tables."""
        return Parts(self._file, kind, self._target(name))

    def length(self, name: str) -> int:
        """Return the number of entries of a vector, 0 where there is none."""
        start = self._target(name)
        return 0 if start is None else self._file.offset(start)

    def numbers(self, name: str, *, most: int) -> tuple[int, ...]:
        """Return a vector of int32; raise ValueError where it has more than `most`."""
        start = self._target(name)
        if start is None:
            return ()
        (length,) = _offset(self._data, start)
        if length > most:
            raise ValueError("vector longer than it can be")
        return struct.unpack_from(f"<{length}i", self._data, start + 4)

    def array(self, name: str, dtype: str) -> Array:
        """Return a vector of numbers of any length, as a view of the file."""
        start = self._target(name)
        if start is None:
            return np.empty(0, dtype)
        return np.frombuffer(self._data, dtype, self._file.offset(start), start + 4)

    def text(self, name: str, *, spend: Callable[[int], None]) -> str | None:
        """Return a string, None where there is none; `spend` is called with its length before."""
        start = self._target(name)
        if start is None:
            return None
        length = self._file.offset(start)
        spend(length)
        return self._data[start + 4 : start + 4 + length].decode("utf-8", "replace")

    def _target(self, name: str) -> int | None:
        """Return the place that a field refers to."""
        layout, slot = self._layout, self._fields[name].slot + 2
        if slot < len(layout) and layout[slot]:
            at = self._place + layout[slot]
            return at + int(_offset(self._data, at)[0])
        return None


class Parts:
    """A vector of tables, each read at use."""

    __slots__ = ("_file", "_kind", "_length", "_start")

    def __init__(self, file: "File", kind: str, start: int | None) -> None:
        self._file, self._kind = file, kind
        self._length = 0 if start is None else file.offset(start)
        self._start = 0 if start is None else start + 4

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Part]:
        return (self[number] for number in range(self._length))

    def __getitem__(self, number: int) -> Part:
        if not 0 <= number < self._length:
            raise IndexError(self._kind)
        at = self._start + 4 * number
        return Part(self._file, self._kind, at + self._file.offset(at))


class File:
    """Bytes of a flatbuffer, and the layouts of tables seen in it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._layouts: dict[int, tuple[int, ...]] = {}

    def root(self, kind: str) -> Part:
        return Part(self, kind, self.offset(0))

    def offset(self, place: int) -> int:
        """Read an offset or a length, both uint32."""
        return int(_offset(self.data, place)[0])

    def layout(self, place: int) -> tuple[int, ...]:
        """Return the offsets of a table's fields from its own place, after two other numbers."""
        vtable: int = place - _distance(self.data, place)[0]
        known = self._layouts.get(vtable)
        if known is None:
            if vtable < 0:
                raise ValueError("a layout before the file")
            (size,) = struct.unpack_from("<H", self.data, vtable)
            slots = min(size, _LARGEST_VTABLE) // 2
            known = self._layouts[vtable] = struct.unpack_from(f"<{slots}H", self.data, vtable)
        return known
