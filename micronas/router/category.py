"""Step 1: a prompt's category, with calibrated probabilities and two measures of doubt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from micronas.errors import DataError
from micronas.language.embedders import unit
from micronas.language.neighbours import entropy, entropy_threshold, vote
from micronas.router.network import Network, fit_network
from micronas.settings import Settings

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Kind = Literal["logistic", "knn", "mlp"]
Share = Annotated[float, Field(ge=0, le=1)]

_STRENGTHS: dict[Kind, tuple[float, ...]] = {
    "logistic": (1e-3, 1e-4, 1e-5),
    "knn": (5, 10, 20, 40),
    "mlp": (1e-3, 1e-4),
}
"""Penalties, or numbers of neighbours, of which validation takes the one of least log-loss."""
_HIDDEN, _STEPS = 32, 100


class Classifier(Protocol):
    """Anything that gives categories logits; what is more likely has the larger one."""

    def logits(self, vectors: Floats) -> Floats:
        """Return [prompts, categories]."""
        ...


class CategorySettings(Settings):
    """Settings of the classifier of categories."""

    classifier: Kind = "logistic"
    precision: Share = 0.9
    """Share of right categories wanted among prompts that are not sent to `general`."""
    unusual: Share = 0.01
    """Share of the fitting prompts that counts as too far from all categories."""
    folds: Annotated[int, Field(ge=2)] = 5
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Votes of the nearest vectors by cosine.

    Attributes
    ----------
    vectors
        Unit vectors [prompts, dimensions].
    labels
        Category of each [prompts].
    categories
        How many there are.
    count
        How many of the nearest vote.
    """

    vectors: NDArray[np.float32]
    labels: Integers
    categories: int
    count: int

    def logits(self, vectors: Floats) -> Floats:
        """Return the logarithms of shares of votes [prompts, categories]."""
        shares = vote(self.vectors, self.labels, self.categories, unit(vectors), self.count)
        return np.asarray(np.log(shares))


@dataclass(frozen=True, eq=False)
class Classified:
    """Predictions of step 1.

    Attributes
    ----------
    probabilities
        Calibrated [prompts, categories].
    entropy
        Of the probabilities over its maximum, 0 to 1 [prompts].
    distance
        1 - cosine to the nearest centroid of a category [prompts].
    category
        Index [prompts]; the number of categories stands for `general`.
    """

    probabilities: Floats
    entropy: Floats
    distance: Floats
    category: Integers


@dataclass(frozen=True, eq=False)
class Categories:
    """The fitted first step.

    Attributes
    ----------
    names
        Of the categories, `general` not among them.
    temperature
        Logits are divided by it.
    centroids
        Unit vectors [categories, dimensions].
    max_entropy, max_distance
        Prompts above either are `general`.
    """

    names: tuple[str, ...]
    classifier: Classifier
    temperature: float
    centroids: NDArray[np.float32]
    max_entropy: float
    max_distance: float

    def classify(self, vectors: Floats) -> Classified:
        """Return categories of prompts from their vectors [prompts, dimensions]."""
        probabilities = softmax(self.classifier.logits(vectors) / self.temperature, axis=1)
        distance = centroid_distance(vectors, self.centroids)
        return self._decide(probabilities, distance)

    def _decide(self, probabilities: Floats, distance: Floats) -> Classified:
        doubt = entropy(probabilities)
        category = np.asarray(probabilities.argmax(axis=1), np.int64)
        category[(doubt > self.max_entropy) | (distance > self.max_distance)] = len(self.names)
        return Classified(probabilities, doubt, distance, category)


@dataclass(frozen=True, eq=False)
class Validation:
    """Quality of the first step, by out-of-fold predictions.

    Attributes
    ----------
    classified
        Every fitting prompt by a classifier that was fitted without it.
    fold
        Fold of each prompt.
    summary
        Strength, temperature, accuracy, calibration error before and after, share kept from
        `general` and precision of those.
    """

    classified: Classified
    fold: Integers
    summary: Mapping[str, float]


