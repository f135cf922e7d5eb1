"""How well a trained network does its task: float32 as trained, int8 as the device computes it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from micronas.data import DataSet, Split
from micronas.graph import integer
from micronas.graph.ir import Graph
from micronas.layers import Network
from micronas.train import detect
from micronas.train.loop import evaluate, predict
from micronas.train.quantize import quantize_inputs

_BATCH = 64


def scores(network: Network, graph: Graph, data: DataSet) -> dict[str, Any]:
    """Judge a network and its int8 graph on the test part, or on validation where there is none.

    Returns
    -------
    dict
        Keys of `metrics.json`: accuracies and, where anomalies are the task, AUC and pAUC (of
        int8 unless the name says float).
    """
    split = data.test or data.validation
    int8_accuracy, per_class = accuracy(graph, split)
    found: dict[str, Any] = {
        "judged_on": "test" if data.test is not None else "validation",
        "float_accuracy": evaluate(network, split).accuracy,
        "int8_accuracy": int8_accuracy,
        "int8_accuracy_per_class": dict(zip(data.classes, per_class, strict=True)),
    }
    if data.detection is None:
        return found
    logits = predict(network, data.detection.split).double().numpy()
    in_float = detect.evaluate(data.detection, _softmax(logits))
    in_int8 = detect.evaluate(data.detection, _softmax(_real_outputs(graph, data.detection.split)))
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
    outputs, labels = _outputs(graph, split), split.labels.numpy()
    right = outputs.argmax(1) == labels
    return float(right.mean()), [
        float(right[labels == label].mean()) for label in range(outputs.shape[1])
    ]


def _outputs(graph: Graph, split: Split) -> npt.NDArray[np.int8]:
    """Codes [N, classes] that the device computes."""
    batches = [
        integer.run(graph, quantize_inputs(graph, split.batch(index, None)))
        for index in torch.split(torch.arange(len(split.labels)), _BATCH)
    ]
    return np.concatenate(batches).reshape(len(split.labels), -1)


def _real_outputs(graph: Graph, split: Split) -> npt.NDArray[np.float64]:
    quantization = graph.tensors[graph.outputs[0]].quantization
    scale = 1.0 if quantization is None else float(quantization.scale[0])
    # the zero point moves all classes alike, which a softmax does not see
    return _outputs(graph, split).astype(np.float64) * scale


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return total
