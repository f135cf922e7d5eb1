"""Baselines of a router: single experts, mixes of two, score predictors, the oracle.

Every baseline is fitted on the same prompts as the router, gets test prompts as vectors only, and
keeps a budget on the fitting prompts; only the oracle uses the test scores. Each returns, for each
budget, the share of every test prompt that goes to each expert [prompts, experts]: 0 or 1, except
for mixes, whose expectation is thus exact.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from micronas.arrays import Floats, Integers
from micronas.language.embedders import cosines, unit
from micronas.language.neighbours import folds_of

_Predict = Callable[[Floats, Floats, Floats, float], Floats]
"""Function from vectors and scores of prompts, other vectors and a strength to their scores."""

_FOLDS = 5
_HALVINGS = 60
_LEAST = 1e-9
_PENALTIES = (1.0, 10.0, 100.0)


@dataclass(frozen=True, eq=False)
class Split:
    """Fitting and test prompts as numbers."""

    vectors: Floats
    scores: Floats
    """Vectors [prompts, dimensions] and scores [prompts, experts] of the fitting prompts."""
    test_vectors: Floats
    test_scores: Floats
    """Vectors and scores of the test prompts."""
    active: Floats
    total: Floats
    """Active and total parameters of the experts [experts]."""


def _best_single(split: Split, budgets: Sequence[float]) -> list[Floats]:
    """Choose the expert of the largest mean score, at any cost."""
    expert = np.full(len(split.test_vectors), split.scores.mean(axis=0).argmax())
    return [_one_hot(expert, split)] * len(budgets)


def _best_single_within(split: Split, budgets: Sequence[float]) -> list[Floats]:
    """Choose the expert of the largest mean score within each budget."""
    means = split.scores.mean(axis=0)
    return [
        _one_hot(np.full(len(split.test_vectors), _allowed(split, budget, means).argmax()), split)
        for budget in budgets
    ]


def random_mix(split: Split, budgets: Sequence[float]) -> list[Floats]:
    """Draw prompts at random between two experts, by the best such mix within each budget."""
    shares = []
    for budget in budgets:
        low, high, share = _mix(split, budget)
        each = np.zeros(len(split.active))
        each[low] += 1 - share
        each[high] += share
        shares.append(np.tile(each, (len(split.test_vectors), 1)))
    return shares


def oracle(split: Split, budgets: Sequence[float]) -> list[Floats]:
    """Choose the best expert of each test prompt by its own scores, a bound of all routers.

    If many prompts change at one price, as with right and wrong answers, a share of them changes
    that uses up the budget.
    """
    shares = []
    for budget in budgets:
        prices = _price(split.test_scores, split, budget)
        dear, cheap = (_priced(split.test_scores, split, price) for price in prices)
        high, low = split.active[dear].mean(), split.active[cheap].mean()
        share = (budget - low) / (high - low) if high > budget else 0.0
        shares.append(share * _one_hot(dear, split) + (1 - share) * _one_hot(cheap, split))
    return shares


def _knn_scores(split: Split, budgets: Sequence[float]) -> list[Floats]:
    """Predict scores as means over the nearest fitting prompts; maximise score less a price."""

    def predict(vectors: Floats, scores: Floats, asked: Floats, neighbours: float) -> Floats:
        similar = cosines(unit(asked), unit(vectors))
        count = min(int(neighbours), len(vectors))
        nearest = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        return np.asarray(scores[nearest].mean(axis=1))

    return _predicted(split, budgets, predict, (10, 20, 40, 80))


def _ridge_scores(split: Split, budgets: Sequence[float]) -> list[Floats]:
    """Predict scores by a linear regression for each expert; maximise score less a price."""
    return _predicted(split, budgets, _ridge, _PENALTIES)


def _threshold_pair(split: Split, budgets: Sequence[float]) -> list[Floats]:
    """Choose between the experts of the mix by a linear model of their difference."""
    shares = []
    for budget in budgets:
        low, high, _ = _mix(split, budget)
        pair = [low, high]
        two = replace(
            split,
            scores=split.scores[:, pair],
            test_scores=split.test_scores[:, pair],
            active=split.active[pair],
            total=split.total[pair],
        )
        (chosen,) = _predicted(two, [budget], _ridge, _PENALTIES)
        whole = np.zeros((len(split.test_vectors), len(split.active)))
        np.add.at(whole.T, pair, chosen.T)
        shares.append(whole)
    return shares


BASELINES = {
    "best single": _best_single,
    "best single within": _best_single_within,
    "random mix": random_mix,
    "kNN scores": _knn_scores,
    "ridge scores": _ridge_scores,
    "two-model threshold": _threshold_pair,
    "oracle": oracle,
}


def _ridge(vectors: Floats, scores: Floats, asked: Floats, penalty: float) -> Floats:
    """Predict scores linearly; squared weights, times the penalty, are added to the loss."""
    mean, level = vectors.mean(axis=0), scores.mean(axis=0)
    centred = vectors - mean
    square = centred.T @ centred + penalty * np.eye(vectors.shape[1])
    return np.asarray(
        (asked - mean) @ np.linalg.solve(square, centred.T @ (scores - level)) + level
    )


def _predicted(
    split: Split, budgets: Sequence[float], predict: _Predict, strengths: Sequence[float]
) -> list[Floats]:
    """Choose by predicted scores, with strength and price from out-of-fold predictions."""
    fold = folds_of(np.zeros(len(split.scores), np.int64), _FOLDS, 0)
    tried = {}
    for strength in strengths:
        held = np.empty_like(split.scores)
        for number in range(_FOLDS):
            inside = fold == number
            vectors, scores = split.vectors[~inside], split.scores[~inside]
            held[inside] = predict(vectors, scores, split.vectors[inside], strength)
        tried[strength] = held
    best = min(tried, key=lambda strength: _error(tried[strength], split.scores))
    asked = predict(split.vectors, split.scores, split.test_vectors, best)
    return [
        _one_hot(_priced(asked, split, _price(tried[best], split, budget)[1]), split)
        for budget in budgets
    ]


def _error(predicted: Floats, scores: Floats) -> float:
    """Return the squared error of differences between experts, which alone decide choices."""
    error = predicted - scores
    return float((error - error.mean(axis=1, keepdims=True)).var())


def _priced(scores: Floats, split: Split, price: float) -> Integers:
    # at least a tiny price, so that the cheaper of equal experts is chosen
    least = _LEAST / float(split.active.max())
    return np.asarray((scores - max(price, least) * split.active).argmax(axis=1), np.int64)


def _price(scores: Floats, split: Split, budget: float) -> tuple[float, float]:
    """Return two adjacent prices of a parameter; choices at the second are affordable."""

    def spends(price: float) -> float:
        return float(split.active[_priced(scores, split, price)].mean())

    if spends(0.0) <= budget:
        return 0.0, 0.0
    # at this price no difference of scores outweighs the smallest difference of parameters
    steps = np.diff(np.unique(split.active))
    low, high = 0.0, 2 * float(np.ptp(scores)) / float(steps.min())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if spends(middle) <= budget else (middle, high)
    return low, high


def _mix(split: Split, budget: float) -> tuple[int, int, float]:
    """Return the cheaper and the dearer expert of the best mix, and the share of the latter."""
    means = split.scores.mean(axis=0)
    cheap = int(_allowed(split, budget, means).argmax())
    best = (cheap, cheap, 0.0, float(means[cheap]))
    for low in np.flatnonzero(split.active <= budget).tolist():
        for high in np.flatnonzero(split.active > budget).tolist():
            share = (budget - split.active[low]) / (split.active[high] - split.active[low])
            score = float((1 - share) * means[low] + share * means[high])
            if score > best[3]:
                best = (low, high, float(share), score)
    return best[:3]


def _allowed(split: Split, budget: float, means: Floats) -> Floats:
    return np.where(split.active <= budget, means, -np.inf)


def _one_hot(experts: Integers, split: Split) -> Floats:
    return np.eye(len(split.active))[experts]
