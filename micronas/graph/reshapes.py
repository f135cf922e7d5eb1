"""Give operators that treat each row by itself one shape, in place of RESHAPEs between them.

A row lies along the last dimension. Pointwise convolutions, norms, sums, functions of one value and
parts of rows do not depend on the arrangement of rows: where one of them writes [1, 36, 1, 192] and
the next reads [1, 6, 6, 192], both can have either shape.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from micronas.arrays import Shape
from micronas.graph import moves
from micronas.graph.forms import MAP, OF_ROWS, REDUCTIONS, as_maps, reshape, with_matrices_turned
from micronas.graph.interface import renamed
from micronas.graph.ir import Graph, Op, Tensor, table
from micronas.graph.operators import OPERATORS, elements, rows

_ROW_BY_ROW = {*elements.ROWS, *rows.ROWS} - {"BATCH_MATMUL"}
_POINTWISE = ("CONV_2D", "DEPTHWISE_CONV_2D")
_SPREADS = {kind for kind, row in OPERATORS.items() if row.spreads}
_ALONG_ROWS = ("SLICE", "GATHER", "CONCATENATION")
"""Operators that treat each row by itself where they act along the last axis, of 4 at most."""
_LOOSE = "/loose"


@dataclass
class _Chain:
    """Tensors with one arrangement of rows."""

    tensors: list[str]
    leading: Shape
    """Sizes of all dimensions but the last."""
    fixed: bool = False
    """Whether an operator that reads or writes it requires these sizes."""
    is_map: bool = False
    """Whether a convolution reads or writes it."""
    is_flat: bool = False
    """Whether it may have no more dimensions than a map."""

    def takes(self, other: "_Chain") -> bool:
        """Return whether both can have the sizes of this one."""
        fits = len(self.leading) == MAP or not (self.is_map or other.is_map)
        fits &= len(self.leading) <= MAP or not (self.is_flat or other.is_flat)
        return fits and (not other.fixed or other.leading == self.leading)


def without_reshapes(graph: Graph) -> Graph:
    """Return an equivalent graph whose rows are arranged so that few RESHAPEs are left."""
    turned = with_matrices_turned(graph)
    given = (graph,) if turned is graph else (graph, turned)
    forms = [graph, *(as_maps(each, axis) for each in given for axis in OF_ROWS)]
    loose = [_loosened(each) for each in forms]
    ways = (
        *(_arranged(each) for each in forms),
        *(_arranged(each, maps_first=True) for each in loose),
        *(_arranged(each, by_votes=True) for each in loose),
    )
    found = _without_copies(min(ways, key=lambda each: len(each.ops)))
    names = {name: name.removesuffix(_LOOSE) for name in found.tensors if name.endswith(_LOOSE)}
    return renamed(found, {old: new for old, new in names.items() if new not in found.tensors})


def _without_copies(graph: Graph) -> Graph:
    """Let operators write an output in place of a tensor of its shape that is copied to it."""
    ends = {*graph.inputs, *graph.outputs}
    names = {
        op.inputs[0]: op.outputs[0]
        for op in graph.ops
        if op.kind == "RESHAPE" and op.inputs[0] not in ends
        if graph.input_of(op).shape == graph.output_of(op).shape
    }

    def new(listed: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in listed)

    ops = tuple(
        replace(op, inputs=new(op.inputs), outputs=new(op.outputs))
        for op in graph.ops
        if names.get(op.inputs[0]) not in op.outputs
    )
    return without_unread(replace(graph, ops=ops))


def _loosened(graph: Graph) -> Graph:
    """Separate tensors of row-wise operators from those whose shape is fixed, by RESHAPEs.

    A RESHAPE is removed later where both sides end with the same shape.
    """
    tensors, ops = dict(graph.tensors), []
    loose = {
        name: f"{name}{_LOOSE}"
        for name, tensor in graph.tensors.items()
        if len(tensor.shape) >= MAP and not tensor.constant
    }

    def copy(source: str, target: str) -> None:
        ops.append(reshape(tensors, source, target, graph.tensors[name].shape))

    for name in graph.inputs:
        if name in loose:
            copy(name, loose[name])
    for op in graph.ops:
        is_free = op.kind == "RESHAPE" or _is_row_by_row(graph, op)
        names = loose if is_free else {}
        inputs, outputs = (
            tuple(names.get(name, name) for name in each) for each in (op.inputs, op.outputs)
        )
        for name in op.outputs:
            if name in loose:
                tensors[loose[name]] = replace(graph.tensors[name], name=loose[name])
        ops.append(replace(op, inputs=inputs, outputs=outputs))
        for name in op.outputs:
            if name in loose:
                copy(*((loose[name], name) if is_free else (name, loose[name])))
    return replace(graph, tensors=tensors, ops=tuple(ops))


def _arranged(graph: Graph, *, maps_first: bool = False, by_votes: bool = False) -> Graph:
    """Join chains in the order of operators; with `by_votes`, the free ones, then to most ends."""
    chains = _chains(graph)
    reshapes = [op for op in graph.ops if op.kind == "RESHAPE"]
    if by_votes:
        ends = {op.outputs[0]: _fixed_end(chains, op) for op in reshapes}
        votes = Counter(ends.values())
        votes[None] = len(reshapes)
        reshapes.sort(key=lambda op: -votes[ends[op.outputs[0]]])
    for only_maps in (True, False) if maps_first else (False,):
        for op in reshapes:
            _join(graph, chains, op, only_maps)
    shapes = {
        name: (*chain.leading, graph.tensors[name].shape[-1]) for name, chain in chains.items()
    }
    tensors = {
        name: replace(tensor, shape=shapes.get(name, tensor.shape))
        for name, tensor in graph.tensors.items()
    }
    same: dict[str, str] = {}
    reshaped: dict[str, str] = {}
    ops = []
    for op in graph.ops:
        op = replace(op, inputs=tuple(same.get(name, name) for name in op.inputs))
        if op.kind == "RESHAPE":
            target = op.outputs[0]
            source = reshaped.get(op.inputs[0], op.inputs[0])
            if tensors[source].shape == tensors[target].shape and target not in graph.outputs:
                same[target] = source
                continue
            reshaped[target] = source
            op = replace(op, inputs=(source, *op.inputs[1:]))
        elif op.kind in _SPREADS:
            op = _spread(op, tensors, reshaped)
        ops.append(_adapted(graph, op, tensors))
    return without_unread(replace(graph, tensors=tensors, ops=tuple(ops)))


def without_unread(graph: Graph) -> Graph:
    """Return a graph without operators whose results are not read, and without their tensors."""
    read, ops = set(graph.outputs), []
    for op in reversed(graph.ops):
        if not read.isdisjoint(op.outputs):
            ops.append(op)
            read.update(op.inputs)
    kept = read | {*graph.inputs}
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in kept}
    return replace(graph, tensors=tensors, ops=tuple(reversed(ops)))


def _chains(graph: Graph) -> dict[str, _Chain]:
    """Return the chains of tensors, not joined across RESHAPEs."""
    chains = {
        name: _Chain([name], tensor.shape[:-1])
        for name, tensor in graph.tensors.items()
        if not tensor.constant
    }
    for name in (*graph.inputs, *graph.outputs):
        chains[name].fixed = True
    for op in graph.ops:
        named = [name for name in (*op.inputs, *op.outputs) if name in chains]
        if op.kind == "RESHAPE":
            continue
        if op.kind == "FULLY_CONNECTED" and graph.output_of(op).shape[:-1] == (1,):
            continue  # a single row may have any shape
        if not _is_row_by_row(graph, op):
            for name in named:
                chains[name].fixed = True
            continue
        for name in named[1:]:
            _merge(chains, chains[named[0]], chains[name])
        chains[named[0]].is_map |= op.kind in _POINTWISE
        chains[named[0]].is_flat |= op.kind in _ALONG_ROWS
    return chains


def _is_row_by_row(graph: Graph, op: Op) -> bool:
    """Return whether an operator works with any arrangement of rows that its tensors share."""
    output = graph.output_of(op)
    leading = output.shape[:-1]
    if any(
        graph.tensors[name].shape[:-1] != leading
        for name in op.operands
        if not graph.tensors[name].constant
    ):
        return False
    if op.kind in _POINTWISE:
        filters, source = graph.constant_of(op), graph.input_of(op)
        window = filters.shape[1:3]
        return window == op.stride == (1, 1) and source.shape[:3] == leading
    if op.kind in REDUCTIONS:
        return moves.integers(graph, op) == [len(leading)]
    if op.kind in _ALONG_ROWS:
        is_last = op.kind == "SLICE" or op.axis == len(leading)
        return (
            is_last
            and 1 < len(output.shape) <= MAP + 1
            and not any(graph.tensors[name].constant for name in op.operands)
        )
    return op.kind in _ROW_BY_ROW and all(
        _is_of_rows(graph.tensors[name].shape, leading)
        for name in op.operands
        if graph.tensors[name].constant
    )


def _is_of_rows(shape: Shape, leading: Shape) -> bool:
    """Return whether a constant is the same for all rows, or has a row for each."""
    return all(size == 1 for size in shape[:-1]) or shape[:-1] == leading


def _merge(chains: dict[str, _Chain], kept: _Chain, other: _Chain) -> None:
    if kept is other:
        return
    kept.fixed |= other.fixed
    kept.is_map |= other.is_map
    kept.is_flat |= other.is_flat
    kept.tensors += other.tensors
    chains.update(dict.fromkeys(other.tensors, kept))


def _fixed_end(chains: Mapping[str, _Chain], op: Op) -> Shape | None:
    """Return the fixed arrangement at an end of a RESHAPE between a fixed and a free one."""
    ends = [chains[name] for name in (op.inputs[0], op.outputs[0]) if name in chains]
    fixed = [chain.leading for chain in ends if chain.fixed]
    return fixed[0] if len(fixed) == 1 else None


def _join(graph: Graph, chains: dict[str, _Chain], op: Op, only_maps: bool) -> None:
    """Give the chains at both ends of a RESHAPE one arrangement, if possible.

    With `only_maps`, only the arrangement of a map in place of one of another rank.
    """
    source, target = op.inputs[0], op.outputs[0]
    if source not in chains or graph.tensors[source].shape[-1] != graph.tensors[target].shape[-1]:
        return
    pairs = [(chains[source], chains[target]), (chains[target], chains[source])]
    for kept, other in pairs:
        if kept.takes(other) and (not only_maps or len(other.leading) != len(kept.leading) == MAP):
            _merge(chains, kept, other)
            return


def _spread(op: Op, tensors: Mapping[str, Tensor], reshaped: Mapping[str, str]) -> Op:
    """Replace operands by sources without leading dimensions of 1, which broadcasting adds."""
    rank = len(tensors[op.outputs[0]].shape)

    def found(name: str) -> str:
        source = reshaped.get(name, name)
        shapes = [tensors[each].shape for each in (source, name)]
        sizes = [shape[_ones(shape) :] for shape in shapes]
        return source if sizes[0] == sizes[1] and len(shapes[0]) <= rank else name

    inputs = tuple(map(found, op.inputs))
    # at least one operand must have the output's rank, to which constants are reshaped
    read = [tensors[name] for name in inputs]
    is_whole = any(each.constant or len(each.shape) == rank for each in read)
    return replace(op, inputs=inputs) if is_whole else op


def _ones(shape: Shape) -> int:
    """Return the number of leading dimensions of 1."""
    return next((axis for axis, size in enumerate(shape) if size > 1), len(shape))


def _adapted(graph: Graph, op: Op, tensors: dict[str, Tensor]) -> Op:
    """Return an operator with its axis and constants adapted to the new shape of its output."""
    old, new = graph.output_of(op).shape, tensors[op.outputs[0]].shape
    if old == new:
        return op
    if op.kind == "SLICE":
        begin = (0,) * (len(new) - 1) + (moves.integers(graph, op)[-1],)
        for name, numbers in zip(op.inputs[1:], (begin, new), strict=True):
            tensors[name] = table(name, numbers)
    if op.kind in _ALONG_ROWS:
        return replace(op, axis=len(new) - 1 if op.kind != "SLICE" else op.axis)
    if op.kind == "RESHAPE" and len(op.inputs) > 1:
        tensors[op.inputs[1]] = table(op.inputs[1], new)
    if op.kind in REDUCTIONS:
        tensors[op.inputs[1]] = table(op.inputs[1], [len(new) - 1])
    for name in op.operands if op.kind in _SPREADS else ():
        constant = tensors[name]
        if constant.constant:
            ones = (1,) * (len(new) - 1)
            leading = new[:-1] if constant.shape[:-1] == old[:-1] else ones
            shape = (*leading, constant.shape[-1])
            data = None if constant.data is None else constant.data.reshape(shape)
            tensors[name] = replace(constant, shape=shape, data=data)
    return op
