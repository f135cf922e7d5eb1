"""Judge a trained network on its task: float32 as trained, int8 as the device computes it."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from micronas.data import DataSet, Split
from micronas.graph import integer
from micronas.graph.ir import Graph
from micronas.objectives.base import Answers, Judged
from micronas.train.codes import quantize_inputs
from micronas.train.loop import predict

Codes = npt.NDArray[np.int8]
_BATCH = 64


def judge(network: nn.Module, graph: Graph, data: DataSet) -> Judged:
    """Run a network and its int8 graph on the test part, or on validation where there is none.

    The device's decision rule is chosen on validation.
    """
    split = data.test or data.validation
    answers = _answers(network, graph, split)
    detection = data.detection
    return Judged(
        split,
        data.classes,
        "validation" if data.test is None else "test",
        answers,
        data.objective.decision(
            answers.codes if data.test is None else codes(graph, data.validation),
            data.validation.labels,
            features=data.meaning.get("features"),
        ),
        data.sliding,
        data.ignored,
        data.seconds,
        detection,
        None if detection is None else _answers(network, graph, detection.split),
    )


def codes(graph: Graph, split: Split) -> Codes:
    """Run an int8 graph on a split and return its codes [N, outputs]."""
    batches = [
        integer.run(graph, quantize_inputs(graph, split.batch(index, None)))
        for index in torch.split(torch.arange(len(split.labels)), _BATCH)
    ]
    return np.concatenate(batches).reshape(len(split.labels), -1)


def output_scale(graph: Graph) -> tuple[float, int]:
    """Return scale and zero point of a graph's output; 1 and 0 where it is not quantised."""
    found = graph.tensors[graph.outputs[0]].quantization
    return (1.0, 0) if found is None else (float(found.scale[0]), int(found.zero_point))


def _answers(network: nn.Module, graph: Graph, split: Split) -> Answers:
    return Answers(predict(network, split), codes(graph, split), *output_scale(graph))
