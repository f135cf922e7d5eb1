"""Plain rival of a network: a linear model of simple statistics, on the same examples."""

from typing import Any

import torch
from torch import Tensor

from micronas.data import DataSet, Split, Subset
from micronas.objectives.base import Judged
from micronas.objectives.intervals import mean_interval
from micronas.splits import evenly
from micronas.train.threads import threads

_DECAYS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Weights of the squared coefficients; validation chooses one."""
_STEPS = 200
_FURTHEST = 10.0
"""Deviations from the mean to which statistics are limited."""
_BATCH = 1024
_MOST = 20_000
"""Most training examples to fit, spread evenly."""


def plain_rival(data: DataSet, judged: Judged) -> dict[str, Any] | None:
    """Fit a linear model of `DataSet.statistics` and compare a network with it.

    The model minimises the objective's loss on the training part, without augmentation; validation
    chooses the weight of its squared coefficients.

    Returns
    -------
    dict
        ``name``; ``score``, the model's mean of the objective's first measure; ``ahead``, the int8
        network's lead in it; ``ahead_interval``, that lead's 95 % interval for examples of other
        groups, or None. None where the data has no statistics.
    """
    if data.statistics is None:
        return None
    objective = data.objective
    with threads(1):
        known = Subset(data.train, evenly(data.train, _MOST))
        train, validation, shown = (
            _features(data, split) for split in (known, data.validation, judged.split)
        )
        mean, deviation = train.mean(0), train.std(0, correction=0).clamp(min=1e-6)

        def scaled(features: Tensor) -> Tensor:
            limited = ((features - mean) / deviation).clamp(-_FURTHEST, _FURTHEST)
            return torch.cat([limited, torch.ones(len(limited), 1)], 1)

        models = [_fitted(data, scaled(train), known.labels, decay) for decay in _DECAYS]
        outputs = [scaled(validation) @ model for model in models]
        losses = [objective.loss(each, data.validation.labels).item() for each in outputs]
        predicted = scaled(shown) @ models[losses.index(min(losses))]
    measure = next(iter(objective.measures.values()))
    labels = judged.split.labels
    theirs = measure.values(predicted, labels)
    ahead = measure.values(judged.answers.int8, labels) - theirs
    ahead = ahead if measure.larger else -ahead
    interval = mean_interval(ahead.numpy(), judged.split.groups.numpy())
    return {
        "name": f"linear model of {train.shape[1]} statistics",
        "score": theirs.mean().item(),
        "ahead": ahead.mean().item(),
        "ahead_interval": None if interval is None else [*interval],
    }


def _features(data: DataSet, split: Split) -> Tensor:
    assert data.statistics is not None, "plain_rival has checked"
    every = torch.arange(len(split.labels))
    return torch.cat(
        [data.statistics(split.batch(part, None)) for part in torch.split(every, _BATCH)]
    )


def _fitted(data: DataSet, features: Tensor, labels: Tensor, decay: float) -> Tensor:
    """Return coefficients [features, outputs]; the last row, of a constant, has no decay."""
    model = torch.zeros(features.shape[1], len(data.classes), requires_grad=True)
    optimizer = torch.optim.LBFGS([model], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = data.objective.loss(features @ model, labels)
        value = value + decay * model[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return model.detach()
