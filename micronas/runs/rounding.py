"""Choose between rounding a trained network and training it further with rounding."""

from typing import Any

import numpy as np
from torch import Tensor

from micronas.data import DataSet
from micronas.graph.interface import by_name
from micronas.graph.ir import Graph
from micronas.objectives.intervals import mean_interval
from micronas.runs.history import watched
from micronas.splits import Split, evenly
from micronas.train.loop import predict
from micronas.train.post_training import calibrated
from micronas.train.quantize import QuantizedNetwork

_CALIBRATION = 512
"""Number of training examples that set the ranges of rounding alone."""


def better_rounding(
    trained: QuantizedNetwork, graph: Graph, data: DataSet
) -> tuple[QuantizedNetwork, dict[str, Any]]:
    """Return the better of two int8 networks of one float network on validation.

    Training with rounding should be better, but too high a learning rate for the data can undo the
    float training. If validation also evaluates the network, rounding alone must lead by more than
    a 95 % interval, so that no figure is chosen by the examples that it is measured on.

    Returns
    -------
    The network, and the entry ``rounding`` of metrics.json.
    """
    rounded = rounded_alone(graph, data.final_train)
    shown, measure = watched(data), data.objective.shown
    with_training, alone = (
        measure.values(predict(network, shown), shown.labels) for network in (trained, rounded)
    )
    ahead = alone - with_training if measure.larger else with_training - alone
    is_better = leads(ahead, shown.groups, beyond_noise=data.test is None)
    return rounded if is_better else trained, {
        "kept": "rounding" if is_better else "training",
        "measure": measure.name,
        "unit": measure.unit,
        "training": with_training.mean().item(),
        "rounding": alone.mean().item(),
        "examples": len(shown.labels),
    }


def rounded_alone(graph: Graph, split: Split) -> QuantizedNetwork:
    """Return a float32 graph as an int8 network in eval mode, with ranges from clean examples."""
    examples = by_name(graph, split.batch(evenly(split, _CALIBRATION), None))
    return calibrated(graph, [examples], method="mse").eval()


def leads(ahead: Tensor, groups: Tensor, *, beyond_noise: bool) -> bool:
    """Return whether the mean of differences [N] is above zero.

    Parameters
    ----------
    beyond_noise
        Require it of the 95 % interval, too: over groups of examples, or over examples if there are
        too few groups.
    """
    mean = ahead.mean().item()
    if mean <= 0 or not beyond_noise:
        return mean > 0
    interval = mean_interval(ahead.numpy(), groups.numpy())
    interval = interval or mean_interval(ahead.numpy(), np.arange(len(ahead)))
    return interval is not None and interval[0] > 0
