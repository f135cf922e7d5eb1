"""Table of a sweep's points, with those on a Pareto front marked. Imports no torch."""

from collections.abc import Sequence
from typing import Any

from micronas.quantities import format_bytes, format_macs
from micronas.report.several import front
from micronas.runs.stored import Metrics
from micronas.sweeps.store import SweepPoint
from micronas.text import percent, table

Fronts = dict[str, dict[str, list[str]]]
COSTS = ("latency", "sram", "flash")


def fronts(points: Sequence[SweepPoint]) -> Fronts:
    """Names of the points that no other beats, by board and cost, the cheapest first.

    One point beats another if it is not worse in score (accuracy, or AUC) and in the cost, and
    better in one. Points that do not fit their budget take no part.
    """
    found: Fronts = {}
    fitting = [
        (point.name, metrics) for point in points if (metrics := _metrics(point)) and metrics.fits
    ]
    for board in dict.fromkeys(metrics.board for _, metrics in fitting):
        own = [(name, metrics) for name, metrics in fitting if metrics.board == board]
        found[board] = {
            cost: [own[i][0] for i in front([(_cost(each, cost), each.score) for _, each in own])]
            for cost in COSTS
        }
    return found


def sweep_table(points: Sequence[SweepPoint]) -> str:
    """One line a point, the fronts it is on, and a line for each that has no result."""
    known = fronts(points)
    rows = [_row(point, known) for point in points]
    reasons = [f"{point.name}: {point.reason}" for point in points if point.reason]
    header = ["point", "state", "tries", "score", "latency", "SRAM", "flash", "MACs", "fits"]
    note = "front: no point of the same board that fits is better in both score and this cost"
    return "\n".join([table([*header, "front"], rows), "", note, *reasons])


def view(points: Sequence[SweepPoint]) -> dict[str, Any]:
    """Return what ``micronas sweep --json`` prints."""
    return {
        "points": [
            {
                "name": point.name,
                "over": point.over,
                "state": point.state,
                "reason": point.reason,
                "attempts": point.attempts,
                "folder": str(point.folder),
                "metrics": point.metrics
                and {key: value for key, value in point.metrics.items() if key != "search"},
            }
            for point in points
        ],
        "fronts": fronts(points),
    }


def _row(point: SweepPoint, known: Fronts) -> list[str]:
    metrics = _metrics(point)
    head = [point.name, point.state, str(point.attempts)]
    if metrics is None:
        return [*head, *["-"] * 5, "", ""]
    own = known.get(metrics.board, {})
    return [
        *head,
        percent(metrics.score),
        f"{metrics.latency_ms:.1f} ms",
        format_bytes(_cost(metrics, "sram")),
        format_bytes(metrics.flash_bytes),
        format_macs(metrics.macs),
        str(metrics.fits).lower(),
        " ".join(cost for cost in COSTS if point.name in own.get(cost, [])),
    ]


def _metrics(point: SweepPoint) -> Metrics | None:
    return None if point.metrics is None else Metrics.model_validate(point.metrics)


def _cost(metrics: Metrics, cost: str) -> float:
    """What is held against the budget, in milliseconds or bytes."""
    if cost == "sram":
        return metrics.budget["sram"] * metrics.used["sram"]
    return metrics.latency_ms if cost == "latency" else metrics.flash_bytes
