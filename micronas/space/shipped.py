"""Describe the shipped search spaces: their decisions and the costs of their networks."""

from collections.abc import Mapping, Sequence
from typing import Any

from micronas.graph.counts import count
from micronas.quantities import format_macs, format_number
from micronas.resources import names
from micronas.space.open_space import load_space
from micronas.space.space import Space
from micronas.text import table


def describe_spaces() -> list[dict[str, Any]]:
    """Return input, decisions and the range of multiply-accumulates of each, as JSON values.

    A space of several families has the first input, the most decisions of any family, and the
    networks of all.
    """
    return [_described(name) for name in names("search_spaces")]


def _described(name: str) -> dict[str, Any]:
    space = load_space(name)
    members = [space] if isinstance(space, Space) else list(space.members())
    macs = [
        count(member.resolve(choice)).macs
        for member in members
        for choice in (member.smallest(), member.largest())
    ]
    return {
        "name": name,
        "input": list(members[0].input),
        "classes": space.classes,
        "families": 1 if isinstance(space, Space) else len(space.families),
        "decisions": max(len(member.decisions) for member in members),
        "networks": float(sum(member.count() for member in members)),
        "smallest_macs": min(macs),
        "largest_macs": max(macs),
    }


def spaces_table(described: Sequence[Mapping[str, Any]], *, width: int | None = None) -> str:
    """Return a table for a terminal, one line per space."""
    rows = [
        [
            each["name"],
            "x".join(map(str, each["input"])),
            str(each["families"]),
            str(each["decisions"]),
            format_number(float(f"{each['networks']:.2g}")),
            format_macs(each["smallest_macs"]),
            format_macs(each["largest_macs"]),
        ]
        for each in described
    ]
    header = ["space", "input", "families", "decisions", "networks", "smallest", "largest"]
    return table(header, rows, width=width, drop=("families", "decisions"))
