import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from micronas.errors import DataError
from micronas.router.category import (
    CategorySettings,
    Kind,
    Neighbours,
    calibration_error,
    centroid_distance,
    centroids_of,
    classifier_arrays,
    classifier_of,
    fit_categories,
    folds_of,
    temperature_of,
)
from micronas.router.network import Network, fit_network

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def blobs(count: int, *, spread: float, seed: int = 0) -> tuple[Floats, Integers]:
    """Vectors around three directions of eight dimensions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    return np.eye(8)[labels] + spread * rng.normal(size=(count, 8)), labels


@pytest.mark.parametrize("loss", ["classes", "squares"])
@pytest.mark.parametrize("hidden", [(), (4,), (5, 3)])
def test_a_fit_ends_where_the_loss_is_flat(loss: str, hidden: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    vectors, labels = blobs(60, spread=0.5)
    targets = np.eye(3)[labels] if loss == "classes" else rng.normal(size=(60, 2))
    penalty = 0.05
    found = fit_network(vectors, targets, loss=loss, penalty=penalty, hidden=hidden)  # type: ignore[arg-type]

    def objective(layers: list[Floats]) -> float:
        outputs = Network(tuple(layers)).logits(vectors)
        if loss == "classes":
            value = -(targets * log_softmax(outputs, axis=1)).sum(axis=1).mean()
        else:
            value = ((outputs - targets) ** 2).sum(axis=1).mean() / 2
        return float(value + penalty / 2 * sum((layer[:-1] ** 2).sum() for layer in layers))

    layers = list(found.layers)
    for number, layer in enumerate(layers):
        slopes = np.empty_like(layer)
        for place in np.ndindex(layer.shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = layer.copy()
                moved[place] += step
                values.append(objective([*layers[:number], moved, *layers[number + 1 :]]))
            slopes[place] = (values[0] - values[1]) / 2e-5
        assert np.abs(slopes).max() < 2e-3


def test_a_hidden_layer_learns_what_a_line_cannot() -> None:
    vectors = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    targets = np.eye(2)[[0, 1, 1, 0]]
    for hidden, right in (((), 2), ((8,), 4)):
        found = fit_network(vectors, targets, loss="classes", penalty=1e-4, hidden=hidden)
        matches = found.logits(vectors).argmax(axis=1) == targets.argmax(axis=1)
        assert (matches.sum() == 4) == (right == 4)


def test_temperature_undoes_a_scale() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(20_000, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits, axis=1)])
    for scale in (0.5, 1.0, 3.0):
        assert temperature_of(scale * logits, labels) == pytest.approx(scale, rel=0.05)


def test_calibration_error_by_hand() -> None:
    # two prompts in one bin, one right: |1 - 1.84|; one alone: |0 - 0.4|... over three prompts
    probabilities = np.array([[0.92, 0.08], [0.08, 0.92], [0.6, 0.4]])
    error = calibration_error(probabilities, np.array([0, 0, 1]), bins=10)
    assert error == pytest.approx((abs(1 - 1.84) + 0.6) / 3)
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0


@settings(deadline=None)
@given(st.lists(st.integers(-1, 3), min_size=10, max_size=60), st.integers(2, 5))
def test_folds_hold_categories_in_proportion(labels: list[int], folds: int) -> None:
    array = np.array(labels, np.int64)
    fold = folds_of(array, folds, 0)
    for label in set(labels):
        counts = np.bincount(fold[array == label], minlength=folds)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("kind", ["logistic", "knn", "mlp"])
def test_categories_of_blobs(kind: Kind) -> None:
    vectors, labels = blobs(300, spread=0.25)
    wanted = CategorySettings(classifier=kind)
    model, validation = fit_categories(vectors, labels, names=("a", "b", "c"), settings=wanted)
    new, truth = blobs(200, spread=0.25, seed=1)
    found = model.classify(new)
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(200))
    assert (found.probabilities.argmax(axis=1) == truth).mean() > 0.95
    assert validation.summary["accuracy"] > 0.95
    again = classifier_of(classifier_arrays(model.classifier))
    assert np.array_equal(again.logits(new), model.classifier.logits(new))


@pytest.mark.parametrize("kind", ["logistic", "knn", "mlp"])
def test_evidence_is_out_of_fold(kind: Kind) -> None:
    # labels without sense: only a classifier that saw a prompt can know its label
    vectors = np.random.default_rng(0).normal(size=(60, 80))
    labels = np.random.default_rng(1).integers(0, 3, 60)
    _, validation = fit_categories(
        vectors, labels, names=("a", "b", "c"), settings=CategorySettings(classifier=kind)
    )
    memory = fit_network(vectors, np.eye(3)[labels], loss="classes", penalty=1e-4)
    assert (memory.logits(vectors).argmax(axis=1) == labels).all()
    assert validation.summary["accuracy"] < 0.6


def test_the_stated_precision_is_kept_and_the_rest_is_general() -> None:
    vectors, labels = blobs(600, spread=0.7)
    wanted = CategorySettings(precision=0.95, unusual=0.0)
    model, validation = fit_categories(vectors, labels, names=("a", "b", "c"), settings=wanted)
    assert validation.summary["accuracy"] < 0.9
    kept = validation.classified.category < 3
    assert (validation.classified.category[kept] == labels[kept]).mean() >= 0.95
    assert 0.2 < kept.mean() < 1
    new, truth = blobs(4000, spread=0.7, seed=1)
    category = model.classify(new).category
    assert (category[category < 3] == truth[category < 3]).mean() > 0.92


def test_a_far_prompt_is_general() -> None:
    vectors, labels = blobs(300, spread=0.1)
    model, _ = fit_categories(
        vectors, labels, names=("a", "b", "c"), settings=CategorySettings(unusual=0.01)
    )
    assert model.classify(np.eye(8)[[0, 7]]).category.tolist() == [0, 3]
    without, _ = fit_categories(
        vectors, labels, names=("a", "b", "c"), settings=CategorySettings(unusual=0.0)
    )
    assert without.max_distance > model.max_distance


def test_distance_by_hand() -> None:
    vectors = np.array([[2.0, 0.0], [0.0, 3.0], [4.0, 0.0], [9.0, 9.0]])
    centroids = centroids_of(vectors, np.array([0, 1, 0, -1]), 2)
    assert centroids.tolist() == [[1, 0], [0, 1]]
    distance = centroid_distance(np.array([[3.0, 4.0], [-1.0, 0.0]]), centroids)
    assert distance == pytest.approx([0.2, 1.0], abs=1e-6)


def test_neighbours_by_hand() -> None:
    units = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    logits = Neighbours(units, np.array([0, 1, 1]), 2, 2).logits(np.array([[5.0, 0.0]]))
    assert np.exp(logits[0]) == pytest.approx([1.05 / 1.9, 0.85 / 1.9])


def test_too_few_labels_are_one_error() -> None:
    vectors, labels = blobs(30, spread=0.1)
    settings = CategorySettings()
    with pytest.raises(DataError, match="none of d"):
        fit_categories(vectors, labels, names=("a", "b", "c", "d"), settings=settings)
    labels[4:] = -1
    with pytest.raises(DataError, match="5 labelled prompts, and one each, but have 4"):
        fit_categories(vectors, labels, names=("a", "b", "c"), settings=settings)
