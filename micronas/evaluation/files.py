"""Judge any network on a data set: a module, or a .tflite file as the device computes it."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from micronas.arrays import Floats
from micronas.data import DataSet, Split, Subset
from micronas.errors import DataError
from micronas.evaluation.scores import codes, output_scale
from micronas.graph.ir import Graph
from micronas.objectives.base import Scores
from micronas.objectives.classes import CLASSES
from micronas.space.load import model_bytes
from micronas.splits import check_split
from micronas.tflite.reader import read
from micronas.train.loop import evaluate as evaluate_module
from micronas.train.network import logits_of


def evaluate(
    model: nn.Module | str | Path | bytes,
    data: DataSet | Split,
    *,
    batch_size: int = 256,
    index: Tensor | None = None,
) -> Scores:
    """Score a network by the objective of a data set on its test part (validation without one), or
    on a split of classes.

    Parameters
    ----------
    model
        A module, which returns logits; or the path or bytes of a ``.tflite`` file of any tool, with
        int8 input and output, run by integer execution, whose bytes are those of the device; or a
        run folder, for its ``model.tflite``. Probabilities of a file's softmax or sigmoid count as
        the logits that they come from.
    data
        Batches [n, channels, height, width], as a module takes them; a file's input [1, height,
        width, channels] holds the same numbers.

    Raises
    ------
    DataError
        If there is no example, the input of a file has another size, or labels do not suit the
        objective.
    """
    split = data if not isinstance(data, DataSet) else data.test or data.validation
    check_split(split)
    objective = data.objective if isinstance(data, DataSet) else CLASSES
    if isinstance(model, nn.Module):
        return evaluate_module(
            model, split, batch_size=batch_size, index=index, objective=objective
        )
    if not isinstance(model, bytes):
        path = Path(model).expanduser()
        model = model_bytes(path / "model.tflite" if os.path.isdir(path) else path)
    part = split if index is None else Subset(split, index)
    if len(part.labels) == 0:
        raise DataError("a prediction needs at least one example: examples=0; check the split")
    logits = torch.from_numpy(_logits(read(model), part)).float()
    return objective.scores(logits, part.labels)


def _logits(graph: Graph, split: Split) -> Floats:
    """Return logits [n, classes]."""
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    given = split.batch(torch.tensor([0]), None).shape[1:]
    if len(graph.inputs) != 1 or tuple(given[1:]) + tuple(given[:1]) != tuple(shape):
        raise DataError(
            f"data must have the network's input {list(shape)} (height, width, channels), but a "
            f"batch has {list(given)} (channels, height, width); give the data it was trained on"
        )
    scale, zero_point = output_scale(graph)
    found: Floats = scale * (codes(graph, split).astype(np.float64) - zero_point)
    last = logits_of(graph, graph.outputs[0])
    kind = next((op.kind for op in graph.ops if op.outputs[0] == last), None)
    if kind in ("SOFTMAX", "LOGISTIC"):
        share = found.clip(scale / 2, 1 - scale / 2)  # rounded to 0, they are less than a step
        found = np.log(share) - (np.log1p(-share) if kind == "LOGISTIC" else 0)
    return found
