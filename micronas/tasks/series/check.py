"""Check recordings of sensors for faults."""

import hashlib
from collections import Counter

import numpy as np

from micronas.tasks.series.labels import in_order
from micronas.tasks.series.parts import shared
from micronas.tasks.series.recording import COUNTING, Recording
from micronas.tasks.series.recordings import NO_CHANNEL, read_recordings
from micronas.tasks.series.settings import SeriesSettings
from micronas.tasks.spelling import same_but_for_case
from micronas.tasks.task import Finding

_IMBALANCE = 10


def check(settings: SeriesSettings) -> list[Finding]:
    """Find faults of recordings; reads every file.

    Kinds: ``unreadable``; ``column`` (left out, and why); ``shared`` (a group in several given
    parts); ``short`` (shorter than a window); ``missing`` (values); ``constant`` (a channel that
    never changes in a recording); ``counting`` (a channel that rises by equal steps in every
    recording, as a time or a number of samples does); ``duplicate`` (the same samples twice);
    ``mislabelled`` (under two labels); ``spelling`` (classes that differ in case or spaces);
    ``imbalance`` (a class with under a tenth of the samples of another). Raises DataError as for
    `read_recordings`.
    """
    path = settings.path
    found = read_recordings(settings)
    findings = [Finding("unreadable", path.name, line) for line in found.unreadable]
    findings += [
        Finding("column", name, f"{why}; left out")
        for name, why in found.left_out.items()
        if why != NO_CHANNEL["text"]
    ]
    findings += [
        Finding("shared", each, "is in several parts") for each in shared(found.recordings)
    ]
    findings += [Finding("counting", name, COUNTING) for name in found.counting()]
    first: dict[str, Recording] = {}
    sizes: Counter[str] = Counter()
    for each in found.recordings:
        for stretch in each.stretches():
            sizes[stretch.label] += len(stretch.values)
        findings += _check_values(each, settings, found.columns)
        digest = hashlib.sha1(each.values.tobytes(), usedforsecurity=False).hexdigest()
        other = first.setdefault(digest, each)
        if other.labels != each.labels:
            text = f"{_and(each)}, same samples as {other.name} ({_and(other)})"
            findings.append(Finding("mislabelled", each.name, text))
        elif other is not each:
            findings.append(Finding("duplicate", each.name, f"same samples as {other.name}"))
    findings += [Finding("spelling", path.name, line) for line in same_but_for_case(set(sizes))]
    most = max(sizes, key=lambda label: sizes[label])
    findings += [
        Finding("imbalance", label, f"{count} samples against {sizes[most]} of {most}")
        for label, count in ((label, sizes[label]) for label in in_order(sizes, settings))
        if _IMBALANCE * count < sizes[most]
    ]
    return findings


def _and(recording: Recording) -> str:
    return " and ".join(recording.labels)


def _check_values(
    recording: Recording, settings: SeriesSettings, columns: tuple[str, ...]
) -> list[Finding]:
    findings, values = [], recording.values
    if len(values) < settings.window:
        text = f"{len(values)} samples, under a window of {settings.window}"
        findings.append(Finding("short", recording.name, text))
    absent = int((~np.isfinite(values)).any(axis=1).sum())
    if absent:
        findings.append(Finding("missing", recording.name, f"{absent} samples without a value"))
    with np.errstate(invalid="ignore", over="ignore"):
        still = [
            name
            for name, channel in zip(columns, values.T, strict=True)
            if len(values) > 1 and np.isfinite(channel).all() and np.ptp(channel) == 0
        ]
    if still:
        findings.append(Finding("constant", recording.name, f"{', '.join(still)} never changes"))
    return findings
