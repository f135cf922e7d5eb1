import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import DataError
from micronas.language.neighbours import (
    CrossValidation,
    correct_prior,
    cross_validate,
    entropy,
    entropy_threshold,
    vote,
)


def test_votes_by_hand() -> None:
    seeds = np.array([[1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    votes = vote(seeds, np.array([0, 1, 2]), 3, np.array([[1, 0], [0, -1]], np.float32), 2)
    # cosines 1 and 0.6 besides 0.1 spread evenly; the second prompt is near to nothing
    assert votes[0] == pytest.approx(np.array([1 + 0.1 / 3, 0.6 + 0.1 / 3, 0.1 / 3]) / 1.7)
    assert votes[1] == pytest.approx([1 / 3] * 3)
    assert entropy(votes)[1] == pytest.approx(1)


def test_entropy() -> None:
    rows = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4])
    assert entropy(rows) == pytest.approx([0, math.log(2) / math.log(4), 1])
    assert entropy(np.ones((2, 1))).tolist() == [0, 0]
    assert not np.signbit(entropy(rows)).any()  # `router explain` printed -0


def test_threshold_by_hand() -> None:
    doubt = np.array([0.5, 0.1, 0.4, 0.2, 0.3])
    right = np.array([False, True, True, True, False])
    # in order of doubt: right, right, wrong, right, wrong = 1, 1, 0.67, 0.75, 0.6
    assert entropy_threshold(doubt, right, 1.0) == pytest.approx(0.25)
    assert entropy_threshold(doubt, right, 0.7) == pytest.approx(0.45)
    assert entropy_threshold(doubt, right, 0.5) == pytest.approx(0.55)
    assert entropy_threshold(np.array([0.1, 0.1]), np.array([True, False]), 0.9) == -1


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1), st.floats(0.1, 1))
def test_the_threshold_keeps_what_it_promises(rows: list[tuple[int, bool]], want: float) -> None:
    doubt = np.array([level / 5 for level, _ in rows])
    right = np.array([each for _, each in rows])
    kept = doubt <= entropy_threshold(doubt, right, want)
    assert not kept.any() or right[kept].mean() >= want


def validation(confusion: list[list[int]], sharpness: float) -> CrossValidation:
    return CrossValidation(5, 0.9, {5: 0.9}, np.array(confusion), sharpness, 0.5, 1.0, 0.9)


def shifted(counts: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Votes of three categories that are half as sure as they might be, and the truth.

    Logits are normal with the mean 2 at the right category: probabilities are exp(2 x).
    """
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), counts)
    logits = rng.normal(0, 1, (len(truth), 3))
    logits[np.arange(len(truth)), truth] += 2
    votes = np.exp(logits)
    return votes / votes.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prior_correction_finds_the_shares_of_the_prompts(seed: int) -> None:
    votes, truth = shifted([400, 400, 400], seed)
    confusion = np.zeros((3, 3), np.int64)
    np.add.at(confusion, (truth, votes.argmax(axis=1)), 1)
    prompts, true_label = shifted([1600, 240, 160], seed + 10)
    seeds = validation(confusion.tolist(), 2.0)
    found = correct_prior(prompts, seeds, "estimated")
    shares = np.array([0.8, 0.12, 0.08])
    assert np.abs(found.prior - shares).sum() < np.abs(1 / 3 - shares).sum() / 3
    before = (prompts.argmax(axis=1) == true_label).mean()
    assert (found.label == true_label).mean() > before + 0.02
    assert correct_prior(prompts, seeds, "seed").probabilities is prompts


def test_uniform_prior_by_hand() -> None:
    seeds = validation([[6, 2], [1, 1]], 1.0)
    found = correct_prior(np.array([[0.8, 0.2]]), seeds, "uniform")
    # seeds 0.8 and 0.2: an 0.8 vote for the first is no evidence at all
    assert found.probabilities[0] == pytest.approx([0.5, 0.5])
    assert found.prior == pytest.approx([0.5, 0.5])
    # 0.8^2 : 0.2^2 = 16 : 1 is, and the square root of the corrected 4 : 1 is what stays
    found = correct_prior(np.array([[0.8, 0.2]]), validation([[6, 2], [1, 1]], 2.0), "uniform")
    assert found.probabilities[0] == pytest.approx([2 / 3, 1 / 3])


def test_cross_validation_on_groups_apart() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    vectors = np.eye(3)[labels] + rng.normal(0, 0.1, (60, 3))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    tried = (40, 5, 1)
    found = cross_validate(vectors, labels, 3, 0, neighbours=tried)
    assert found.accuracy == found.coverage == found.precision == 1
    assert found.confusion.tolist() == np.diag([20, 20, 20]).tolist()
    # 1 and 5 neighbours are all right: the fewest are taken
    assert found.neighbours == 1
    swapped = labels.copy()
    swapped[[0, 20]] = [1, 0]
    assert cross_validate(vectors, swapped, 3, 0, neighbours=tried).neighbours == 5
    with pytest.raises(DataError, match="at least 5 labelled prompts"):
        cross_validate(vectors[:4], labels[:4], 3, 0, neighbours=tried)
