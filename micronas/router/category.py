"""Step 1: a prompt's category with calibrated probabilities, or `general` if it is unlike all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from micronas.arrays import Floats, Integers
from micronas.errors import DataError
from micronas.language.neighbours import entropy, folds_of
from micronas.settings import Settings

_Share = Annotated[float, Field(ge=0, le=1)]

_RIDGES = (0.1, 0.3, 1.0)
"""Shares of the mean variance added to each one; validation chooses by least log-loss."""
_CORES = 2
"""Number of cores, drawn for each prompt, that the distributions are fitted on."""
_USUAL = 0.75
"""Share of the fitting prompts whose whole text decides; others are decided by a core."""
_NEVER = 50.0
"""Offset of a category without prompts, which the rest of a fold may lack."""


class CategorySettings(Settings):
    """Settings of the classifier of categories."""

    familiar: _Share = 0.95
    """Share of the fitting prompts, each classified by a fit without it, that is not `general`."""
    folds: Annotated[int, Field(ge=2)] = 5
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, eq=False)
class _Gaussians:
    """Normal distributions of categories, with one covariance, and of all prompts.

    Linear discriminants (Fisher) separate categories. The relative Mahalanobis distance (Ren et al.
    2021) measures how unlike all of them a prompt is: its distance to the nearest category, less
    that to all prompts, so that general variation, such as the topic, does not count.

    ``mean`` [dimensions] is of all vectors, ``quadratic`` the inverse covariance within categories
    less that of all vectors, ``weights`` are [dimensions, categories], ``offsets`` half the squared
    distances of the categories' means, ``shares`` the categories' shares of the fitting prompts.
    """

    mean: Floats
    quadratic: Floats
    weights: Floats
    offsets: Floats
    shares: Floats

    def __call__(self, vectors: Floats) -> tuple[Floats, Floats]:
        """Return logits [prompts, categories] and relative distances [prompts].

        Distances are per dimension, and negative where a category explains a prompt better than the
        distribution of all prompts.
        """
        centred = vectors - self.mean
        near = centred @ self.weights - self.offsets
        squares = ((centred @ self.quadratic) * centred).sum(axis=1)
        distance = (squares - 2 * near.max(axis=1)) / len(self.mean)
        return near + np.log(self.shares), np.asarray(distance)


def fit_gaussians(
    vectors: Floats, labels: Integers, *, categories: int, ridges: Sequence[float]
) -> list[_Gaussians]:
    """Fit on labelled prompts, once for each share of the mean variance added to diagonals."""
    known = labels >= 0
    vectors, labels = vectors[known], labels[known]
    found = np.bincount(labels, minlength=categories)
    counts = np.maximum(found, 1)
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    means = np.zeros((categories, vectors.shape[1]))
    np.add.at(means, labels, centred)
    means /= counts[:, None]
    within, everything = (each.T @ each / len(each) for each in (centred - means[labels], centred))
    fitted = []
    for ridge in ridges:
        inverse = _inverse(within, ridge)
        weights = inverse @ means.T
        quadratic = inverse - _inverse(everything, ridge)
        offsets = np.where(found > 0, (means.T * weights).sum(axis=0) / 2, _NEVER)
        fitted.append(_Gaussians(mean, quadratic, weights, offsets, counts / counts.sum()))
    return fitted


@dataclass(frozen=True, eq=False)
class _Classified:
    """Predictions of step 1, for each prompt.

    Calibrated probabilities [prompts, categories], their entropy relative to its maximum, the
    distance of `_Gaussians`, and the category's index, which is the number of categories for
    `general`.
    """

    probabilities: Floats
    entropy: Floats
    distance: Floats
    category: Integers

    def replaced(self, rows: Integers, other: "_Classified") -> "_Classified":
        """Return these predictions with those of `rows` from `other`, which holds them alone."""
        found = [each.copy() for each in vars(self).values()]
        for own, new in zip(found, vars(other).values(), strict=True):
            own[rows] = new
        return _Classified(*found)


@dataclass(frozen=True, eq=False)
class Categories:
    """The fitted first step."""

    names: tuple[str, ...]
    """Names of the categories, without `general`."""
    gaussians: _Gaussians
    """Distributions for logits and distances."""
    temperature: float
    """Divisor of logits."""
    max_distance: float
    """Largest distance that is not `general`."""
    usual: float
    """Distance of a whole prompt above which its nearest core decides."""

    def classify(self, vectors: Floats) -> _Classified:
        """Return categories of prompts from vectors of their cores, `embedded_cores`.

        The nearest core of an unusual prompt decides, which lacks what stands around the prompt.
        """
        return self._decide(*_nearest(self.gaussians, vectors))

    def _decide(self, logits: Floats, distances: Floats) -> _Classified:
        """Decide by logits and distances [2, prompts, ...] of whole prompts and nearest cores."""
        far = (distances[0] > self.usual).astype(np.int64)
        logits, distance = (each[far, np.arange(len(far))] for each in (logits, distances))
        probabilities = softmax(logits / self.temperature, axis=1)
        category = np.asarray(probabilities.argmax(axis=1), np.int64)
        category[distance > self.max_distance] = len(self.names)
        return _Classified(probabilities, entropy(probabilities), distance, category)


@dataclass(frozen=True, eq=False)
class Validation:
    """Quality of the first step, by out-of-fold predictions."""

    classified: _Classified
    """Predictions of each fitting prompt by a classifier fitted without it."""
    fold: Integers
    """Fold of each prompt."""
    summary: Mapping[str, float]
    """Ridge, temperature, accuracy, share that is not `general` and its precision."""


def fit_categories(
    vectors: Floats,
    labels: Integers,
    *,
    names: tuple[str, ...],
    settings: CategorySettings,
    reworded: Floats | None = None,
) -> tuple[Categories, Validation]:
    """Fit the classifier, with all choices by out-of-fold predictions.

    Ridge and temperature have the least log-loss; the largest distance is the quantile `familiar`
    over the prompts, each by a fit without its fold. Vectors of prompts' cores are [cores, prompts,
    dimensions], the whole prompt first; those of reworded prompts, to fit on as well, [copies,
    prompts, dimensions]. Prompts of the label -1 have no known category and are only predicted.
    Raises DataError if there are fewer labelled prompts than folds, or a category has none.
    """
    known = np.flatnonzero(labels >= 0)
    counts = np.bincount(labels[known], minlength=len(names))
    if len(known) < settings.folds or not counts.all():
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        lacking = f", none of {', '.join(missing)}" if missing else ""
        raise DataError(
            f"categories must have {settings.folds} labelled prompts, and one each, but have "
            f"{len(known)}{lacking}; label more"
        )
    fold = folds_of(labels, settings.folds, settings.seed)
    rows, right_ones = np.arange(len(labels)), labels[known]

    drawn = np.random.default_rng(settings.seed).integers(len(vectors), size=(_CORES, len(labels)))
    copies = np.concatenate([vectors[:1], vectors[drawn, rows]])
    if reworded is not None:
        copies = np.concatenate([copies, reworded])

    def fitted(some: Integers, ridges: Sequence[float]) -> list[_Gaussians]:
        among = copies[:, some].reshape(-1, copies.shape[-1])
        tiled = np.tile(labels[some], len(copies))
        return fit_gaussians(among, tiled, categories=len(names), ridges=ridges)

    def loss(logits: Floats) -> float:
        temperature = temperature_of(logits[known], right_ones)
        return _log_loss(logits[known] / temperature, right_ones)

    tried = (len(_RIDGES), 2, len(labels))
    logits, distances = np.empty((*tried, len(names))), np.empty(tried)
    for inside in (fold == number for number in range(int(fold.max()) + 1)):
        for place, gaussians in enumerate(fitted(rows[~inside], _RIDGES)):
            found = _nearest(gaussians, vectors[:, inside])
            logits[place][:, inside], distances[place][:, inside] = found
    best = int(np.argmin([loss(each[0]) for each in logits]))
    raw, distance = logits[best], distances[best]
    temperature = temperature_of(raw[0][known], right_ones)
    usual = float(np.quantile(distance[0], min(_USUAL, settings.familiar)))
    decisive = np.where(distance[0] > usual, distance[1], distance[0])
    model = Categories(
        names=names,
        gaussians=fitted(rows, _RIDGES[best : best + 1])[0],
        temperature=temperature,
        max_distance=float(np.quantile(decisive, settings.familiar)),
        usual=usual,
    )
    classified = model._decide(raw, distance)
    right = classified.probabilities[known].argmax(axis=1) == right_ones
    kept = classified.category[known] < len(names)
    summary = {
        "ridge": _RIDGES[best],
        "temperature": temperature,
        "accuracy": float(right.mean()),
        "kept": float(kept.mean()),
        "precision": float(right[kept].mean()) if kept.any() else 0.0,
    }
    return model, Validation(classified, fold, summary)


def temperature_of(logits: Floats, labels: Integers) -> float:
    """Return the temperature of least log-loss, between 0.05 and 20 (Guo et al. 2017)."""
    found = minimize_scalar(
        lambda log: _log_loss(logits / np.exp(log), labels),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
    )
    return float(np.exp(found.x))


def gaussians_arrays(gaussians: _Gaussians) -> dict[str, NDArray[Any]]:
    """Return the distributions as arrays for `gaussians_of`."""
    return {f"gaussians_{name}": value for name, value in vars(gaussians).items()}


def gaussians_of(arrays: Mapping[str, NDArray[Any]]) -> _Gaussians:
    """Return the distributions from `gaussians_arrays`."""
    return _Gaussians(*(arrays[f"gaussians_{name}"] for name in _Gaussians.__dataclass_fields__))


def _nearest(gaussians: _Gaussians, vectors: Floats) -> tuple[Floats, Floats]:
    """Return logits and distances [2, prompts, ...] of whole prompts and of their nearest cores."""
    size = vectors.shape[1]
    logits, distance = gaussians(vectors.reshape(-1, vectors.shape[-1]))
    rows = np.arange(size)
    rows = np.stack([rows, distance.reshape(-1, size).argmin(axis=0) * size + rows])
    return logits[rows], distance[rows]


def _inverse(covariance: Floats, ridge: float) -> Floats:
    """Return the inverse of a covariance, made regular."""
    identity = np.eye(len(covariance))
    variance = float(np.trace(covariance)) / len(covariance) or 1.0
    return np.asarray(cho_solve(cho_factor(covariance + ridge * variance * identity), identity))


def _log_loss(logits: Floats, labels: Integers) -> float:
    return -float(log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
