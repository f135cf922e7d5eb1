"""Label prompts from a few labelled ones, by votes of the nearest, with their uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar, nnls

from micronas.arrays import Floats, Integers
from micronas.errors import DataError
from micronas.language.embedders import Vectors, cosines

_SMOOTHING = 0.1
"""Votes, in units of similarity, spread evenly, so that uncertainty is large far from seeds."""
_RIDGE = 0.4
"""Strength of the pull of category shares to those of the seeds."""
_MARGIN = 0.05
"""Largest distance of the threshold above the last accepted seed, in units of entropy."""
_CHUNK = 512


@dataclass(frozen=True)
class CrossValidation:
    """Result of cross-validation on the seeds."""

    neighbours: int
    """Best number of neighbours."""
    accuracy: float
    by_neighbours: dict[int, float]
    """Accuracy by number of neighbours."""
    confusion: Integers
    """Number of seeds of each category (row) labelled as each category (column)."""
    sharpness: float
    """Power that turns votes into probabilities, by log-loss."""
    threshold: float
    """Largest entropy of a label that is kept; negative where none is."""
    coverage: float
    """Share of the seeds whose label is kept."""
    precision: float
    """Accuracy of the kept labels."""


@dataclass(frozen=True)
class _Votes:
    """Labels of unlabelled prompts."""

    probabilities: Floats
    """Probabilities [prompts, categories]."""
    prior: Floats
    """Assumed or estimated share of each category among the prompts [categories]."""

    @property
    def label(self) -> Integers:
        """Most likely category [prompts]."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def entropy(self) -> Floats:
        """Entropy relative to that of an even vote, 0 to 1 [prompts]."""
        return entropy(self.probabilities)


def entropy(probabilities: Floats) -> Floats:
    """Return the entropy of each row divided by its largest possible value; 0 for one category."""
    categories = probabilities.shape[1]
    logs = np.log(np.where(probabilities > 0, probabilities, 1))
    return np.asarray(np.abs((probabilities * logs).sum(axis=1)) / np.log(max(categories, 2)))


def vote(
    seeds: Vectors, labels: Integers, categories: int, prompts: Vectors, neighbours: int
) -> Floats:
    """Return the share of each category in the votes of the nearest seeds [prompts, categories].

    A seed's vote is its cosine; negative ones count as 0. Rows add up to 1.

    Parameters
    ----------
    seeds, prompts
        Unit vectors.
    labels
        Category of each seed [seeds], from 0 to `categories` - 1.
    """
    count = min(neighbours, len(labels))
    votes = np.full((prompts.shape[0], categories), _SMOOTHING / categories)
    for start in range(0, prompts.shape[0], _CHUNK):
        similar = cosines(prompts[start : start + _CHUNK], seeds).astype(np.float64)
        # a stable sort: the choice between equally near seeds must not depend on the machine
        nearest = np.argsort(-similar, axis=1, kind="stable")[:, :count]
        weight = np.maximum(np.take_along_axis(similar, nearest, axis=1), 0)
        rows = np.arange(start, start + len(similar))[:, None]
        np.add.at(votes, (rows, labels[nearest]), weight)
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def correct_prior(votes: Floats, found: CrossValidation, prior: str) -> _Votes:
    """Replace the share of each category among the seeds by its share among the prompts.

    ``estimated`` finds the shares that explain the frequency of each label by the confusion of the
    seeds (black-box shift estimation, Lipton, Wang, Smola 2018), with a pull to the seeds' shares.
    Expectation maximisation would need calibrated probabilities.

    Parameters
    ----------
    votes
        Votes [prompts, categories].
    found
        Cross-validation of the seeds; each category has at least one.
    prior
        ``seed`` keeps the votes, ``uniform`` gives all categories equal shares.
    """
    confusion = found.confusion
    seeds = confusion.sum(axis=1) / confusion.sum()
    categories = len(seeds)
    if prior == "seed" or not len(votes):
        return _Votes(votes, seeds)
    if prior == "uniform":
        ratio = 1 / (categories * seeds)
    else:
        labelled = np.bincount(votes.argmax(axis=1), minlength=categories) / len(votes)
        ridge = _RIDGE / categories
        left = np.vstack([confusion.T / confusion.sum(), ridge * np.eye(categories)])
        ratio = nnls(left, np.concatenate([labelled, np.full(categories, ridge)]))[0]
    # votes are less certain than probabilities, which are votes to the power of the sharpness
    weighted = votes * ratio ** (1 / found.sharpness)
    shares = ratio * seeds
    return _Votes(weighted / weighted.sum(axis=1, keepdims=True), shares / shares.sum())


