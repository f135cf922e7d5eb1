"""Score a trained network on its task: float32 as trained, int8 as the device computes it."""

from typing import Any

from torch import nn

from micronas.data import DataSet, Split
from micronas.evaluation import anomalies as detect
from micronas.evaluation.outcome import Answers, Codes, answers, codes, real, softmax
from micronas.graph.ir import Graph
from micronas.train.loop import evaluate, predict


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
        Keys of `metrics.json`: accuracies and, where anomalies are the task, AUC and pAUC (of
        int8 unless the name says float).
    """
    split = data.test or data.validation
    given = given or answers(graph, data)
    int8_accuracy, per_class = _accuracy(given.judged, split)
    found: dict[str, Any] = {
        "judged_on": "test" if data.test is not None else "validation",
        "float_accuracy": evaluate(network, split).accuracy,
        "int8_accuracy": int8_accuracy,
        "int8_accuracy_per_class": dict(zip(data.classes, per_class, strict=True)),
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
        "pauc": in_int8["pauc"],
        "per_machine": in_int8["per_machine"],
    }


def accuracy(graph: Graph, split: Split) -> tuple[float, list[float]]:
    """Accuracy of an int8 graph on a split, over all examples and for each class.

    Computed by integer execution, whose bytes are those of the device.
    """
    return _accuracy(codes(graph, split), split)


def _accuracy(outputs: Codes, split: Split) -> tuple[float, list[float]]:
    labels = split.labels.numpy()
    right = outputs.argmax(1) == labels
    return float(right.mean()), [
        float(right[labels == label].mean()) for label in range(outputs.shape[1])
    ]
