"""Flash of a generated network from shapes: its constants, and the functions it consists of."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from micronas.engine.hops import Hops
from micronas.engine.layout import Layout
from micronas.engine.steps import Call, Constant
from micronas.quantities import aligned
from micronas.resources import filled

_DEFINED = re.compile(
    r"^(?:SHARED|INLINE|static)\b[^;={]*?(\w+)\(|^(?:THREE|ONE|KERNEL)\((\w+)"
    r"|^ *static const [^;={]*?\b(k[A-Z\d]\w*)",
    re.M,
)
_POINTER = 4
_REPEAT = 20
_STRUCTURE = 8
"""Bytes of a structure in an array."""
_NEEDS = re.compile(r"/\* needs ([\w ]+) \*/\n")


def constant_bytes(layout: Layout | Hops, structures: Mapping[str, int]) -> int:
    """Return the bytes of all constants, each in whole words, given those of structures."""
    graph, entry = layout.graph, 2 * _POINTER + aligned(3 * layout.place_bytes)
    size, seen = 0, set[tuple[str, bytes]]()
    for step, calls in zip(layout.steps, layout.calls, strict=True):
        given = {step.operands[each] for call in calls for each in call.operands}
        size += sum(
            aligned(graph.tensors[name].elements) for name in given if name not in layout.roots
        )
        size += sum(
            entry + structures[call.structure] + _arrays(call.fields, seen) for call in calls
        )
        size += sum(_REPEAT for call in calls if call.maps > 1)
    return size


def functions_of(calls: Iterator[Call] | list[Call]) -> set[str]:
    """Return the names of all functions and tables that the calls' kernel files define."""
    found: set[str] = set()
    for call in calls:
        for name in call.uses:
            found |= _defined(name)
        for text in call.generated.values():
            found |= _in(text)
    uses = {name for call in calls for name in call.uses}
    for unused in {"tile_plain", "tile_plain4"} - uses:  # left out by the preprocessor
        found -= _own(unused)
    return found


@lru_cache
def _defined(name: str) -> frozenset[str]:
    return frozenset(_in(filled(f"engine/{name}.c")))


@lru_cache
def _own(name: str) -> frozenset[str]:
    return frozenset(_names(filled(f"engine/{name}.c")))


def _in(text: str) -> set[str]:
    needs = _NEEDS.match(text)
    found = _names(text)
    for each in needs[1].split() if needs else ():
        found |= _defined(each)
    return found


def _names(text: str) -> set[str]:
    """Return the functions and tables that a kernel file defines."""
    return {"".join(each) for each in _DEFINED.findall(text)}


def _arrays(value: Any, seen: set[tuple[str, bytes]]) -> int:
    """Return the bytes of arrays; equal tables are written once."""
    if isinstance(value, Constant):
        return aligned(value.nbytes)
    if isinstance(value, np.ndarray):
        content = value.dtype.str, value.tobytes()
        is_new = content not in seen
        seen.add(content)
        size = _STRUCTURE * len(value) if value.ndim == 2 else value.nbytes
        return aligned(size) if is_new else 0
    if isinstance(value, Mapping):
        return sum(_arrays(each, seen) for each in value.values())
    return sum(_arrays(each, seen) for each in value) if isinstance(value, list) else 0
