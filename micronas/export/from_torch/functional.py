"""Replace in-place operators of a recorded program by functional ones, where that is clearly safe.

Torch's own way runs the whole program twice more, which takes most of an export's time.
"""

import torch
from torch.fx import Graph, Node


def make_functional(graph: Graph) -> None:
    """Redirect readers of a changed tensor to the result of a functional operator.

    An operator stays if the changed memory may be shared with another tensor, or is an input or a
    weight of the program.
    """
    place = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        functional = _functional(node)
        if functional is None or not node.args or not _is_alone(node.args[0], place, place[node]):
            continue
        node.target = functional
        for reader in [each for each in node.args[0].users if place[each] > place[node]]:
            reader.replace_input_with(node.args[0], node)


def _functional(node: Node) -> torch._ops.OpOverload | None:
    """Return the functional operator of an in-place one."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return None
    name = target._schema.name.removeprefix("aten::")
    is_in_place = name.endswith("_") and target._schema.is_mutable
    packet = getattr(torch.ops.aten, name[:-1], None) if is_in_place else None
    return getattr(packet, target._overloadname, None)


def _is_alone(changed: object, place: dict[Node, int], now: int) -> bool:
    """Return whether no earlier value shares the memory of a node's value."""
    if not isinstance(changed, Node) or _may_alias(changed):
        return False
    return not any(_may_alias(reader) for reader in changed.users if place[reader] < now)


def _may_alias(node: Node) -> bool:
    """Return whether a node's result may share memory with its operands, or is an input."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return True
    annotated = any(each.alias_info is not None for each in target._schema.returns)
    return annotated or "dropout" in target._schema.name  # dropout returns its operand
