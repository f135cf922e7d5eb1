"""Use one TRANSPOSE of a whole tensor in place of one for each of its parts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from micronas.graph import moves
from micronas.graph.ir import Graph, Op, Tensor

_Readers = Mapping[str, Sequence[Op]]


def turned_whole(graph: Graph) -> Graph:
    """Permute axes before a tensor is cut, where those of all its parts are permuted alike.

    Fewer operators then move the same elements, such as queries, keys and values of attention.
    """
    readers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    tensors = dict(graph.tensors)
    made: dict[str, tuple[Op, ...]] = {}
    gone: set[str] = set()
    for name in graph.tensors:
        cuts = [op for op in readers.get(name, []) if op.kind == "SLICE"]
        turns = _common_turn(graph, readers, cuts)
        if not turns:
            continue
        order = moves.integers(graph, turns[0])
        whole = f"{turns[0].name}/whole"
        tensors[whole] = Tensor(whole, tuple(graph.tensors[name].shape[axis] for axis in order))
        first = replace(turns[0], name=whole, inputs=(name, turns[0].inputs[1]), outputs=(whole,))
        for cut, turn in zip(cuts, turns, strict=True):
            for table in cut.inputs[1:]:
                data = np.array(tensors[table].data)[order]
                tensors[table] = replace(tensors[table], data=data)
            made[cut.name] = (replace(cut, inputs=(whole, *cut.inputs[1:]), outputs=turn.outputs),)
            gone.add(turn.name)
        made[cuts[0].name] = (first, *made[cuts[0].name])
    ops = [new for op in graph.ops if op.name not in gone for new in made.get(op.name, (op,))]
    used = {name for op in ops for name in (*op.inputs, *op.outputs)} | {*graph.inputs}
    kept = {name: tensor for name, tensor in tensors.items() if name in used}
    return replace(graph, tensors=kept, ops=tuple(ops))


def _common_turn(graph: Graph, readers: _Readers, cuts: Sequence[Op]) -> list[Op]:
    """Return the TRANSPOSE after each part of a tensor, if all are alike and the parts cover it."""
    turns: list[Op] = []
    for cut in cuts:
        behind = readers.get(cut.outputs[0], [])
        is_one = len(behind) == 1 and behind[0].kind == "TRANSPOSE"
        if not is_one or cut.outputs[0] in graph.outputs:
            return []
        turns += behind
    orders = {tuple(moves.integers(graph, turn)) for turn in turns}
    elements = sum(graph.output_of(cut).elements for cut in cuts)
    is_more = len(cuts) > 1 and elements >= graph.input_of(cuts[0]).elements
    return turns if is_more and len(orders) == 1 else []
