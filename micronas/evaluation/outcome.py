"""Run the int8 network on the evaluation split and summarise its predictions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from micronas.data import DataSet, Split
from micronas.evaluation import anomalies as detect
from micronas.evaluation.mistakes import mistakes, thresholds
from micronas.graph import integer
from micronas.graph.ir import Graph
from micronas.train.codes import quantize_inputs

Codes = npt.NDArray[np.int8]
_BATCH = 64


@dataclass(frozen=True)
class Answers:
    """Outputs of the int8 network as the device computes them, by integer execution."""

    judged: Codes
    """[N, classes] on the test part, or on validation where there is none."""
    windows: Codes | None
    """[windows, classes] on what anomalies are looked for in; None where that is not the task."""


def answers(graph: Graph, data: DataSet) -> Answers:
    """Run an int8 graph on all it is judged on."""
    return Answers(
        codes(graph, data.test or data.validation),
        None if data.detection is None else codes(graph, data.detection.split),
    )


def outcome(graph: Graph, data: DataSet, given: Answers) -> dict[str, Any]:
    """Draw a report's figures from what a network answered.

    Returns
    -------
    dict
        ``classes``; ``confusion``, number of examples by their class (row) and the answer
        (column); ``mistakes`` and ``thresholds``, see `micronas.evaluation.mistakes`; ``machines``,
        the ROC curve of each and the scores of its clips, where anomalies are the task.
    """
    split = data.test or data.validation
    labels = split.labels.numpy()
    count = given.judged.shape[1]
    pairs = labels * count + given.judged.argmax(1)
    found: dict[str, Any] = {
        "classes": list(data.classes),
        "confusion": np.bincount(pairs, minlength=count**2).reshape(count, count).tolist(),
    }
    judged = softmax(real(graph, given.judged))
    if data.detection is None:
        found["mistakes"] = mistakes(split, judged)
        found["thresholds"] = thresholds(data, split, judged)
    if data.detection is None or given.windows is None:
        return found
    probabilities = softmax(real(graph, given.windows))
    scores = detect.clip_scores(data.detection, probabilities)
    machines, anomalous = data.detection.machines.numpy(), data.detection.anomalous.numpy()
    found["machines"] = [
        _machine(name, scores[machines == machine], anomalous[machines == machine])
        for machine, name in enumerate(data.detection.names)
        if (machines == machine).any()
    ]
    return found


def real(graph: Graph, outputs: Codes) -> npt.NDArray[np.float64]:
    """Return the values of codes, but for a constant: a softmax does not see the zero point."""
    quantization = graph.tensors[graph.outputs[0]].quantization
    scale = 1.0 if quantization is None else float(quantization.scale[0])
    return outputs.astype(np.float64) * scale


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities [N, classes] of logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return total


def codes(graph: Graph, split: Split) -> Codes:
    """Run an int8 graph on a split; [N, classes]."""
    batches = [
        integer.run(graph, quantize_inputs(graph, split.batch(index, None)))
        for index in torch.split(torch.arange(len(split.labels)), _BATCH)
    ]
    return np.concatenate(batches).reshape(len(split.labels), -1)


def _machine(
    name: str, scores: npt.NDArray[np.float64], anomalous: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    false, true = detect.roc(scores, anomalous)
    return {
        "name": name,
        "false_positive_rate": false.tolist(),
        "true_positive_rate": true.tolist(),
        "normal": scores[~anomalous].tolist(),
        "anomalous": scores[anomalous].tolist(),
    }
