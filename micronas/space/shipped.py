"""Describe the shipped search spaces: what is chosen, and what their networks cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from micronas.graph.counts import count
from micronas.quantities import format_macs
from micronas.resources import names
from micronas.space.space import Space
from micronas.text import table


def describe_spaces() -> list[dict[str, Any]]:
    """Return input, decisions and the span of multiply-accumulates of each, as JSON values."""
    described = []
    for name in names("search_spaces"):
        space = Space.load(name)
        low, high = (
            count(space.architecture(choice).graph()).macs
            for choice in (space.smallest(), space.largest())
        )
        described.append(
            {
                "name": name,
                "input": list(space.input),
                "classes": space.classes,
                "decisions": len(space.decisions),
                "networks": float(space.count()),
                "smallest_macs": low,
                "largest_macs": high,
            }
        )
    return described


def spaces_table(described: Sequence[Mapping[str, Any]]) -> str:
    """Return a table for a terminal, one line per space."""
    rows = [
        [
            each["name"],
            "x".join(map(str, each["input"])),
            str(each["decisions"]),
            f"{each['networks']:.0e}",
            format_macs(each["smallest_macs"]),
            format_macs(each["largest_macs"]),
        ]
        for each in described
    ]
    return table(["space", "input", "decisions", "networks", "smallest", "largest"], rows)