def cross_validate(
    seeds: Vectors,
    labels: Integers,
    categories: int,
    seed: int,
    *,
    neighbours: Sequence[int] = (5, 10, 20, 40),
    precision: float = 0.9,
    threshold: float | None = None,
    folds: int = 5,
) -> CrossValidation:
    """Label each seed from the seeds of the other folds; choose neighbours and threshold.

    Folds are stratified by category. Among equal accuracies the fewest neighbours are chosen.

    Raises DataError if there are fewer seeds than folds.

    Parameters
    ----------
    neighbours
        Values to try.
    precision
        Wanted accuracy of the kept labels, which sets the threshold.
    threshold
        Largest entropy of votes at which a label is kept, in place of `precision`.
    """
    if len(labels) < folds:
        raise DataError(
            f"labelling must have at least {folds} labelled prompts to cross-validate, "
            f"but has {len(labels)}; label more, or set labelling.folds"
        )
    fold = folds_of(labels, folds, seed)
    votes = {
        count: _out_of_fold(seeds, labels, categories, count, fold)
        for count in sorted(set(neighbours))
    }
    accuracy = {
        count: float((each.argmax(axis=1) == labels).mean()) for count, each in votes.items()
    }
    best = max(accuracy, key=lambda count: (accuracy[count], -count))
    confusion = np.zeros((categories, categories), np.int64)
    np.add.at(confusion, (labels, votes[best].argmax(axis=1)), 1)
    sharpness = minimize_scalar(
        lambda power: _log_loss(votes[best] ** power, labels), bounds=(0.5, 4), method="bounded"
    ).x
    right = votes[best].argmax(axis=1) == labels
    doubt = entropy(votes[best])
    if threshold is None:
        threshold = entropy_threshold(doubt, right, precision)
    kept = doubt <= threshold
    return CrossValidation(
        neighbours=best,
        accuracy=accuracy[best],
        by_neighbours=accuracy,
        confusion=confusion,
        sharpness=float(sharpness),
        threshold=threshold,
        coverage=float(kept.mean()),
        precision=float(right[kept].mean()) if kept.any() else 0.0,
    )


def entropy_threshold(doubt: Floats, right: NDArray[np.bool_], precision: float) -> float:
    """Return the largest entropy up to which at least `precision` of the labels are right.

    It lies half-way to the next larger entropy seen, at most 0.05 above the last one kept; negative
    where there is none.
    """
    order = np.argsort(doubt, kind="stable")
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # labels of equal entropy are kept or dropped together
    last = np.append(np.diff(doubt[order]) > 0, True)
    good = np.nonzero((accuracy >= precision) & last)[0]
    if not len(good):
        return -1.0
    last, following = np.append(doubt[order], np.inf)[good[-1] : good[-1] + 2]
    return float(min((last + following) / 2, last + _MARGIN))


def _log_loss(weights: Floats, labels: Integers) -> float:
    right = weights[np.arange(len(labels)), labels] / weights.sum(axis=1)
    return float(-np.log(right).mean())


def folds_of(labels: Integers, folds: int, seed: int) -> Integers:
    """Return a fold for each prompt, stratified by category."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    fold = np.empty(len(labels), np.int64)
    fold[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(labels)) % folds
    return fold


def _out_of_fold(
    seeds: Vectors, labels: Integers, categories: int, neighbours: int, fold: Integers
) -> Floats:
    votes = np.empty((len(labels), categories))
    for part in range(int(fold.max()) + 1):
        inside = fold == part
        votes[inside] = vote(seeds[~inside], labels[~inside], categories, seeds[inside], neighbours)
    return votes
