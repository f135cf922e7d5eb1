"""Describe what a network costs on boards, with the paper's figures where it is the paper's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from micronas.hardware.board import Board, available
from micronas.hardware.forms import check_form
from micronas.hardware.profile import on_boards, profile
from micronas.space.load import load
from micronas.space.published import paper_figures, paper_ops


def describe_costs(
    network: Path, names: Sequence[str], *, form: str | None = None
) -> dict[str, Any]:
    """Return the costs of a network on the first board and whether it fits each, as JSON values.

    Parameters
    ----------
    network
        A ``.tflite``, an architecture or a run folder.
    names
        Boards, or ``all`` alone.
    form
        Form of latency model; each board's own where it is None.
    """
    known = [Board.load(name) for name in (available() if [*names] == ["all"] else names)]
    boards = [each.using(check_form(form)) for each in known]
    loaded = load(network)
    graph, size = loaded.graph, loaded.flash_bytes
    meaning = (loaded.metadata or {}).get("input")
    meaning = meaning if isinstance(meaning, dict) else None
    described = profile(graph, boards[0], flash_bytes=size, meaning=meaning)
    described["metadata"] = loaded.metadata
    paper = paper_figures(network, boards[0].name)
    if paper is not None:
        described["paper"] = paper | {"ops_by_its_rounding": paper_ops(graph)}
    if len(boards) > 1:
        described["boards"] = on_boards(graph, boards, flash_bytes=size, meaning=meaning)
    return described
