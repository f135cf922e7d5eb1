"""Constants and structures as C text."""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count
from typing import Any

import numpy as np

from micronas.engine.steps import Constant

_TYPES = {
    np.dtype(np.int8): "int8_t",
    np.dtype(np.uint16): "uint16_t",
    np.dtype(np.int32): "int32_t",
}
_ROWS = {"scales": "Scale", "factors": "Factor", "rows": "Between", "columns": "Between"}
"""Structures in arrays of two dimensions, by the member that points to them."""
_HEADER = re.compile(
    "assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|stdalign|"
    "stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|tgmath|threads|time|"
    "uchar|wchar|wctype|"
    "alloca|endian|features|libintl|newlib|pthread|sched|strings|syslimits|unistd"
)
"""Headers of C11, and those that they and C++'s include in glibc and newlib."""


def structure(
    name: str, kind: str, fields: Mapping[str, Any], tables: dict[str, str]
) -> Iterator[str]:
    """Yield the definitions of a constant structure, its arrays first.

    Of tables that are equal, which compilers merge only sometimes, one is written; `tables` holds
    the names so far by definition.
    """
    arrays: list[str] = []
    body = _written(name, fields, arrays, tables)
    yield from arrays
    yield f"static const {kind} {name} = {body};"


def _written(
    name: str, value: Any, arrays: list[str], tables: dict[str, str], member: str = ""
) -> str:
    if isinstance(value, Mapping):
        inner = (
            f".{key} = {_written(f'{name}_{key}', each, arrays, tables, key)}"
            for key, each in value.items()
        )
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list):
        parts = (
            _written(f"{name}_{index}", each, arrays, tables) for index, each in enumerate(value)
        )
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, tuple):
        return "{" + ", ".join(integer(each) for each in value) + "}"
    if isinstance(value, Constant):
        arrays.append(array(name, value.values, _ROWS.get(member, "")))
        return name
    if isinstance(value, np.ndarray):
        text = array(name, value, _ROWS.get(member, ""))
        first = tables.setdefault(text.replace(f" {name}[", "[", 1), name)
        arrays += [text] if first == name else []
        return first
    return value if isinstance(value, str) else integer(value)


def array(name: str, values: np.ndarray, kind: str = "") -> str:
    """Return the definition of a constant array.

    Rows of two dimensions are structures; uint8 are filters whose form depends on the core.
    """
    if values.dtype == np.uint8:
        items, kind = [f"W({each})" for each in values.view(np.int8).tolist()], "uint8_t"
    elif values.ndim == 2:
        items = ["{" + ", ".join(integer(each) for each in row) + "}" for row in values.tolist()]
    else:
        items = [integer(each) for each in values.tolist()]
        kind = _TYPES[values.dtype]
    aligned = " ALIGNED" if kind in ("int8_t", "uint8_t") else ""
    text = textwrap.fill(", ".join(items), 100, initial_indent="    ", subsequent_indent="    ")
    return f"static const {kind} {name}[{len(items)}]{aligned} = {{\n{text}}};"


def integer(value: int) -> str:
    """Return a C integer; the least of 32 bits has no literal."""
    return "INT32_MIN" if value == -(2**31) else str(int(value))


def identifier(name: str) -> str:
    """Return a C identifier of a name: lower-case words of letters and digits; no `is_header`."""
    words = re.findall(r"[a-z0-9]+", name.lower()) or ["model"]
    found = "_".join(words)
    return f"n_{found}" if found[0].isdigit() or is_header(found) else found


def is_header(name: str) -> bool:
    """Return whether a file of this name with ``.h`` would hide a header of the compiler's.

    Upper case hides it where files' names have no case.
    """
    return _HEADER.fullmatch(name.lower()) is not None


def unique(names: Iterable[str], word_of: Callable[[str], str] = identifier) -> dict[str, str]:
    """Return distinct identifiers by name; equal ones get the first number that is free."""
    found: dict[str, str] = {}
    for position, name in enumerate(names):
        word = word_of(name)
        numbered = (f"{word}_{number}" for number in count(position))
        taken = {*found.values()}
        found[name] = next(each for each in chain([word], numbered) if each not in taken)
    return found


def comment(text: str) -> str:
    """Return text that is valid in a C comment."""
    return re.sub(r"[^\w/.:+-]|/(?=\*)|(?<=\*)/", "_", text, flags=re.ASCII)[:80]
