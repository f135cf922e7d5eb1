"""Scores of a trained network, as ``metrics.json`` has them, and of its int8 graph alone."""

from typing import Any

import torch
from torch import nn

from micronas.data import DataSet, Split
from micronas.evaluation.scores import codes, judge
from micronas.graph.ir import Graph
from micronas.objectives.classes import CLASSES


def scores(network: nn.Module, graph: Graph, data: DataSet) -> dict[str, Any]:
    """Return a network's scores for ``metrics.json``, those of the data set's objective."""
    return data.objective.metrics(judge(network, graph, data))


def accuracy(graph: Graph, split: Split) -> tuple[float, list[float]]:
    """Return the accuracy of an int8 graph on a split, over all examples and for each class.

    Integer execution computes it; its bytes are those of the device.
    """
    found = CLASSES.scores(torch.from_numpy(codes(graph, split)).float(), split.labels)
    return found.accuracy, [*found.per_class]
