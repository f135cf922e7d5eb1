"""A network block by block with costs, for reports. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

Layer = Mapping[str, Any]
_SUMMED = ("macs", "latency_ms", "weights_bytes")


def blocks_of(
    drawing: Sequence[Mapping[str, Any]], layers: Sequence[Layer] = ()
) -> list[dict[str, Any]]:
    """Add costs to the blocks of a network, in execution order.

    Parameters
    ----------
    drawing
        Blocks from `space.searchable.Searchable.drawing`.
    layers
        Layers from `hardware.profile.profile`, each with its ``latency_ms``.
    """
    by_name = {layer["name"]: layer for layer in layers}
    found = []
    for block in drawing:
        own = [by_name[name] for name in block["layers"] if name in by_name]
        costs: dict[str, Any] = {}
        if own:
            costs = {key: sum(each[key] for each in own) for key in _SUMMED}
            costs["output"] = own[-1]["output"][1:]
        found.append({key: value for key, value in block.items() if key != "layers"} | costs)
    return found
