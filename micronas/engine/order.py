"""Order of operators in branches that holds the fewest bytes at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from micronas.graph.ir import Graph

_KEPT = 32
"""Number of beginnings of orders kept at each step."""
_MOST = 400
"""Number of operators beyond which the given order stays."""


@dataclass(frozen=True)
class _Begun:
    """Beginning of an order."""

    peak: int
    live: int
    """Bytes that are still to be read."""
    done: int
    """Operators so far, as bits."""
    last: "tuple[_Begun, int] | None" = None


def reordered(graph: Graph) -> Graph | None:
    """Return the graph in the order of least memory, or None where there is only one order.

    Outputs count as overlapping the largest operand that is read for the last time; the memory
    itself is known only after placement.
    """
    count = len(graph.ops)
    if count > _MOST:
        return None
    made = {name: place for place, op in enumerate(graph.ops) for name in op.outputs}
    needs = [sum(1 << made[name] for name in {*op.operands} if name in made) for op in graph.ops]
    readers: dict[str, int] = dict.fromkeys(graph.outputs, 1 << count)  # never done
    for place, op in enumerate(graph.ops):
        for name in op.operands:
            readers[name] = readers.get(name, 0) | 1 << place
    begun = [_Begun(0, sum(graph.tensors[name].elements for name in graph.inputs), 0)]
    is_free = False
    for _ in range(count):
        found: dict[int, _Begun] = {}
        for each in begun:
            ready = [*_ready(needs, each.done)]
            is_free |= len(ready) > 1
            for place in ready:
                after = _after(graph, each, place, readers)
                known = found.get(after.done)
                if known is None or (after.peak, after.live) < (known.peak, known.live):
                    found[after.done] = after
        begun = sorted(found.values(), key=lambda each: (each.peak, each.live))[:_KEPT]
    if not is_free:
        return None
    order = [*_places(begun[0])]
    return replace(graph, ops=tuple(graph.ops[place] for place in reversed(order)))


def _ready(needs: list[int], done: int) -> Iterator[int]:
    for place, needed in enumerate(needs):
        if not done >> place & 1 and needed & done == needed:
            yield place


def _after(graph: Graph, before: _Begun, place: int, readers: dict[str, int]) -> _Begun:
    op = graph.ops[place]
    done = before.done | 1 << place
    out = sum(graph.tensors[name].elements for name in op.outputs)
    dying = [
        graph.tensors[name].elements
        for name in {*op.operands}
        if not graph.tensors[name].constant and readers[name] & done == readers[name]
    ]
    peak = before.live + out - min(out, max(dying, default=0))
    return _Begun(max(before.peak, peak), before.live + out - sum(dying), done, (before, place))


def _places(begun: _Begun) -> Iterator[int]:
    """Yield the operators of an order, the last one first."""
    while begun.last is not None:
        begun, place = begun.last
        yield place
