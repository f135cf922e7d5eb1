"""Places and defaults of the fields of TFLite's tables, taken from the generated code."""

import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

# The TFLM wheel has the schema too, but exists for Linux on x86-64 only. The import costs no more
# than NumPy and flatbuffers; ai_edge_litert's runtime is not loaded.
import ai_edge_litert.schema_py_generated as schema
from flatbuffers import number_types


class _Field(NamedTuple):
    slot: int
    """Place in the table's vtable."""
    packer: struct.Struct
    """Packer of the number or offset."""
    default: float
    """Value that is not written."""

    @property
    def width(self) -> int:
        """Width in bytes."""
        return self.packer.size


class _Fields(dict[str, _Field]):
    """Fields of a table by name, looked up at first use."""

    def __init__(self, table: str) -> None:
        self._table = table

    def __missing__(self, name: str) -> _Field:
        """Return the field that the generated code asks a builder to add."""
        asked = _Asked()
        getattr(schema, f"{self._table}Add{name}")(asked, 1)
        self[name] = asked.answer
        return asked.answer


@cache
def fields_of(table: str) -> _Fields:
    return _Fields(table)


class _Asked:
    """Stand-in for a builder; a field is added by ``Prepend<type>Slot(slot, value, default)``."""

    answer: _Field

    def __getattr__(self, method: str) -> Callable[[int, Any, float], None]:
        kind = method.removeprefix("Prepend").removesuffix("Slot").removesuffix("Relative")

        def prepend(slot: int, _value: Any, default: float) -> None:
            packer = getattr(number_types, f"{kind}Flags").packer_type
            self.answer = _Field(slot, packer, default)

        return prepend
