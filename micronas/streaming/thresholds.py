"""Judge a detector on labelled recordings, and choose its thresholds there."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from micronas.errors import DataError
from micronas.streaming.events import Detector, Integers
from micronas.text import percent

SHAPES = tuple((smoothing, confirm) for smoothing in range(1, 6) for confirm in range(1, 9))
"""Pairs of smoothing and confirmation that `choose` tries, in hops."""
_NEVER = 256
"""Number above every score of a detector."""
_PRICES = np.geomspace(1e-3, 1e3, 61)
"""False alarms that one miss is worth."""
_PARTS = 5
"""Parts of the recordings, each judged by thresholds chosen on the others."""
_SHARED = 3.0
"""Weight of the average label in each label's costs; a label alone is 1. From its own twenty
occurrences a label would fit its threshold to chance."""


class Occurrence(NamedTuple):
    """A label that a recording contains."""

    label: int
    first: int
    """First hop at which an event is right."""
    last: int
    """Last such hop."""


@dataclass(frozen=True)
class Heard:
    """Outputs of a network for a recording, and the labels it contains."""

    codes: npt.NDArray[np.int8]
    """Codes of the outputs, [hops, labels]."""
    levels: Integers
    """Levels [hops], see `Detector.is_open`."""
    hours: float
    occurrences: tuple[Occurrence, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Counts of right and wrong events."""

    hours: float
    occurrences: int
    misses: int
    false_alarms: int
    """Events outside occurrences of their label, and all but the first of one occurrence."""

    @property
    def missed(self) -> float:
        """Share of occurrences without an event."""
        return self.misses / max(1, self.occurrences)

    @property
    def per_hour(self) -> float:
        """False alarms per hour."""
        return self.false_alarms / self.hours

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.hours + other.hours,
            self.occurrences + other.occurrences,
            self.misses + other.misses,
            self.false_alarms + other.false_alarms,
        )


class Point(NamedTuple):
    """A detector and the outcome of its price."""

    detector: Detector
    outcome: Outcome
    """Each part of the recordings is judged by thresholds chosen on the others at the same price;
    where one part alone has labels that make events, all by `detector`."""


@dataclass(frozen=True)
class Choice:
    """A detector chosen on recordings."""

    detector: Detector
    outcome: Outcome
    """Outcome on the recordings that chose it."""
    curve: tuple[Point, ...]
    """Points of all prices, none better than another in both; misses fall, false alarms rise."""
    held_out: Outcome | None = None
    """Outcome of each part of the recordings by thresholds of the others; None where one part
    alone has labels that make events."""


def judge(detector: Detector, recordings: Iterable[Heard]) -> Outcome:
    """Count the right and wrong events of a detector.

    The first event of its label in an occurrence is right; occurrences of labels that make no event
    do not count.
    """
    scored = [(each, detector.scores(each.codes, each.levels)[1]) for each in recordings]
    return _judged(detector, scored)


def choose(
    recordings: Sequence[Heard],
    detector: Detector,
    *,
    false_alarms: float | None = None,
    misses: float | None = None,
    shapes: Sequence[tuple[int, int]] = SHAPES,
) -> Choice:
    """Choose smoothing, confirmation and a threshold for each label.

    Limits must hold where thresholds were not chosen: each recording, or each fifth of them, is
    judged by thresholds of the others.

    Each label has the threshold at which its false alarms and, at some price, its misses cost
    least, together with three times the average of all labels, and the middle one of several such;
    one price for all labels gives a detector, all prices the curve. A label that never occurs gets
    the highest threshold of the others, or a higher one where it was heard.

    Raises DataError if no label that makes events occurs, or no thresholds keep to the limits.

    Parameters
    ----------
    detector
        Source of all other settings, and of the labels that make events.
    false_alarms
        Most false alarms per hour; the fewest misses are chosen.
    misses
        Largest share of missed occurrences; the fewest false alarms are chosen.
    """
    most = (np.inf if misses is None else misses, np.inf if false_alarms is None else false_alarms)
    best: tuple[tuple[float, ...], Point, list[Point]] | None = None
    fewest = 1.0
    for smoothing, confirm in shapes:
        shaped = replace(detector, smoothing=smoothing, confirm=confirm)
        points = priced(recordings, shaped)
        fewest = min(fewest, *(each.outcome.missed for each in points))
        for point in points:
            found = point.outcome
            if found.missed > most[0] or found.per_hour > most[1]:
                continue
            figures = (found.missed, found.per_hour)
            order = figures if misses is None else figures[::-1]
            rank = (*order, smoothing + confirm)
            if best is None or rank < best[0]:
                best = rank, point, points
    if best is None:
        wanted = [] if misses is None else [f"misses={percent(misses)}"]
        wanted += [] if false_alarms is None else [f"false alarms an hour={false_alarms:g}"]
        raise DataError(
            f"limits of a detector must be reachable on the recordings, but no thresholds give "
            f"{' and '.join(wanted)}: the fewest misses are {percent(fewest)}; ask for more, or "
            "train a better network"
        )
    _, point, points = best
    held_out = point.outcome if _divides(recordings, detector) else None
    outcome = judge(point.detector, recordings)
    return Choice(point.detector, outcome, tuple(_undominated(points)), held_out)


