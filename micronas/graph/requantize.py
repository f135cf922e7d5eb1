"""Insert QUANTIZE where operands must share one scale and TFLM fixes that of some."""

from dataclasses import replace

from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.kernels.codes import limits
from micronas.graph.operators.row import Scale

_SHARING: tuple[Scale, ...] = ("shared", "identical", "positions")
_Fixed = tuple[float, int]
"""Scale and zero point."""


def shares(op: Op) -> bool:
    """Return whether an output has its operands' scale and zero point in TFLite."""
    return op.row.scale in _SHARING


def owners(graph: Graph) -> dict[str, str]:
    """Return the tensor whose scale each activation and constant operand shares, in order."""
    found = {name: name for name in graph.inputs}
    for op in graph.ops:
        for name in op.operands:
            found.setdefault(name, name)
        _share(found, op)
    return found


def requantized(graph: Graph) -> Graph:
    """Insert QUANTIZE before operators that join a fixed scale, such as a sigmoid's, with another.

    A graph that needs none, such as a result of this function, is returned unchanged.
    """
    found = {name: name for name in graph.inputs}
    fixed: dict[str, _Fixed] = {}
    tensors, ops = dict(graph.tensors), list[Op]()
    for op in graph.ops:
        for name in op.operands:
            found.setdefault(name, name)
        if shares(op) and not _agree(graph, op, found, fixed):
            held = [name for name in dict.fromkeys(op.operands) if found[name] in fixed]
            for number, name in enumerate(held):
                out = f"{op.name}/quantize{number or ''}"
                read_from = tensors[name]
                tensors[out] = Tensor(out, read_from.shape, read_from.dtype)
                ops.append(Op("QUANTIZE", out, (name,), (out,)))
                found[out] = out
                read = tuple(out if each == name else each for each in op.inputs)
                op = replace(op, inputs=read)
        ops.append(op)
        before = {found[name] for name in op.operands} & fixed.keys() if shares(op) else set()
        _share(found, op)
        out = op.outputs[0]
        for owner in before:
            fixed[found[out]] = fixed[owner]
        own = op.row.fixed_in(tensors[out].dtype)
        if own is not None:
            fixed[found[out]] = own
    return graph if len(ops) == len(graph.ops) else replace(graph, tensors=tensors, ops=tuple(ops))


def _share(found: dict[str, str], op: Op) -> None:
    out = op.outputs[0]
    found[out] = out
    if shares(op):
        joined = {found[name] for name in op.operands}
        owner = found[out] = found[op.operands[0]]
        found.update({name: owner for name, other in found.items() if other in joined})


def _agree(graph: Graph, op: Op, found: dict[str, str], fixed: dict[str, _Fixed]) -> bool:
    """Return whether one scale can serve all operands of an operator."""
    wanted = {
        fixed.get(found[name])
        for name in op.operands
        if name not in graph.tensors or not graph.tensors[name].constant
    }
    if len(wanted) != 1:
        return not wanted
    scale = wanted.pop()
    return scale is None or all(
        _holds(scale, graph.tensors[name]) for name in op.operands if graph.tensors[name].constant
    )


def _holds(scale: _Fixed, constant: Tensor) -> bool:
    """Return whether a constant lies within the range of a scale."""
    if constant.data is None:
        return False
    step, zero = scale
    low, high = (step * (code - zero) for code in limits(constant))
    return bool(low <= constant.data.min() and constant.data.max() <= high)
