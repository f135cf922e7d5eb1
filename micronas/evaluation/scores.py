"""Score a trained network on its task: float32 as trained, int8 as the device computes it."""

import math
from typing import Any

from torch import nn

from micronas.data import DataSet, Sliding, Split
from micronas.evaluation import anomalies as detect
from micronas.evaluation.outcome import Answers, Codes, answers, codes, real, softmax
from micronas.graph.ir import Graph
from micronas.train.loop import evaluate, predict

_Z = 1.959964
"""Quantile of the normal distribution for 95 %."""


def scores(
    network: nn.Module, graph: Graph, data: DataSet, *, given: Answers | None = None
) -> dict[str, Any]:
    """Judge a network and its int8 graph on the test part, or on validation where there is none.

    Parameters
    ----------
    given
        What the int8 graph answers, where it was run before.

    Returns
    -------
    dict
        Keys of `metrics.json`: accuracies, whose `accuracy_name` says if they are of a pretext,
        and, where anomalies are the task, AUC and pAUC (of int8 unless the name says float). Of
        sliding windows the accuracy is over all, its interval rests on `judged_apart` windows that
        share no sample, and `int8_accuracy_within_label` is of the `judged_within_label` windows in
        which the label does not change.
    """
    split = data.test or data.validation
    given = given or answers(graph, data)
    int8_accuracy, per_class = _accuracy(given.judged, split)
    found: dict[str, Any] = {
        "accuracy_name": data.accuracy_name,
        "judged_on": "test" if data.test is not None else "validation",
        "float_accuracy": evaluate(network, split).accuracy,
        "int8_accuracy": int8_accuracy,
        "int8_accuracy_per_class": dict(zip(data.classes, per_class, strict=True)),
        "int8_accuracy_interval": list(wilson(int8_accuracy, _apart(data, split))),
        "judged_examples": len(split.labels),
        **_within(given.judged, split, data.sliding),
    }
    if data.detection is None or given.windows is None:
        return found
    logits = predict(network, data.detection.split).double().numpy()
    in_float = detect.evaluate(data.detection, softmax(logits))
    in_int8 = detect.evaluate(data.detection, softmax(real(graph, given.windows)))
    return found | {
        "float_auc": in_float["auc"],
        "float_pauc": in_float["pauc"],
        "int8_auc": in_int8["auc"],
        "auc": in_int8["auc"],
        "auc_interval": list(in_int8["auc_interval"]),
        "judged_clips": len(data.detection.machines),
        "anomalous_clips": int(data.detection.anomalous.sum()),
        "pauc": in_int8["pauc"],
        "per_machine": in_int8["per_machine"],
    }


def _apart(data: DataSet, split: Split) -> int:
    return len(split.labels) if data.sliding is None else data.sliding.apart


def _within(outputs: Codes, split: Split, sliding: Sliding | None) -> dict[str, Any]:
    if sliding is None:
        return {}
    within = sliding.within.numpy()
    right = (outputs.argmax(1) == split.labels.numpy())[within]
    return {
        "judged_apart": sliding.apart,
        "judged_within_label": len(right),
        "int8_accuracy_within_label": float(right.mean()) if len(right) else None,
    }


def accuracy(graph: Graph, split: Split) -> tuple[float, list[float]]:
    """Accuracy of an int8 graph on a split, over all examples and for each class.

    Computed by integer execution, whose bytes are those of the device.
    """
    return _accuracy(codes(graph, split), split)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `count` independent examples.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
    1927. Examples of one speaker or device are alike, so the true interval is wider.
    """
    scale = 1 + _Z**2 / count
    middle = (share + _Z**2 / (2 * count)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _accuracy(outputs: Codes, split: Split) -> tuple[float, list[float]]:
    labels = split.labels.numpy()
    right = outputs.argmax(1) == labels
    return float(right.mean()), [
        float(right[labels == label].mean()) for label in range(outputs.shape[1])
    ]