def priced(recordings: Sequence[Heard], detector: Detector) -> list[Point]:
    """Return the detector of each price, of the same shape; see `choose`."""
    scored = [(each, detector.scores(each.codes, each.levels)[1]) for each in recordings]
    labels = [label for label, each in enumerate(detector.thresholds) if each is not None]
    costs = [[_costs(each, label, detector) for label in labels] for each in scored]
    every = range(len(recordings))
    whole = _thresholds(costs, labels, detector)
    if not _divides(recordings, detector):
        return [Point(each, _judged(each, scored)) for each in whole]
    total = [Outcome(0.0, 0, 0, 0)] * len(whole)
    for part in range(min(_PARTS, len(recordings))):
        own = every[part::_PARTS]
        others = _thresholds([costs[each] for each in every if each not in own], labels, detector)
        mine = [scored[each] for each in own]
        known = {each: _judged(each, mine) for each in dict.fromkeys(others)}
        total = [sofar + known[each] for sofar, each in zip(total, others, strict=True)]
    return [Point(*pair) for pair in zip(whole, total, strict=True)]


def _divides(recordings: Sequence[Heard], detector: Detector) -> bool:
    """Return whether each part of the recordings leaves others with labels that make events."""
    parts = {
        place % _PARTS
        for place, heard in enumerate(recordings)
        if any(detector.thresholds[each.label] is not None for each in heard.occurrences)
    }
    return len(parts) > 1


def _thresholds(
    costs: Sequence[Sequence["_Costs"]], labels: Sequence[int], detector: Detector
) -> list[Detector]:
    """Return the detector of each price, given the costs of labels in some recordings."""
    counts = {
        label: np.sum([recording[place].counts for recording in costs], axis=0)
        for place, label in enumerate(labels)
    }
    occurring = [
        label
        for place, label in enumerate(labels)
        if any(recording[place].occurrences for recording in costs)
    ]
    if not occurring:
        raise DataError(
            "labels that make events must occur in the recordings, but none does; name in --labels "
            "where each begins and ends"
        )
    shared = _SHARED * np.mean([counts[label] for label in occurring], axis=0)
    made = []
    for price in _PRICES:
        chosen = {
            label: _middle((counts[label] + shared) @ (1, price), detector) for label in occurring
        }
        highest = max(chosen.values())
        for label in set(labels) - set(occurring):
            quiet = _middle(counts[label] @ (1, 0), detector, first=True)
            chosen[label] = max(highest, quiet)
        limits = tuple(chosen.get(label) for label in range(len(detector.thresholds)))
        made.append(replace(detector, thresholds=limits))
    return made


class _Costs(NamedTuple):
    """Costs of one label at each threshold from the least on."""

    counts: npt.NDArray[np.float64]
    """False alarms and misses, [thresholds, 2]; nothing reaches the last threshold."""
    occurrences: int


def _middle(costs: npt.NDArray[np.float64], detector: Detector, *, first: bool = False) -> int:
    """Return the middle of the first run of thresholds that cost least, or its first."""
    cheapest = np.append(costs <= costs.min() + 1e-9, False)
    begin = int(np.argmax(cheapest))
    length = int(np.argmin(cheapest[begin:]))
    return detector.lowest + begin + (0 if first else (length - 1) // 2)


def _costs(scored: tuple[Heard, Integers], label: int, detector: Detector) -> _Costs:
    heard, scores = scored
    (hop,) = np.nonzero(scores[:, label] >= detector.lowest)
    value = scores[hop, label]
    grid = np.arange(detector.lowest, _NEVER + 1)
    reached = np.unique(np.append(value, _NEVER))  # between these nothing changes
    counts = np.zeros((len(reached), 2))
    count = sum(each.label == label for each in heard.occurrences)
    for place, threshold in enumerate(reached):
        over = hop[value >= threshold]
        begun = over[np.diff(over, prepend=-detector.refractory - 1) > detector.refractory]
        right = _right(begun.tolist(), heard, label)
        counts[place] = len(begun) - right, count - right
    return _Costs(counts[np.searchsorted(reached, grid)], count)


def _right(begun: list[int], heard: Heard, label: int) -> int:
    """Return how many occurrences of a label have an event of their own, given the hops of its
    events. Occurrences overlap where one word follows another before its window has gone by."""
    spans = sorted((each.last, each.first) for each in heard.occurrences if each.label == label)
    left = [*begun]
    for last, first in spans:
        place = bisect_left(left, first)
        if place < len(left) and left[place] <= last:
            del left[place]
    return len(begun) - len(left)


def _judged(detector: Detector, scored: Iterable[tuple[Heard, Integers]]) -> Outcome:
    total = Outcome(0.0, 0, 0, 0)
    for heard, scores in scored:
        begun = detector.begun(scores)
        labels = [each.label for each in heard.occurrences]
        labels = [label for label in labels if detector.thresholds[label] is not None]
        right = sum(
            _right([hop for hop, begins in begun if begins == label], heard, label)
            for label in {*labels}
        )
        total += Outcome(heard.hours, len(labels), len(labels) - right, len(begun) - right)
    return total


def _undominated(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in both counts, by rising false alarms."""
    ordered = sorted(points, key=lambda each: (each.outcome.false_alarms, each.outcome.misses))
    kept: list[Point] = []
    for point in ordered:
        if not kept or point.outcome.misses < kept[-1].outcome.misses:
            kept.append(point)
    return kept
