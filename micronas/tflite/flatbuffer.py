"""Sinks of a TFLite flatbuffer: its bytes, or only their number.

A search asks for the size of thousands of networks. Both sinks take the same calls in the same
order; `Size` computes offsets by the format's rules and writes nothing.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np

from micronas.graph.ir import Array
from micronas.tflite.fields import fields_of

_ALIGNMENT = 16
"""Alignment of constants, in bytes; the generated code ignores the schema's ``force_align``."""
_IDENTIFIER = b"TFL3"

_Fields = dict[str, float]
"""Values by the schema's names: scalars, or offsets that a sink returned."""


class Bytes:
    """Bytes of a file. A flatbuffer is written back to front, children before parents.

    `size` bytes are allocated first, and doubled as needed.
    """

    def __init__(self, size: int) -> None:
        self._builder = flatbuffers.Builder(size)

    def table(self, name: str, fields: _Fields) -> int:
        getattr(schema, f"{name}Start")(self._builder)
        for field, value in fields.items():
            getattr(schema, f"{name}Add{field}")(self._builder, value)
        return int(getattr(schema, f"{name}End")(self._builder))

    def vector(self, values: Sequence[int] | Array, dtype: str) -> int:
        return int(self._builder.CreateNumpyVector(np.asarray(values, dtype)))

    def offsets(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def constant(self, data: bytes) -> int:
        self._builder.Prep(_ALIGNMENT, len(data))
        return int(self._builder.CreateByteVector(data))

    def string(self, text: str) -> int:
        return int(self._builder.CreateSharedString(text))

    def finish(self, root: int) -> None:
        self._builder.Finish(root, _IDENTIFIER)

    def content(self) -> memoryview:
        return memoryview(self._builder.Bytes)[self._builder.Head() :]


class Size:
    """Size in bytes of the file that `Bytes` writes after the same calls.

    Offsets count from the end of the file, as in the format.
    """

    def __init__(self) -> None:
        self._size = 0
        self._largest = 1  # largest alignment, that of the whole file
        self._strings: dict[str, int] = {}
        self._vtables: set[_Vtable] = set()

    def table(self, name: str, fields: _Fields) -> int:
        known = fields_of(name)
        used = [field for field, value in fields.items() if value != known[field].default]
        layout = _layout(name, tuple(used), self._size % 8)
        self._size += layout.size
        self._largest = max(self._largest, layout.alignment)
        end = self._size
        if layout.vtable not in self._vtables:  # equal vtables are written once
            self._vtables.add(layout.vtable)
            self._size += layout.vtable_size
        return end

    def vector(self, values: Sequence[int] | Array, dtype: str) -> int:
        width = int(dtype[-1])
        return self._vector(len(values) * width, max(4, width))

    def offsets(self, offsets: Sequence[int]) -> int:
        return self._vector(4 * len(offsets), 4)

    def constant(self, data: bytes) -> int:
        return self._vector(len(data), _ALIGNMENT)

    def string(self, text: str) -> int:
        if text not in self._strings:
            self._strings[text] = self._vector(len(text.encode()) + 1, 4)
        return self._strings[text]

    def finish(self, root: int) -> None:
        self._align(self._largest, 4 + len(_IDENTIFIER))
        self._size += 4 + len(_IDENTIFIER)

    def content(self) -> int:
        return self._size

    def _vector(self, payload: int, alignment: int) -> int:
        self._align(alignment, payload)
        self._size += payload + 4  # its length
        return self._size

    def _align(self, alignment: int, following: int) -> None:
        """Leave a gap so that the place after `following` more bytes is aligned."""
        self._largest = max(self._largest, alignment)
        self._size += -(self._size + following) % alignment


_Vtable = tuple[int, frozenset[tuple[int, int]]]
"""Size of a table, and the slots of its fields with their distances from its start."""


class _Layout(NamedTuple):
    size: int
    """Size with the gap before the first field and the offset of the vtable."""
    alignment: int
    vtable: _Vtable
    vtable_size: int


@cache
def _layout(table: str, used: tuple[str, ...], start: int) -> _Layout:
    """Return the layout of a table whose fields begin `start` bytes, modulo 8, from the end."""
    at, widest, places = start, 4, []
    for name in used:
        field = fields_of(table)[name]
        at += -at % field.width + field.width
        widest = max(widest, field.width)
        places.append((field.slot, at))
    at += -at % 4 + 4
    size, slots = at - start, max((slot for slot, _ in places), default=-1) + 1
    offsets = frozenset((slot, at - place) for slot, place in places)
    return _Layout(size, widest, (size, offsets), 2 * (slots + 2))
