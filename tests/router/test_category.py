from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import multivariate_normal

from micronas.errors import DataError
from micronas.language.neighbours import folds_of
from micronas.router.category import (
    CategorySettings,
    fit_categories,
    fit_gaussians,
    gaussians_arrays,
    gaussians_of,
    temperature_of,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def blobs(count: int, *, spread: float, seed: int = 0) -> tuple[Floats, Integers]:
    """Vectors around three directions of eight dimensions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    return np.eye(8)[labels] + spread * rng.normal(size=(count, 8)), labels


def learnt(vectors: Floats, labels: Integers, names: str = "abc", **settings: float) -> Any:
    """Categories of one core each, with names of a letter."""
    given = CategorySettings.model_validate(settings)
    return fit_categories(vectors[None], labels, names=tuple(names), settings=given)


def test_temperature_undoes_a_scale() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(20_000, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits, axis=1)])
    for scale in (0.5, 1.0, 3.0):
        assert temperature_of(scale * logits, labels) == pytest.approx(scale, rel=0.05)


@given(st.lists(st.integers(-1, 3), min_size=10, max_size=60), st.integers(2, 5))
def test_folds_hold_categories_in_proportion(labels: list[int], folds: int) -> None:
    array = np.array(labels, np.int64)
    fold = folds_of(array, folds, 0)
    for label in set(labels):
        counts = np.bincount(fold[array == label], minlength=folds)
        assert counts.max() - counts.min() <= 1


def test_categories_of_blobs() -> None:
    vectors, labels = blobs(300, spread=0.25)
    model, validation = learnt(vectors, labels)
    new, truth = blobs(200, spread=0.25, seed=1)
    found = model.classify(new[None])
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(200))
    assert (found.probabilities.argmax(axis=1) == truth).mean() > 0.95
    assert validation.summary["accuracy"] > 0.95
    again = gaussians_of(gaussians_arrays(model.gaussians))
    for first, second in zip(again(new), model.gaussians(new), strict=True):
        assert np.array_equal(first, second)


def test_evidence_is_out_of_fold() -> None:
    # labels without sense: only a classifier that saw a prompt can know its label
    vectors = np.random.default_rng(0).normal(size=(60, 80))
    labels = np.random.default_rng(1).integers(0, 3, 60)
    _, validation = learnt(vectors, labels)
    (memory,) = fit_gaussians(vectors, labels, categories=3, ridges=[0.03])
    assert (memory(vectors)[0].argmax(axis=1) == labels).all()
    assert validation.summary["accuracy"] < 0.6


@pytest.mark.parametrize("familiar", [0.8, 0.95])
def test_the_share_that_is_familiar_is_kept(familiar: float) -> None:
    vectors, labels = blobs(600, spread=0.3)
    model, validation = learnt(vectors, labels, familiar=familiar)
    assert validation.summary["kept"] == pytest.approx(familiar, abs=0.002)
    new, _ = blobs(4000, spread=0.3, seed=1)
    assert (model.classify(new[None]).category < 3).mean() == pytest.approx(familiar, abs=0.03)


def test_a_far_prompt_is_general() -> None:
    model, _ = learnt(*blobs(300, spread=0.1))
    # neither of the directions, and half-way between two of them
    asked = np.vstack([np.eye(8)[[0, 7]], (np.eye(8)[0] + np.eye(8)[1]) / 2])
    assert model.classify(asked[None]).category.tolist() == [0, 3, 3]


def test_the_core_of_the_least_distance_decides() -> None:
    model, _ = learnt(*blobs(300, spread=0.1))
    near, far = np.eye(8)[[0, 1, 2]], np.eye(8)[[7, 6, 5]]
    first, second = model.classify(np.stack([far, near])), model.classify(near[None])
    assert model.classify(far[None]).category.tolist() == [3, 3, 3]
    assert first.category.tolist() == second.category.tolist() == [0, 1, 2]
    assert np.array_equal(first.distance, second.distance)


def test_logits_and_distances_are_those_of_normal_distributions() -> None:
    vectors, labels = blobs(120, spread=0.3)
    ridge = 0.1
    _, fitted = fit_gaussians(vectors, labels, categories=3, ridges=[0.3, ridge])
    logits, distance = fitted(vectors)

    def law(rows: Floats, mean: Floats) -> multivariate_normal:
        covariance = np.cov(rows.T, bias=True)
        covariance += ridge * np.trace(covariance) / 8 * np.eye(8)
        return multivariate_normal(mean, covariance)

    means = np.array([vectors[labels == label].mean(axis=0) for label in range(3)])
    inside = vectors - means[labels]
    shares = np.log(np.bincount(labels) / 120)
    densities = np.stack([law(inside, mean).logpdf(vectors) for mean in means], axis=1)
    assert softmax(logits, axis=1) == pytest.approx(softmax(densities + shares, axis=1))
    everything = law(vectors, vectors.mean(axis=0))
    squares = -2 * (densities.max(axis=1) - law(inside, means[0]).logpdf(means[0]))
    wide = -2 * (everything.logpdf(vectors) - everything.logpdf(vectors.mean(axis=0)))
    assert distance == pytest.approx((squares - wide) / 8)


def test_a_category_that_a_fold_lacks_is_never_likely() -> None:
    vectors, labels = blobs(60, spread=0.1)
    (fitted,) = fit_gaussians(vectors, labels, categories=4, ridges=[0.1])
    logits, _ = fitted(vectors)
    assert (logits.argmax(axis=1) < 3).all()


def test_too_few_labels_are_one_error() -> None:
    vectors, labels = blobs(30, spread=0.1)
    with pytest.raises(DataError, match="none of d"):
        learnt(vectors, labels, "abcd")
    labels[4:] = -1
    with pytest.raises(DataError, match="5 labelled prompts, and one each, but have 4"):
        learnt(vectors, labels)
