"""Data for the page of several runs: Pareto fronts and the best run. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from micronas.report.network import blocks_of
from micronas.runs.finished import RunFolder
from micronas.text import finite

_Row = dict[str, Any]
_SHARED = ("task", "score_name", "unit", "data")
"""Columns in which runs on one front are equal."""
_COSTS = ("latency_ms", "sram_bytes", "flash_bytes")


def page_data(runs: Sequence[RunFolder], left_out: Mapping[str, str]) -> dict[str, Any]:
    """Collect the data to compare.

    Runs of the same task, score, unit and data are compared; each board has its own front, as
    latencies of different boards are no alternatives. SRAM and flash are as budgets count them.
    """
    rows = [_row(run) for run in runs]
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(tuple(row[key] for key in _SHARED), []).append(index)
    compared = [
        {**dict(zip(_SHARED, shared, strict=True)), "runs": own, "boards": _boards(rows, own)}
        for shared, own in groups.items()
    ]
    return finite(
        {
            "kind": "runs",
            "rows": rows,
            "groups": compared,
            "left_out": [{"path": path, "why": why} for path, why in left_out.items()],
        }
    )


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other beats, the cheapest first.

    Parameters
    ----------
    points
        Cost, where less is better, and score, where more is better. One point beats another if it
        is worse in neither and better in one.
    """
    found: list[int] = []
    for index in sorted(
        range(len(points)), key=lambda index: (points[index][0], -points[index][1])
    ):
        if (
            not found
            or points[index][1] > points[found[-1]][1]
            or points[index] == points[found[-1]]
        ):
            found.append(index)
    return found


def _boards(rows: Sequence[_Row], own: Sequence[int]) -> list[_Row]:
    """Return fronts and the best run of each board, among the runs that fit their budget."""
    found = []
    for board in dict.fromkeys(rows[index]["board"] for index in own):
        fitting = [i for i in own if rows[i]["board"] == board and rows[i]["fits"]]
        fronts = {
            cost: [
                fitting[place]
                for place in front([(rows[i][cost], rows[i]["gain"]) for i in fitting])
            ]
            for cost in _COSTS
        }
        best = min(fitting, key=lambda i: (-rows[i]["gain"], rows[i]["latency_ms"]), default=None)
        found.append({"board": board, "fronts": fronts, "best": best})
    return found


def _row(run: RunFolder) -> _Row:
    metrics = run.metrics
    return {
        "name": run.name,
        "path": str(run.path),
        "task": run.task,
        "data": run.data,
        "board": metrics.board,
        "network": metrics.network,
        "origin": metrics.search.winner if metrics.search else "given",
        "score_name": metrics.score.name,
        "unit": metrics.score.unit,
        "larger": metrics.score.larger,
        "score": metrics.score.int8,
        "on": metrics.score.on,
        "gain": metrics.gain,
        "float_score": metrics.score.real,
        "fits": metrics.fits,
        "estimates": metrics.fits_estimates,
        "latency_ms": metrics.latency_ms,
        "sram_bytes": metrics.spent("sram", metrics.host_arena_bytes),
        "flash_bytes": metrics.spent("flash", metrics.flash_bytes),
        "macs": metrics.macs,
        "energy_mj": metrics.energy_mj,
        "mismatches": metrics.tflm_mismatches,
        "budget": metrics.budget,
        "blocks": blocks_of(run.drawing, objective=metrics.objective),
    }
