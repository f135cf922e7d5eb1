"""Tables of a finished run: its trial trainings, and measures and costs beside the budget."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from micronas.hardware.table import listening_text, verdict
from micronas.quantities import format_bytes, format_cost, format_macs
from micronas.runs.stored import Plain
from micronas.text import difference, listed, pairs, percent, quantity, span, table, wrapped

if TYPE_CHECKING:
    from micronas.nas.search import SearchResult

_LONGEST = 40
"""Longest name of a class, in characters."""


def _arena_notes(metrics: Mapping[str, Any]) -> list[str]:
    """Return notes on an arena that is not exactly the board's."""
    bound = ["an upper bound"] if metrics["arena_is_upper_bound"] else []
    assumed = metrics["arena_assumes"]
    return bound + ([f"planned for {assumed}"] if assumed else [])


def _score(score: Mapping[str, Any]) -> str:
    """Return a measure of the float and the int8 network, with its interval and its data."""
    unit = score["unit"]
    real = "" if score["float"] is None else f"float {quantity(score['float'], unit)}, "
    said = [score["on"]]
    if score["interval"] is not None:
        said.insert(0, f"95 % interval {span(score['interval'], unit)}")
    return f"{real}int8 {quantity(score['int8'], unit)} ({'; '.join(said)})"


def _recall(metrics: Mapping[str, Any]) -> list[str]:
    """Return the recall of each class, the worst first; [] for a pretext."""
    is_pretext = metrics.get("accuracy_name") != "accuracy"
    recall = {} if is_pretext else metrics["int8_accuracy_per_class"]
    known = {name: share for name, share in recall.items() if share is not None}
    # a long name would be cut with its number
    return [
        f"{name if len(name) <= _LONGEST else f'{name[:_LONGEST]}...'} {percent(share)}"
        for name, share in sorted(known.items(), key=lambda each: each[1])
    ]


def _rounding(metrics: Mapping[str, Any]) -> str:
    """Return the way of rounding of the network, with the validation figures of both ways."""
    found = metrics.get("rounding")
    if found is None:
        return ""
    kept, unit = found["kept"], found["unit"]
    ways = {"training": "trained with rounding", "rounding": "rounding alone"}
    other = next(way for way in ways if way != kept)
    text = (
        f"{ways[kept]}: {found['measure']} {quantity(found[kept], unit)} on validation, "
        f"{ways[other]} {quantity(found[other], unit)}"
    )
    return f"{text}; try a lower quantize.learning_rate" if kept == "rounding" else text


def _rival(metrics: Mapping[str, Any], key: str) -> str:
    """Return a plain model's score on the same examples, and whether the network beats it."""
    if key not in metrics:
        return ""
    rival, unit = Plain.model_validate(metrics[key]), metrics["scores"][0]["unit"]
    size, of = (100.0, "points") if unit == "share" else (1.0, unit)
    between = ""
    if rival.ahead_interval is not None:
        between = " ({:+.3g} to {:+.3g})".format(*(size * end for end in rival.ahead_interval))
    return (
        f"{quantity(rival.score, unit)} by a {rival.name}: {rival.standing}, "
        f"{size * rival.ahead:+.3g}{between} {of}".strip()
    )


def _device_notes(device: Mapping[str, Any]) -> list[str]:
    """Return the needs of the device beside the network."""
    front = device["front_end"]
    assumed = device.get("code_assumes")
    estimated = f" (estimated: {assumed})" if assumed else ""
    parts = [f"runtime code {format_bytes(device['code_bytes'])} of flash{estimated}"]
    if front is not None:
        parts.append(
            f"front end {front['kind']} {format_bytes(front['buffer_bytes'])} of SRAM, "
            f"{format_bytes(front['flash_bytes'])} of flash, {front['step_ms']:.2f} ms"
        )
    return parts


def metrics_table(metrics: Mapping[str, Any], *, width: int | None = None) -> str:
    """Return measures, and each cost beside its budget."""
    budget, used = metrics["budget"], metrics["used"]
    rows = [
        [
            name,
            format_cost(name, limit * used[name]),
            format_cost(name, limit),
            f"{100 * used[name]:.0f} %",
        ]
        for name, limit in budget.items()
    ]
    cost = (
        f"{format_macs(metrics['macs'])}, flash {format_bytes(metrics['flash_bytes'])}, arena "
        f"{format_bytes(metrics['arena_bytes'])}, {metrics['latency_ms']:.1f} ms on "
        f"{metrics['board']}"
    )
    notes = {
        "recall": listed(_recall(metrics)),
        "rounding": _rounding(metrics),
        **{key: _rival(metrics, key) for key in ("plain", "forest")},
        "arena": "; ".join(_arena_notes(metrics)),
        "beside": "; ".join(_device_notes(metrics["device"])),
        "listening": listening_text(heard) if (heard := metrics["listening"]) else "",
    }
    facts = {
        "network": metrics["network"],
        **{score["name"]: _score(score) for score in metrics["scores"]},
        "cost": cost,
        **{name: text for name, text in notes.items() if text},
    }
    checks = (
        f"tflm_mismatches {metrics['tflm_mismatches']}\n"
        f"fits {verdict(metrics['fits'], metrics['fits_estimates'])}"
    )
    header = ["budget", "used", "limit", "share"]
    return f"{pairs(facts, width=width)}\n\n{table(header, rows)}\n\n{checks}"


def _margin(search: Mapping[str, Any]) -> str:
    """Return the winner's lead at equal epochs."""
    ahead = search["ahead_of_best_other_origin"]
    if ahead is None:
        return "no network of another origin had a trial"
    half_width, measure = search["ahead_half_width"], search["measure"]
    unit = measure["unit"]
    what = f"{'points' if unit == 'share' else unit} of {measure['name']}".strip()
    chance = "" if half_width is None else f" +- {difference(half_width, unit)}"
    return (
        f"{'-' if ahead < 0 else '+'}{difference(abs(ahead), unit)}{chance} {what} against the "
        f"best of the other origin, both after {search['ahead_after_epochs']} epochs of trial"
    )


def search_summary(
    result: "SearchResult", metrics: Mapping[str, Any], *, width: int | None = None
) -> str:
    """Return the trial trainings, the winner with its lead, and the final network."""
    return "\n".join(
        [
            result.table(width=width),
            wrapped(f"winner: {result.winner.origin}, {_margin(metrics['search'])}", width),
            wrapped(f"strategy: {result.strategy}, {result.reason}", width),
            "",
            metrics_table(metrics, width=width),
        ]
    )
