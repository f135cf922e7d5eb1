"""Anomaly scores of clips, and their separation of anomalous ones (AUC)."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.objectives.intervals import NORMAL
from micronas.splits import Detection

_MAX_FALSE_POSITIVE_RATE = 0.1
_HALVINGS = 50
_FEWEST = 3
"""Units from which their scatter is estimated."""


class _MachineScores(TypedDict):
    """Areas under the ROC curve of one machine's clips, 0 to 1; chance is 0.5."""

    auc: float
    auc_interval: tuple[float, float]
    """95 % interval, see `auc_interval`."""
    pauc: float


class _DetectionScores(_MachineScores):
    """Means over machines, and the scores of each."""

    per_machine: dict[str, _MachineScores]


def clip_scores(detection: Detection, probabilities: npt.NDArray[np.floating]) -> Floats:
    """Return each clip's anomaly score: minus its own machine's softmax, averaged over windows.

    Parameters
    ----------
    probabilities
        [windows, classes], the softmax of the outputs. Pass float64: float32 rounds to one, which
        makes clips equal.

    Returns
    -------
    ndarray
        float64 [clips], -1 (normal) to 0.
    """
    labels, clips = detection.split.labels.numpy(), detection.clips.numpy()
    if probabilities.shape != (len(labels), len(detection.names)):
        raise DataError(
            f"probabilities must be [windows, classes] = {[len(labels), len(detection.names)]}, "
            f"but are {list(probabilities.shape)}; predict every window of the detection"
        )
    own = -probabilities[np.arange(len(labels)), labels].astype(np.float64)
    count = len(detection.machines)
    return np.bincount(clips, own, count) / np.bincount(clips, minlength=count)


def evaluate(detection: Detection, probabilities: npt.NDArray[np.floating]) -> _DetectionScores:
    """Return the area under the ROC curve of each machine's clips, and the means over machines.

    Scores of different machines are not compared, since each has its own threshold.

    References
    ----------
    Y. Koizumi et al., "Description and Discussion on DCASE2020 Challenge Task 2", 2020; its
    evaluation code takes pAUC from scikit-learn, as here.
    """
    scores = clip_scores(detection, probabilities)
    machines, anomalous = detection.machines.numpy(), detection.anomalous.numpy()
    units = np.zeros_like(machines)
    units[detection.clips.numpy()] = detection.split.groups.numpy()
    per_machine: dict[str, _MachineScores] = {}
    for machine in np.unique(machines):
        own = machines == machine
        curve = roc(scores[own], anomalous[own])
        auc = area(*curve)
        good, odd = (own & (anomalous == is_odd) for is_odd in (False, True))
        per_machine[detection.names[machine]] = {
            "auc": auc,
            "auc_interval": auc_interval(
                auc,
                _independent(scores[odd], scores[good], units[odd]),
                _independent(scores[good], scores[odd], units[good]),
            ),
            "pauc": partial_area(*curve),
        }
    return {
        "auc": fmean(each["auc"] for each in per_machine.values()),
        "auc_interval": _mean_interval([*per_machine.values()]),
        "pauc": fmean(each["pauc"] for each in per_machine.values()),
        "per_machine": per_machine,
    }


def roc(scores: Floats, anomalous: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return false and true positive rates at each threshold, from (0, 0) to (1, 1).

    Equal scores share a threshold, so that their order does not matter. Raises DataError if all
    clips are normal or all are anomalous.
    """
    if anomalous.all() or not anomalous.any():
        raise DataError(
            "an AUC needs normal and anomalous clips, but got "
            f"{int((~anomalous).sum())} and {int(anomalous.sum())}; test every machine on both"
        )
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    found = np.cumsum(anomalous[order])[last]
    false = last + 1 - found
    return np.append(0.0, false / false[-1]), np.append(0.0, found / found[-1])


def area(false: Floats, true: Floats) -> float:
    """Return the area under the curve: the chance that an anomalous clip scores above a normal."""
    return float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())


def _independent(scores: Floats, others: Floats, units: npt.NDArray[np.int64]) -> float:
    """Return how many independent clips tell as much of an AUC as these of several units.

    Clips of a unit (a person, a recording) are alike. The variance of the AUC is estimated from
    sums over units and from single clips (Obuchowski 1997); their ratio divides the count.

    Parameters
    ----------
    others
        Scores of the clips that these are compared with.
    """
    count, names = len(scores), np.unique(units, return_inverse=True)[1]
    groups = int(names.max()) + 1
    if groups == count:
        return count
    sides = [np.searchsorted(np.sort(others), scores, side=side) for side in ("left", "right")]
    off = (sides[0] + sides[1]) / 2
    off = off - off.mean()
    if groups < _FEWEST or not off.any():
        return groups  # nothing shows how units differ
    alone = (off**2).sum() * count / (count - 1)
    summed = (np.bincount(names, off) ** 2).sum() * groups / (groups - 1)
    return float(np.clip(count * alone / summed, groups, count)) if summed else count


def auc_interval(auc: float, anomalous: float, normal: float) -> tuple[float, float]:
    """Return the 95 % interval of an AUC, by the numbers of independent anomalous and normal clips.

    Hanley and McNeil's variance with both numbers of clips at their mean, taken at the end of the
    interval and not at the AUC, so that a perfect AUC has an interval, too.

    References
    ----------
    R. G. Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic. Part 2", Statistics in Medicine, 2006: method 5.
    """
    mean = (anomalous + normal) / 2

    def excludes(other: float) -> bool:
        shape = 2 * mean - 1 - (3 * mean - 3) / ((2 - other) * (1 + other))
        variance = other * (1 - other) * shape / (anomalous * normal)
        return abs(auc - other) > NORMAL * math.sqrt(max(variance, 0.0))

    def end(outer: float) -> float:
        inner = auc
        for _ in range(_HALVINGS):
            middle = (inner + outer) / 2
            inner, outer = (inner, middle) if excludes(middle) else (middle, outer)
        return inner

    return end(0.0), end(1.0)


def _mean_interval(machines: Sequence[_MachineScores]) -> tuple[float, float]:
    """Return the interval of the mean over machines with independent errors (MOVER).

    Source: G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures",
    Statistics in Medicine, 2008.
    """
    mean = fmean(each["auc"] for each in machines)
    below, above = (
        math.hypot(*(each["auc"] - each["auc_interval"][side] for each in machines)) / len(machines)
        for side in (0, 1)
    )
    return mean - below, mean + above


def partial_area(false: Floats, true: Floats, *, limit: float = _MAX_FALSE_POSITIVE_RATE) -> float:
    """Return the area below a false positive rate, scaled so that chance is 0.5 and perfection 1.

    It is ``(1 + (area - limit^2 / 2) / (limit - limit^2 / 2)) / 2`` (McClish 1989), the value of
    scikit-learn's ``roc_auc_score(max_fpr=limit)``, which DCASE reports as pAUC.
    """
    inside = int(np.searchsorted(false, limit, side="right"))
    height = np.interp(limit, false, true)
    partial = area(np.append(false[:inside], limit), np.append(true[:inside], height))
    chance = limit**2 / 2
    return (1 + (partial - chance) / (limit - chance)) / 2