def fit_categories(
    vectors: Floats,
    labels: Integers,
    *,
    names: tuple[str, ...],
    settings: CategorySettings,
    truth: Integers | None = None,
) -> tuple[Categories, Validation]:
    """Fit the classifier; everything chosen is chosen on out-of-fold predictions.

    The strength of regularisation and the temperature have the least log-loss; the largest
    entropy is that at which `precision` of the labels below it are right.

    Parameters
    ----------
    vectors
        [prompts, dimensions].
    labels
        Index of each prompt's category, -1 where unknown: such prompts are predicted only.
    truth
        The labels that validation may believe, where others were guessed; all by default.

    Raises
    ------
    DataError
        If there are fewer labelled prompts than folds, or a category has none.
    """
    known = np.flatnonzero((labels if truth is None else truth) >= 0)
    counts = np.bincount(labels[known], minlength=len(names))
    if len(known) < settings.folds or not counts.all():
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        lacking = f", none of {', '.join(missing)}" if missing else ""
        raise DataError(
            f"categories must have {settings.folds} labelled prompts, and one each, but have "
            f"{len(known)}{lacking}; label more"
        )
    fold = folds_of(labels, settings.folds, settings.seed)
    right_ones = labels[known]

    def loss(logits: Floats) -> float:
        temperature = temperature_of(logits[known], right_ones)
        return _log_loss(logits[known] / temperature, right_ones)

    tried: dict[float, Floats] = {}
    for strength in _STRENGTHS[settings.classifier]:
        logits = np.empty((len(labels), len(names)))
        for inside, rest in _parts(fold):
            fitted = _fit(vectors, labels, rest, len(names), strength, settings)
            logits[inside] = fitted.logits(vectors[inside])
        tried[strength] = logits
    best = min(tried, key=lambda strength: loss(tried[strength]))
    raw = tried[best]
    temperature = temperature_of(raw[known], right_ones)
    probabilities = softmax(raw / temperature, axis=1)
    distance = np.empty(len(labels))
    for inside, rest in _parts(fold):
        distance[inside] = centroid_distance(
            vectors[inside], centroids_of(vectors[rest], labels[rest], len(names))
        )
    right = probabilities[known].argmax(axis=1) == right_ones
    model = Categories(
        names=names,
        classifier=_fit(vectors, labels, np.arange(len(labels)), len(names), best, settings),
        temperature=temperature,
        centroids=centroids_of(vectors, labels, len(names)),
        max_entropy=entropy_threshold(entropy(probabilities[known]), right, settings.precision),
        max_distance=float(np.quantile(distance, 1 - settings.unusual)),
    )
    classified = model._decide(probabilities, distance)
    kept = classified.category[known] < len(names)
    summary = {
        "strength": best,
        "temperature": temperature,
        "accuracy": float(right.mean()),
        "calibration_error_before": calibration_error(softmax(raw[known], axis=1), right_ones),
        "calibration_error": calibration_error(probabilities[known], right_ones),
        "kept": float(kept.mean()),
        "precision": float(right[kept].mean()) if kept.any() else 0.0,
    }
    return model, Validation(classified, fold, summary)


def folds_of(labels: Integers, folds: int, seed: int) -> Integers:
    """Return a fold for each prompt, categories in proportion."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    fold = np.empty(len(labels), np.int64)
    fold[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(labels)) % folds
    return fold


def temperature_of(logits: Floats, labels: Integers) -> float:
    """Return the temperature of least log-loss, between 0.05 and 20 (Guo et al. 2017)."""
    found = minimize_scalar(
        lambda log: _log_loss(logits / np.exp(log), labels),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
    )
    return float(np.exp(found.x))


def calibration_error(probabilities: Floats, labels: Integers, *, bins: int = 15) -> float:
    """Return the expected calibration error of the likeliest categories.

    Mean over prompts of |share right - mean probability| in the bin of equal width that the
    probability lies in.
    """
    top = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    place = np.minimum((top * bins).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(place, right - top, bins)).sum() / len(labels))


def centroids_of(vectors: Floats, labels: Integers, categories: int) -> NDArray[np.float32]:
    """Return the mean direction of each category's vectors [categories, dimensions]."""
    sums = np.zeros((categories, vectors.shape[1]))
    np.add.at(sums, labels[labels >= 0], unit(vectors)[labels >= 0])
    return unit(sums)


def centroid_distance(vectors: Floats, centroids: NDArray[np.float32]) -> Floats:
    """Return 1 - cosine to the nearest centroid [prompts]."""
    return np.asarray(1 - (unit(vectors) @ centroids.T).max(axis=1), np.float64)


def classifier_arrays(classifier: Classifier) -> dict[str, NDArray[Any]]:
    """Return what `classifier_of` makes the classifier from."""
    if isinstance(classifier, Neighbours):
        return {
            "neighbours": classifier.vectors,
            "labels": classifier.labels,
            "counts": np.array([classifier.categories, classifier.count]),
        }
    if isinstance(classifier, Network):
        return {f"layer{number}": layer for number, layer in enumerate(classifier.layers)}
    raise DataError(f"a {type(classifier).__name__} cannot be saved; use a Network or Neighbours")


def classifier_of(arrays: Mapping[str, NDArray[Any]]) -> Classifier:
    """Return the classifier of `classifier_arrays`."""
    if "neighbours" in arrays:
        categories, count = arrays["counts"].tolist()
        return Neighbours(arrays["neighbours"], arrays["labels"], categories, count)
    layers = sorted(name for name in arrays if name.startswith("layer"))
    return Network(tuple(arrays[name] for name in layers))


def _fit(
    vectors: Floats,
    labels: Integers,
    part: Integers,
    categories: int,
    strength: float,
    settings: CategorySettings,
) -> Classifier:
    """Fit one classifier on the labelled prompts of a part."""
    part = part[labels[part] >= 0]
    if settings.classifier == "knn":
        return Neighbours(unit(vectors[part]), labels[part], categories, int(strength))
    targets = np.eye(categories)[labels[part]]
    if settings.classifier == "mlp":
        return fit_network(
            vectors[part],
            targets,
            loss="classes",
            penalty=strength,
            hidden=(_HIDDEN,),
            steps=_STEPS,
            seed=settings.seed,
        )
    return fit_network(vectors[part], targets, loss="classes", penalty=strength)


def _parts(fold: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Yield the prompts of each fold, and all others."""
    for number in range(int(fold.max()) + 1):
        yield np.flatnonzero(fold == number), np.flatnonzero(fold != number)


def _log_loss(logits: Floats, labels: Integers) -> float:
    return -float(log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
