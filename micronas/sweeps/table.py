"""Table of a sweep's points, with those on a Pareto front marked. Imports no torch."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from micronas.hardware.table import verdict
from micronas.quantities import format_bytes, format_duration, format_macs
from micronas.report.several import front
from micronas.runs.stored import Metrics
from micronas.sweeps.store import SweepPoint
from micronas.text import percent, quantity, table

_Fronts = dict[str, dict[str, list[str]]]
_COSTS = ("latency", "sram", "flash")
_QUESTION = (
    *("data", "data.task", "data.goal", "data.target", "data.label", "data.bins", "data.normal"),
    *("data.keywords", "data.silence_fraction", "data.unknown_fraction"),
    *("data.annotations", "data.categories", "data.category", "data.minival", "data.smallest"),
)
"""Settings that change what a score is of. Augmentation, windows and features do not."""


def fronts(points: Sequence[SweepPoint]) -> _Fronts:
    """Return names of the points that no other beats, by board and cost, the cheapest first.

    One point beats another if it is worse in neither score (accuracy, AUC, MAE) nor cost, and
    better in one. Points that do not fit their budget are left out; other data is no rival.
    """
    found: _Fronts = {}
    rivals: dict[tuple[str, str], list[tuple[str, Metrics]]] = {}
    for point in points:
        if (metrics := _metrics(point)) and metrics.fits:
            own = rivals.setdefault((metrics.board, _data(point)), [])
            own.append((point.name, metrics))
    for (board, _), own in rivals.items():
        costs = found.setdefault(board, {cost: [] for cost in _COSTS})
        for cost, names in costs.items():
            best = front([(_cost(each, cost), each.gain) for _, each in own])
            names += [own[place][0] for place in best]
    return found


def best_that_fit(points: Sequence[SweepPoint]) -> dict[str, str]:
    """Return the point whose network is best within each point's limits, on the same board, engine
    and data, called at the same rhythm.

    A larger budget includes the networks of a smaller one, so that its best is no worse.
    """
    known = [(point, metrics) for point in points if (metrics := _metrics(point))]
    found = {}
    for point, own in known:
        rivals = [
            (each.gain, other.name)
            for other, each in known
            if _data(other) == _data(point) and _holds(own, each)
        ]
        rivals = [*rivals, (own.gain, point.name)] if own.fits else rivals
        if rivals:
            best = max(score for score, _ in rivals)
            names = [name for score, name in rivals if score == best]
            found[point.name] = point.name if point.name in names else names[0]
    return found


def _holds(limits: Metrics, other: Metrics) -> bool:
    """Return whether another point's network fits these limits on the same device."""
    if _device(limits) != _device(other) or not other.fits:
        return False
    spent = {name: other.used[name] * limit for name, limit in other.budget.items()}
    latency = other.latency_ms + other.device["beside"].get("latency", 0.0)
    spent |= {"latency": latency, "macs": float(other.macs)}
    return all(spent.get(name, math.inf) <= limit for name, limit in limits.budget.items())


def _device(metrics: Metrics) -> tuple[object, ...]:
    """Return what a network's costs and score are of."""
    calls = metrics.listening or {}
    hop = calls["hop_frames"] * calls["frame_ms"] if "load" in metrics.budget else None
    return metrics.board, metrics.engine, hop, metrics.judged_on


def _data(point: SweepPoint) -> str:
    """Return the data of a point and what is asked of it where points differ in them, by one
    spelling of a path."""
    given = point.over.get("data.path")
    path = os.path.realpath(given) if isinstance(given, str) else given
    return repr([path, *map(point.over.get, _QUESTION)])


