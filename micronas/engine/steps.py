"""The calls that a network becomes: one or several for each operator, and what each needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import Graph, Op

Table = npt.NDArray[Any]
Value = "int | float | str | Table | Fields | list[Fields] | tuple[int, ...]"
Fields = Mapping[str, Any]
"""Members of a C structure by name. An array becomes a constant of its own, which the member
points to; a mapping a structure, a tuple numbers; text stands as it is."""


@dataclass(frozen=True)
class Overlap:
    """How an output may lie over an operand that nobody reads later."""

    distance: int
    """Least number of bytes by which the output must begin before the operand; may be negative."""
    exact: bool = False
    """They must begin at one place."""


@dataclass(frozen=True)
class Rows:
    """How a kernel makes one row of its output."""

    function: str
    stride: int = 1
    """Row y is made of rows from ``y * stride - top`` on, as many as `reach`."""
    top: int = 0
    reach: int = 1
    scratch: int = 0
    """Bytes of work memory."""
    generated: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One call of a C function."""

    function: str
    uses: tuple[str, ...]
    """Kernel files, without their suffix."""
    fields: Fields
    """Parameters: the members of a constant structure."""
    structure: str
    operands: tuple[int, ...] = (0,)
    """Which operands it is given, in order."""
    scratch: int = 0
    """Bytes of work memory."""
    overlaps: Mapping[int, Overlap] = field(default_factory=dict)
    """By operand; over those left out an output may not lie."""
    is_reference: bool = False
    """A plain loop that is right for any parameters, for want of a better kernel."""
    maps: int = 1
    """How often it is called, each time on the next part of operand and output."""
    generated: Mapping[str, str] = field(default_factory=dict)
    """Further kernel files made for these parameters: text by name."""
    rows: Rows | None = None
    """Its form for single rows, where it has one."""
    state: bool = False
    """Whether it is given the network's state too."""


@dataclass(frozen=True)
class Step:
    """An operator with what was folded into it."""

    op: Op
    source: str
    """Its first operand, before padding that was folded in."""
    pads: tuple[int, int] | None = None
    """Rows and columns before the map, where a PAD was folded in."""

    @property
    def operands(self) -> tuple[str, ...]:
        return (self.source, *self.op.operands[1:])


Maker = Callable[[Graph, Step], list[Call]]
"""Returns the calls of an operator; none where its output is its input."""


def folded(graph: Graph) -> list[Step]:
    """Return the operators as steps; zeros around a map become bounds of windows over it."""
    readers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for name in op.operands:
            readers.setdefault(name, []).append(op)
    gone: dict[str, tuple[str, tuple[int, int]]] = {}
    steps = []
    for op in graph.ops:
        out = op.outputs[0]
        after = readers.get(out, [])
        is_bound = _is_border(graph, op) and all(_takes_border(each, out) for each in after)
        if is_bound and after and out not in graph.outputs:
            top, left = (int(pair[0]) for pair in _amounts(graph, op)[1:3])
            gone[out] = op.operands[0], (top, left)
            continue
        source = op.operands[0]
        name, pads = gone.get(source, (source, None))
        steps.append(Step(op, name, pads))
    return steps


def _amounts(graph: Graph, op: Op) -> Table:
    data = graph.constant_of(op).data
    assert data is not None
    return np.asarray(data)


def _is_border(graph: Graph, op: Op) -> bool:
    if op.kind != "PAD":
        return False
    amounts = _amounts(graph, op)
    if len(amounts) != 4 or amounts[[0, 3]].any() or graph.tensors[op.operands[0]].constant:
        return False
    # zeros are codes of the zero point, which both tensors share
    source, output = graph.input_of(op).quantization, graph.output_of(op).quantization
    return source is not None and output is not None and source.zero_point == output.zero_point


def _takes_border(op: Op, name: str) -> bool:
    windowed = op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
    return windowed and op.padding == "VALID" and op.operands[0] == name
