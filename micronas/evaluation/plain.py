"""Plain rivals of a network: a linear model and a forest on simple statistics of its examples."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from micronas.data import DataSet, Split, Subset
from micronas.objectives.base import Judged, Measure
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
_TREES = 100


def plain_rivals(data: DataSet, judged: Judged) -> dict[str, dict[str, Any]]:
    """Fit plain models of `DataSet.statistics` and compare a network with each.

    Both see the training part without augmentation. The linear model minimises the objective's
    loss; validation chooses the weight of its squared coefficients. The forest, extremely
    randomised trees (Geurts et al. 2006), predicts the objective's ideal outputs.

    Returns
    -------
    dict
        ``plain``, the linear model, and ``forest`` where scikit-learn is installed; empty where
        the data has no statistics. Of each: ``name``; ``score``, its mean of the objective's first
        measure; ``ahead``, the int8 network's lead in it; ``ahead_interval``, that lead's 95 %
        interval for examples of other groups, or None.
    """
    if data.statistics is None:
        return {}
    with threads(1):
        known = Subset(data.train, evenly(data.train, _MOST))
        shown = data.test or data.validation  # as read, whatever the network sees of it
        parts = [_features(data, split) for split in (known, data.validation, shown)]
        measure = next(iter(data.objective.measures.values()))
        of = f"{parts[0].shape[1]} statistics"
        outputs = _linear(data, known, *parts)
        found = {"plain": _compared(f"linear model of {of}", outputs, judged, measure)}
        if find_spec("sklearn") is not None:
            outputs = _forest(data, known, parts[0], parts[2])
            found["forest"] = _compared(
                f"forest of {_TREES} trees on {of}", outputs, judged, measure
            )
    return found


def _compared(name: str, outputs: Tensor, judged: Judged, measure: Measure) -> dict[str, Any]:
    """Return the model's score by the measure, and the int8 network's lead."""
    labels = judged.split.labels
    theirs = measure.values(outputs, labels)
    ahead = measure.values(judged.answers.int8, labels) - theirs
    ahead = ahead if measure.larger else -ahead
    interval = mean_interval(ahead.numpy(), judged.split.groups.numpy())
    return {
        "name": name,
        "score": theirs.mean().item(),
        "ahead": ahead.mean().item(),
        "ahead_interval": None if interval is None else [*interval],
    }


def _linear(
    data: DataSet, known: Split, train: Tensor, validation: Tensor, shown: Tensor
) -> Tensor:
    """Return outputs for the features `shown`."""
    mean, deviation = train.mean(0), train.std(0, correction=0).clamp(min=1e-6)

    def scaled(features: Tensor) -> Tensor:
        limited = ((features - mean) / deviation).clamp(-_FURTHEST, _FURTHEST)
        return torch.cat([limited, torch.ones(len(limited), 1)], 1)

    models = [_fitted(data, scaled(train), known.labels, decay) for decay in _DECAYS]
    outputs = [scaled(validation) @ model for model in models]
    losses = [data.objective.loss(each, data.validation.labels).item() for each in outputs]
    return scaled(shown) @ models[losses.index(min(losses))]


def _forest(data: DataSet, known: Split, train: Tensor, shown: Tensor) -> Tensor:
    """Return outputs for the features `shown`.

    Squares of one ideal output for each class split as Gini's impurity does.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    ideal = data.objective.ideal(known.labels, len(data.classes)).numpy()
    forest = ExtraTreesRegressor(_TREES, max_features="sqrt", random_state=0)
    forest.fit(train.numpy(), ideal.squeeze(1) if ideal.shape[1] == 1 else ideal)
    return torch.from_numpy(forest.predict(shown.numpy())).reshape(len(shown), -1)


def _features(data: DataSet, split: Split) -> Tensor:
    assert data.statistics is not None, "plain_rivals has checked"
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
