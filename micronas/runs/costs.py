"""Costs of a network on boards, and of a run on its own board with its settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from micronas.errors import ConfigError
from micronas.hardware.board import Board, available
from micronas.hardware.costs import Budget
from micronas.hardware.forms import check_form
from micronas.hardware.profile import on_boards, profile
from micronas.runs.finished import Own, own
from micronas.runs.folder import model_file
from micronas.space.load import Loaded, load
from micronas.space.published import paper_figures, paper_ops

_BOARD = "stm32f446re"
"""Default board."""


def describe_costs(
    network: Path,
    names: Sequence[str] = (),
    *,
    form: str | None = None,
    engine: str | None = None,
    hop: str | None = None,
) -> dict[str, Any]:
    """Return the costs of a network on the first board and whether it fits each, as JSON values.

    Raises ConfigError if no board is named and a run's own cannot be read.

    Parameters
    ----------
    names
        Boards, or ``all`` alone. By default a run's own board, with its latency model and budget.
    hop
        Time between inferences of a listening device, such as ``100 ms``; None for the budget's.
    """
    run, loaded = own(network), load(model_file(network))
    if names:
        known = [Board.load(name) for name in (available() if [*names] == ["all"] else names)]
    elif run.gone:
        raise ConfigError(
            f"a run must have its board to be judged by, but {network} does not: {run.gone}; name "
            "one with --board"
        )
    else:
        known = [run.board or Board.load(_BOARD)]
    boards = [each.using(check_form(form), engine=engine) for each in known]
    budget = None if names else run.budget
    if hop is not None:
        budget = Budget.model_validate({**(budget or Budget()).model_dump(), "hop": hop})
    given = _given(loaded, run, budget)
    described = profile(loaded.graph, boards[0], **given)
    described["metadata"] = loaded.metadata
    paper = paper_figures(network, boards[0].name)
    if paper is not None:
        described["paper"] = paper | {"ops_by_its_rounding": paper_ops(loaded.graph)}
    if len(boards) > 1:
        described["boards"] = on_boards(loaded.graph, boards, **given)
    return described


def describe_boards(network: Path) -> list[dict[str, Any]]:
    """Return whether a network fits each shipped board, with its latency and energy."""
    boards = [Board.load(name) for name in available()]
    loaded = load(model_file(network))
    return on_boards(loaded.graph, boards, **_given(loaded, own(network)))


def _given(loaded: Loaded, run: Own, budget: Budget | None = None) -> dict[str, Any]:
    """Return what is known of a network beside its graph, by the parameters of `profile`."""
    meaning = loaded.metadata.get("input")
    return {
        "kind": run.kind,
        "flash_bytes": loaded.flash_bytes,
        "meaning": meaning if isinstance(meaning, dict) else None,
        "budget": budget,
    }