def sweep_table(points: Sequence[SweepPoint], *, width: int | None = None) -> str:
    """Return one line per point with its fronts, and one with the reason for points without
    result."""
    known, best = fronts(points), best_that_fit(points)
    rows = [_row(point, known, best) for point in points]
    reasons = [f"{point.name}: {point.reason}" for point in points if point.reason]
    header = [*("point", "state", "tries", "time", "score", "latency", "load", "energy")]
    header += ["SRAM", "flash", "MACs", "fits", "best", "front"]
    heard = [name for name in ("load", "energy") if any(row[name] != "-" for row in rows)]
    header = [name for name in header if name in heard or name not in ("load", "energy")]
    notes = [
        "SRAM, flash: as budgets count them",
        "best: the network of best score within this point's limits, of all points of its device",
        "front: no point of the same board that fits is better in both score and this cost",
        *_noise(points),
    ]
    if heard:
        notes.append("load, energy: of calls while listening, and of an hour of it")
    shown = table(
        header,
        [[row[name] for name in header] for row in rows],
        width=width,
        drop=("tries", "time", "MACs", "best", "front", "state", *heard[1:]),
        wrap="point",
    )
    return "\n".join([shown, "", *notes, *reasons])


def view(points: Sequence[SweepPoint]) -> dict[str, Any]:
    """Return the output of ``micronas sweep --json``."""
    return {
        "points": [
            {
                "name": point.name,
                "over": point.over,
                "state": point.state,
                "reason": point.reason,
                "attempts": point.attempts,
                "seconds": point.seconds,
                "folder": str(point.folder),
                "metrics": point.metrics
                and {key: value for key, value in point.metrics.items() if key != "search"},
            }
            for point in points
        ],
        "fronts": fronts(points),
        "best": best_that_fit(points),
    }


def _noise(points: Sequence[SweepPoint]) -> list[str]:
    """Return a line on the noise of scores, if known."""
    halves = [
        ((interval[1] - interval[0]) / 2, metrics.score.unit)
        for point in points
        if (metrics := _metrics(point)) and (interval := metrics.score.interval)
    ]
    if not halves:
        return []
    half, unit = max(halves)
    most = f"{100 * half:.1f} points" if unit == "share" else quantity(half, unit)
    return [
        f"noise: scores have 95 % intervals of up to ±{most} from the "
        "number of examples, and another seed moves them too; vary seed to see"
    ]


def _row(point: SweepPoint, known: _Fronts, best: Mapping[str, str]) -> dict[str, str]:
    """Return the cells of a point by column."""
    metrics = _metrics(point)
    costs = ("score", "latency", "load", "energy", "SRAM", "flash", "MACs")
    row = {
        "point": point.name,
        "state": point.state,
        "tries": str(point.attempts),
        "time": "-" if point.seconds is None else format_duration(point.seconds),
        **dict.fromkeys(costs, "-"),
        **dict.fromkeys(("fits", "best", "front"), ""),
    }
    if metrics is None:
        return row
    own, heard = known.get(metrics.board, {}), metrics.listening or {}
    load, energy = heard.get("load"), heard.get("energy_j_per_hour")
    return {
        **row,
        "score": quantity(metrics.score.int8, metrics.score.unit),
        "latency": f"{metrics.latency_ms:.1f} ms",
        "load": "-" if load is None else percent(load),
        "energy": "-" if energy is None else f"{energy:.3g} J/h",
        "SRAM": format_bytes(_cost(metrics, "sram")),
        "flash": format_bytes(_cost(metrics, "flash")),
        "MACs": format_macs(metrics.macs),
        "fits": verdict(metrics.fits, metrics.fits_estimates),
        "best": "" if best.get(point.name) == point.name else best.get(point.name, ""),
        "front": " ".join(cost for cost in _COSTS if point.name in own.get(cost, [])),
    }


def _metrics(point: SweepPoint) -> Metrics | None:
    return None if point.metrics is None else Metrics.model_validate(point.metrics)


def _cost(metrics: Metrics, cost: str) -> float:
    """Return the cost compared with the budget, in milliseconds or bytes."""
    return metrics.latency_ms if cost == "latency" else metrics.budget[cost] * metrics.used[cost]
