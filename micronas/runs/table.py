"""Tables of a finished run: its trial trainings, and accuracy and costs beside the budget."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from micronas.hardware.table import verdict
from micronas.quantities import format_bytes, format_cost, format_macs
from micronas.text import percent, table

if TYPE_CHECKING:
    from micronas.nas.search import SearchResult


def _arena_notes(metrics: Mapping[str, Any]) -> list[str]:
    """Where the arena is not exactly the board's."""
    bound = ["arena          an upper bound"] if metrics["arena_is_upper_bound"] else []
    assumed = metrics["arena_assumes"]
    return bound + ([f"arena          planned for {assumed}"] if assumed else [])


def _judged(metrics: Mapping[str, Any]) -> str:
    """On what accuracy was measured, and between what it may lie."""
    low, high = (100 * each for each in metrics["int8_accuracy_interval"])
    on = f"{metrics['judged_examples']:,} of {metrics['judged_on']}"
    if "judged_apart" in metrics:
        on = f"all {metrics['judged_examples']:,} sliding windows of {metrics['judged_on']}"
    without = ", there is no test part" if metrics["judged_on"] == "validation" else ""
    return f"(95 % interval {low:.1f} to {high:.1f} %; {on}{without})"


def _row(name: str) -> str:
    """The name of a row, as wide as the others where it fits."""
    return f"{name:<15}" if len(name) < 15 else f"{name} "


def _auc(metrics: Mapping[str, Any]) -> list[str]:
    """Return the scores of anomalies, where that is the task."""
    if metrics.get("auc") is None:
        return []
    low, high = metrics["auc_interval"]
    odd, count = metrics["anomalous_clips"], metrics["judged_clips"]
    return [
        f"AUC            float {metrics['float_auc']:.3f}, int8 {metrics['auc']:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}; {odd:,} anomalous of {count:,} clips)"
    ]


def _within_notes(metrics: Mapping[str, Any]) -> list[str]:
    """Accuracy beside the headline: of windows in which the label does not change."""
    if metrics.get("int8_accuracy_within_label") is None:
        return []
    share = percent(metrics["int8_accuracy_within_label"])
    count = metrics["judged_within_label"]
    return [f"within label   int8 {share} (of the {count:,} windows without a change of label)"]


def _device_notes(device: Mapping[str, Any] | None) -> list[str]:
    """Return the needs of the device beside the network; earlier versions did not count them."""
    if device is None:
        return []
    front = device["front_end"]
    assumed = device.get("code_assumes")
    estimated = f" (estimated: {assumed})" if assumed else ""
    parts = [f"runtime code {format_bytes(device['code_bytes'])} of flash{estimated}"]
    if front is not None:
        parts.append(
            f"front end {front['kind']} {format_bytes(front['buffer_bytes'])} of SRAM, "
            f"{format_bytes(front['flash_bytes'])} of flash, {front['step_ms']:.2f} ms"
        )
    return [f"beside         {'; '.join(parts)}"]


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Accuracy, and each cost beside its budget."""
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
    name = metrics.get("accuracy_name", "accuracy")
    lines = [
        f"network        {metrics['network']}",
        *_auc(metrics),
        f"{_row(name)}float {percent(metrics['float_accuracy'])}, "
        f"int8 {percent(metrics['int8_accuracy'])} {_judged(metrics)}",
        *_within_notes(metrics),
        f"cost           {format_macs(metrics['macs'])}, "
        f"flash {format_bytes(metrics['flash_bytes'])}, "
        f"arena {format_bytes(metrics['arena_bytes'])}, {metrics['latency_ms']:.1f} ms "
        f"on {metrics['board']}",
        *_arena_notes(metrics),
        *_device_notes(metrics.get("device")),
        "",
        table(["budget", "used", "limit", "share"], rows),
        "",
        f"tflm_mismatches {metrics['tflm_mismatches']}",
        f"fits {verdict(metrics['fits'], metrics.get('fits_estimates', ()))}",
    ]
    return "\n".join(lines)


def _margin(search: Mapping[str, Any], accuracy: str) -> str:
    """Return the winner's lead, at equal epochs."""
    ahead = search["ahead_of_best_other_origin"]
    if ahead is None:
        return "no network of another origin had a trial"
    half_width = search.get("ahead_half_width")
    chance = "" if half_width is None else f" +- {100 * half_width:.1f}"
    return (
        f"{100 * ahead:+.1f}{chance} points of {accuracy} against the best of the other origin, "
        f"both after {search['ahead_after_epochs']} epochs of trial"
    )


def search_summary(result: "SearchResult", metrics: Mapping[str, Any]) -> str:
    """The trial trainings, which of them won and by how much, and the final network."""
    return "\n".join(
        [
            result.table(),
            f"winner: {result.winner.origin}, {_margin(metrics['search'], result.accuracy_name)}",
            f"strategy: {result.strategy}, {result.reason}",
            "",
            metrics_table(metrics),
        ]
    )
