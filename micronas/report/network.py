"""A network block by block with costs, for reports. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

Layer = Mapping[str, Any]
_SUMMED = ("macs", "latency_ms", "weights_bytes")


def outputs_of(count: int, objective: str) -> str:
    """Return the number of outputs in words, such as ``12 classes``."""
    names = {"classes": "classes", "anomalies": "classes", "labels": "labels"}
    return f"{count} {names.get(objective, 'output' if count == 1 else 'outputs')}"


def blocks_of(
    drawing: Sequence[Mapping[str, Any]],
    layers: Sequence[Layer] = (),
    *,
    objective: str = "classes",
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
        if block.get("classes"):
            costs["outputs"] = outputs_of(block["classes"], objective)
        kept = {key: value for key, value in block.items() if key not in ("layers", "classes")}
        found.append(kept | costs)
    return found
