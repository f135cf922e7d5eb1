"""Parts of the training set that train and rank networks; no two share a group."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from micronas.data import DataSet, Split, Subset, divide
from micronas.errors import DataError
from micronas.nas.settings import StrategySettings
from micronas.train.loop import generator_for

PARTS = (0.4, 0.4, 0.2)
"""Shares of the training set for weights, gates and ranking."""
_FEW_GROUPS = 12
"""Groups below which one or two of them would rank all networks."""
_FOLDS = 3
_KNOWN = 0.5
"""Least share of ranking examples of classes that were trained on."""


def parts_of(data: DataSet, seed: int) -> list[Subset]:
    """Return the parts of the training set for weights, for gates and for ranking."""
    return divide(data.train, PARTS, generator_for(seed, "parts"))


def folds_of(data: DataSet, settings: StrategySettings, seed: int) -> list[DataSet]:
    """Return data sets that train and rank the networks of a search.

    One data set, with a fifth of the training part for ranking; or several where groups are few,
    each ranked by another share of the groups, so that every group ranks.
    """
    count = _fold_count(data.train, settings)
    if count == 1:
        *training, ranking = parts_of(data, seed)
        return [_judged_on(data, training, ranking)]
    parts = divide(data.train, (1 / count,) * count, generator_for(seed, "parts"))
    return [
        _judged_on(data, parts[:place] + parts[place + 1 :], ranking)
        for place, ranking in enumerate(parts)
    ]


def _fold_count(training: Split, settings: StrategySettings) -> int:
    """Return the number of networks that a trial trains, see `StrategySettings.folds`."""
    if settings.folds != "auto":
        return settings.folds
    return _FOLDS if _FOLDS <= len(torch.unique(training.groups)) < _FEW_GROUPS else 1


def _judged_on(data: DataSet, training: Sequence[Subset], ranking: Split) -> DataSet:
    """Return a data set that trains on some parts of the training set and ranks on another.

    Raises DataError if it would rank networks mostly on classes that they were not trained on.
    """
    part = Subset(data.train, torch.cat([each.index for each in training]))
    is_class = data.train.labels.ndim == 1 and not data.train.labels.is_floating_point()
    known = torch.isin(ranking.labels, part.labels)
    if is_class and known.double().mean() < _KNOWN:
        name = data.classes[int(ranking.labels[~known][0])]
        groups = len(torch.unique(data.train.groups))
        units, smaller = "examples", ""
        if groups < len(data.train.labels):
            units = "groups"
            smaller = "number smaller groups, such as recordings, leave `groups` out, or "
        raise DataError(
            f"each class must have {units} for training and others for ranking, but those of "
            f"{name!r} are in one part of {groups} in all; {smaller}add examples of that class"
        )
    return replace(
        data, train=part, validation=ranking, test=None, final=None, detection=None, sliding=None
    )
