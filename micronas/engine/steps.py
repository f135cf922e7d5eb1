"""Calls of C functions that compute a network, one or several per operator."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import Graph, Op

Table = npt.NDArray[Any]
Fields = Mapping[str, Any]
"""Members of a C structure by name. An array or `Constant` becomes a constant of its own, to which
the member points, a mapping a structure, and a tuple numbers; text is copied."""


@dataclass(frozen=True)
class Constant:
    """Array whose values are computed when it is written; its size follows from shapes alone."""

    shape: tuple[int, ...]
    dtype: type[np.generic]
    made: Callable[[], Table]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def values(self) -> Table:
        """Values; raises AssertionError if they do not have `shape`."""
        found = self.made().astype(self.dtype)
        assert found.shape == self.shape, (found.shape, self.shape)
        return found


@dataclass(frozen=True)
class Overlap:
    """Overlap that an output may have with an operand that no later operator reads."""

    distance: int
    """Least number of bytes by which the output must begin before the operand; may be negative."""
    exact: bool = False
    """Whether both must begin at the same place."""


@dataclass(frozen=True)
class Rows:
    """Form of a kernel that computes one row of its output."""

    stride: int = 1
    """Step in input rows: output row y reads `reach` rows from ``y * stride - top`` on."""
    top: int = 0
    reach: int = 1
    scratch: int = 0
    """Bytes of work memory."""
    is_window: bool = False
    """Whether its structure begins with a window; otherwise with a count of a row's parts."""


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
    """Positions of the operands it takes, in order."""
    scratch: int = 0
    """Bytes of work memory."""
    overlaps: Mapping[int, Overlap] = field(default_factory=dict)
    """Overlaps by operand; the output must not overlap others."""
    is_reference: bool = False
    """Whether it is a plain loop that is right for any parameters, as no better kernel exists."""
    maps: int = 1
    """Number of calls, each on the next part of operand and output."""
    generated: Mapping[str, str] = field(default_factory=dict)
    """Further kernel files made for these parameters: text by name."""
    rows: Rows | None = None
    """Form for single rows, where it has one."""
    state: bool = False
    """Whether it takes the network's state too."""


@dataclass(frozen=True)
class Step:
    """An operator with the padding folded into it."""

    op: Op
    source: str
    """First operand, before a folded PAD."""
    pads: tuple[int, int] | None = None
    """Rows and columns before the map, where a PAD was folded in."""

    @property
    def operands(self) -> tuple[str, ...]:
        return (self.source, *self.op.operands[1:])


Maker = Callable[[Graph, Step], list[Call]]
"""Function to the calls of an operator; none where its output is its input."""


def folded(graph: Graph) -> list[Step]:
    """Return the operators as steps; zeros around a map become bounds of windows over it."""
    readers = graph.readers()
    gone: dict[str, tuple[str, tuple[int, int]]] = {}
    steps = []
    for op in graph.ops:
        out = op.outputs[0]
        after = readers.get(out, [])
        is_bound = _is_border(graph, op) and all(_takes_border(each, out) for each in after)
        if is_bound and after and out not in graph.outputs:
            top, left = (int(pair[0]) for pair in amounts(graph, op)[1:3])
            gone[out] = op.operands[0], (top, left)
            continue
        source = op.operands[0]
        name, pads = gone.get(source, (source, None))
        steps.append(Step(op, name, pads))
    return steps


def amounts(graph: Graph, op: Op) -> Table:
    """Return the padding of a PAD before and after each dimension; without a table all after."""
    data = graph.constant_of(op).data
    if data is not None:
        return np.asarray(data)
    sizes = zip(graph.input_of(op).shape, graph.output_of(op).shape, strict=True)
    return np.array([(0, more - size) for size, more in sizes])


def _is_border(graph: Graph, op: Op) -> bool:
    if op.kind != "PAD":
        return False
    added = amounts(graph, op)
    if len(added) != 4 or added[[0, 3]].any() or graph.tensors[op.operands[0]].constant:
        return False
    # zeros have the code of the zero point, which both tensors must share
    source, output = graph.input_of(op).quantization, graph.output_of(op).quantization
    return source is not None and output is not None and source.zero_point == output.zero_point


def _takes_border(op: Op, name: str) -> bool:
    windowed = op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
    return windowed and op.padding == "VALID" and op.operands[0] == name
