"""Open decisions of a space as a tree: families, parts, decisions."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import yaml

from micronas.quantities import format_number
from micronas.space.blocks.base import stage_of
from micronas.space.blocks.select import branch_name
from micronas.space.decisions import Decision
from micronas.space.open_space import OpenSpace
from micronas.space.space import Space

_LISTED = 6
"""Most options that are written out; of more only the first two, the last and the number."""


def describe_tree(space: Space | OpenSpace) -> dict[str, Any]:
    """Describe a space's choices, as JSON values.

    Returns
    -------
    dict
        ``name``, ``task``, ``classes``, and ``families``. Each family has ``name``, ``input``,
        ``layouts`` (``at`` and ``options`` of each ``any``), ``networks`` (over all layouts),
        and ``parts`` of its first layout: stem, blocks and head with ``name``, ``type``, ``repeat``
        and ``decisions`` (``name``, ``kind``, ``options``). A part of type ``select`` has
        ``options``, which are parts.
    """
    if isinstance(space, Space):
        families = [_family(space.name, space, (), space.count())]
    else:
        families = [
            _family(
                family,
                space.member(family, tuple(0 for _ in space.sizes(family))),
                space.layouts(family),
                sum(each.count() for each in space.members_of(family)),
            )
            for family in space.families
        ]
    return {"name": space.name, "task": space.task, "classes": space.classes, "families": families}


def tree_rows(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the decisions of `describe_tree`, one per row."""
    return [
        {"family": family["name"], "part": part["name"], "type": part["type"], **decision}
        for family in described["families"]
        for top in family["parts"]
        for part in (top, *top.get("options", ()))
        for decision in part["decisions"]
    ]


def tree_text(described: Mapping[str, Any], *, width: int | None = None) -> str:
    """Draw `describe_tree` for a terminal.

    `width` is that of the longest line in characters; by default lines are not cut.
    """
    families = described["families"]
    task = f", task {described['task']}" if described["task"] else ""
    head = f"{described['name']}: {described['classes']} classes{task}"
    if len(families) == 1:
        lines = [f"{head}, {_size(families[0])}", *_branches(_children(families[0]))]
    else:
        drawn = [(f"{each['name']}: {_size(each)}", _children(each)) for each in families]
        lines = [f"{head}, {len(families)} families", *_branches(drawn)]
    if width is not None:
        lines = [line if len(line) <= width else f"{line[: width - 4]} ..." for line in lines]
    return "\n".join(lines)


_Node = tuple[str, list[Any]]
"""A line, and the nodes below it."""


def _family(
    name: str, space: Space, layouts: Sequence[tuple[str, Sequence[Any]]], networks: int
) -> dict[str, Any]:
    decided = {each.name: each for each in space.decisions}
    parts = [_part("stem", "conv", decided)]
    for entry, names in space.places():
        part = _part(names[0], entry.type, decided)
        part |= {"name": stage_of(names), "repeat": len(names), "stride": list(entry.stride)}
        part["decisions"] = [*_own(stage_of(names), decided, "depth"), *part["decisions"]]
        if entry.type == "select":
            part["options"] = [
                _part(branch_name(names[0], number), option.type, decided)
                for number, option in enumerate(entry.options)
            ]
        parts.append(part)
    parts.append(_part("head", "classifier", decided))
    return {
        "name": name,
        "input": list(space.input),
        "networks": float(networks),
        "layouts": [{"at": at, "options": list(options)} for at, options in layouts],
        "parts": parts,
    }


def _part(name: str, kind: str, decided: Mapping[str, Decision]) -> dict[str, Any]:
    return {"name": name, "type": kind, "repeat": 1, "decisions": _own(name, decided)}


def _own(scope: str, decided: Mapping[str, Decision], only: str | None = None) -> list[Any]:
    """Return the decisions at a place; those of a row of blocks are under the row's name."""
    found = []
    for name, each in decided.items():
        place, _, field = name.rpartition(".")
        if place == scope and only in (None, field) and (only or field != "depth"):
            found.append({"name": field, "kind": each.kind, "options": each.labels})
    return found


def _children(family: Mapping[str, Any]) -> list[_Node]:
    layouts: list[_Node] = [
        (f"layout: {each['at']} is {' | '.join(map(_written, each['options']))}", [])
        for each in family["layouts"]
    ]
    return layouts + [_node(part) for part in family["parts"]]


def _node(part: Mapping[str, Any]) -> _Node:
    times = f", {part['repeat']} in a row" if part["repeat"] > 1 else ""
    stride = part.get("stride", [1, 1])
    strided = f", stride {_written(stride[0] if len(set(stride)) == 1 else stride)}"
    fixed = "" if part["decisions"] or part.get("options") else ", nothing to choose"
    line = f"{part['name']}: {part['type']}{strided if max(stride) > 1 else ''}{times}{fixed}"
    below: list[_Node] = [
        (_line(each), []) for each in part["decisions"] if each["kind"] != "select"
    ]
    return line, below + [_node(option) for option in part.get("options", ())]


def _line(decision: Mapping[str, Any]) -> str:
    labels = decision["options"]
    if len(labels) <= _LISTED:
        return f"{decision['name']}: {' | '.join(labels)}"
    return f"{decision['name']}: {labels[0]}, {labels[1]}, ... {labels[-1]} ({len(labels)})"


def _written(value: Any) -> str:
    """Return a value of a description in one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return "nothing" if value in ([], None) else text.removesuffix("...\n").strip()


def _size(family: Mapping[str, Any]) -> str:
    networks = format_number(float(f"{family['networks']:.2g}"))
    ways = prod(len(each["options"]) for each in family["layouts"])
    laid_out = f" in {ways} layouts, of which the first" if ways > 1 else ""
    return f"input {'x'.join(map(str, family['input']))}, {networks} networks{laid_out}"


def _branches(nodes: Sequence[_Node]) -> Iterator[str]:
    for number, (line, below) in enumerate(nodes):
        is_last = number == len(nodes) - 1
        yield f"{'└─' if is_last else '├─'} {line}"
        yield from (f"{'   ' if is_last else '│  '}{each}" for each in _branches(below))
