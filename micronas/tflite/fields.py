"""Places and defaults of the fields of TFLite's tables, as the generated code has them."""

import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

# The schema ships with the TFLM wheel too, but that one exists for Linux on x86-64 only. It costs
# no more than NumPy and flatbuffers to import; ai_edge_litert's runtime is not loaded.
import ai_edge_litert.schema_py_generated as schema
from flatbuffers import number_types


class _Field(NamedTuple):
    slot: int
    """Its place in the table's vtable."""
    packer: struct.Struct
    """Packer of its number, or of the offset that it is."""
    default: float
    """The value that is not written."""

    @property
    def width(self) -> int:
        """In bytes."""
        return self.packer.size


class _Fields(dict[str, _Field]):
    """The fields of a table by name, looked up as they are asked for."""

    def __init__(self, table: str) -> None:
        self._table = table

    def __missing__(self, name: str) -> _Field:
        """Return what the generated code that adds a field asks of a builder."""
        asked = _Asked()
        getattr(schema, f"{self._table}Add{name}")(asked, 1)
        self[name] = asked.answer
        return asked.answer


@cache
def fields_of(table: str) -> _Fields:
    return _Fields(table)


class _Asked:
    """Stands in for a builder; a field is added by ``Prepend<type>Slot(slot, value, default)``."""

    answer: _Field

    def __getattr__(self, method: str) -> Callable[[int, Any, float], None]:
        kind = method.removeprefix("Prepend").removesuffix("Slot").removesuffix("Relative")

        def prepend(slot: int, _value: Any, default: float) -> None:
            packer = getattr(number_types, f"{kind}Flags").packer_type
            self.answer = _Field(slot, packer, default)

        return prepend
