"""Scores of clips and areas under ROC curves, against pairs counted one by one and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from micronas.data import Detection, TensorSplit
from micronas.errors import DataError
from micronas.objectives.clips import area, auc_interval, clip_scores, evaluate, partial_area, roc

CLIPS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
    lambda clips: len({anomalous for _, anomalous in clips}) == 2
)


def curve(clips: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return roc(np.array([score for score, _ in clips], float), np.array([bad for _, bad in clips]))


def detection(machines: list[int], anomalous: list[int], windows: int = 1) -> Detection:
    clips = torch.arange(len(machines)).repeat_interleave(windows)
    labels = torch.tensor(machines)[clips]
    split = TensorSplit(torch.zeros(len(clips), 1, 1, 1), labels)
    return Detection(
        split, clips, torch.tensor(machines), torch.tensor(anomalous, dtype=torch.bool), ("a", "b")
    )


@given(CLIPS)
def test_area_is_the_share_of_pairs_in_order(clips: list[tuple[int, bool]]) -> None:
    bad = [score for score, anomalous in clips if anomalous]
    good = [score for score, anomalous in clips if not anomalous]
    pairs = [(high > low) + 0.5 * (high == low) for high in bad for low in good]
    assert area(*curve(clips)) == pytest.approx(np.mean(pairs))


@given(st.permutations(range(30)), st.integers(1, 10), st.data())
def test_partial_area_counts_the_highest_normal_clips(
    scores: list[int], bad: int, data: st.DataObject
) -> None:
    """Without ties, the part left of k / n is made of the k highest of n normal clips."""
    high, normal = scores[:bad], sorted(scores[bad : bad + 20], reverse=True)
    k = data.draw(st.integers(1, 20))
    clips = [*((score, True) for score in high), *((score, False) for score in normal)]
    partial = sum(score > low for score in high for low in normal[:k]) / (bad * 20)
    limit = k / 20
    chance = limit * limit / 2
    expected = 0.5 * (1 + (partial - chance) / (limit - chance))
    assert partial_area(*curve(clips), limit=limit) == pytest.approx(expected)


def test_areas_are_those_of_scikit_learn() -> None:
    """``roc_auc_score(y, s)`` and ``roc_auc_score(y, s, max_fpr=0.1)`` of scikit-learn 1.9.1."""
    scores, anomalous = "121211100122221212111222100110", "011111100110110010000111100110"
    clips = [(int(score), flag == "1") for score, flag in zip(scores, anomalous, strict=True)]
    assert area(*curve(clips)) == pytest.approx(0.7217194570135747, abs=1e-12)
    assert partial_area(*curve(clips)) == pytest.approx(0.5273477812177503, abs=1e-12)


def test_a_clip_scores_the_mean_over_its_windows_of_its_own_machine() -> None:
    found = clip_scores(
        detection([0, 1], [0, 1], windows=2),
        np.array([[0.9, 0.1], [0.5, 0.5], [0.25, 0.75], [0.75, 0.25]]),
    )
    assert found.tolist() == [-0.7, -0.5]


def test_machines_are_judged_apart() -> None:
    """Scores of the two machines overlap, but within each machine they are in order."""
    cases = detection([0, 0, 1, 1, 1], [0, 1, 0, 1, 0])
    own = np.array([0.9, 0.8, 0.3, 0.2, 0.1])
    probabilities = np.stack([own, 1 - own], 1)
    probabilities[2:] = probabilities[2:, ::-1]
    scores = evaluate(cases, probabilities)
    assert scores["per_machine"]["a"] == {
        "auc": 1.0,
        "auc_interval": auc_interval(1.0, 1, 1),
        "pauc": 1.0,
    }
    assert scores["per_machine"]["b"]["auc"] == 0.5
    # The highest of two normal clips is above: no area left of 0.1, (1 - 0.005 / 0.095) / 2.
    assert scores["per_machine"]["b"]["pauc"] == pytest.approx((1 - 0.005 / 0.095) / 2)
    assert scores["auc"] == 0.75


def test_what_has_no_area_is_refused() -> None:
    with pytest.raises(DataError, match=r"normal and anomalous clips, but got 2 and 0"):
        evaluate(detection([0, 0], [0, 0]), np.full((2, 2), 0.5))
    with pytest.raises(DataError, match=r"= \[2, 2\], but are \[2, 3\]"):
        clip_scores(detection([0, 0], [0, 1]), np.zeros((2, 3)))


def test_an_interval_of_an_auc_by_hand() -> None:
    """At its ends the AUC is 1.96 of Hanley and McNeil's standard errors away, both means 10."""
    low, high = auc_interval(0.8, 10, 10)
    for end in (low, high):
        first, second = end / (2 - end), 2 * end**2 / (1 + end)
        variance = (end * (1 - end) + 9 * (first - end**2) + 9 * (second - end**2)) / 100
        assert abs(0.8 - end) == pytest.approx(1.959964 * variance**0.5)
    assert low < 0.8 < high < 1
    perfect = auc_interval(1.0, 10, 10)
    assert 0.7 < perfect[0] < perfect[1] == 1.0
    assert auc_interval(0.5, 40, 20) == pytest.approx(
        tuple(1 - end for end in reversed(auc_interval(0.5, 40, 20)))
    )


@given(st.floats(0, 1), st.integers(1, 200), st.integers(1, 200))
def test_an_interval_holds_its_auc(auc: float, anomalous: int, normal: int) -> None:
    low, high = auc_interval(auc, anomalous, normal)
    assert 0 <= low <= auc <= high <= 1


def test_the_interval_of_an_auc_is_of_units() -> None:
    """Fifteen windows of each of six people a side: taken as independent, they held the truth in
    60 % of cases."""
    source, held, people = np.random.default_rng(0), [], torch.arange(12).repeat_interleave(15)
    anomalous = torch.arange(180) >= 90
    split = TensorSplit(torch.zeros(180, 1, 1, 1), torch.zeros(180).long(), groups=people)
    cases = Detection(split, torch.arange(180), torch.zeros(180).long(), anomalous, ("a", "b"))
    for _ in range(60):
        scores = 0.6 * source.normal(size=12)[people] + 0.8 * source.normal(size=180)
        own = 1 / (1 + np.exp(scores + 1.2 * anomalous.numpy()))
        low, high = evaluate(cases, np.stack([own, 1 - own], 1))["auc_interval"]
        held.append(low <= 0.802 <= high)
    assert np.mean(held) > 0.88
    own = np.where(anomalous, 0.1, 0.9)
    perfect = evaluate(cases, np.stack([own, 1 - own], 1))
    assert perfect["auc_interval"] == auc_interval(1.0, 6, 6)


def test_the_interval_of_a_mean_adds_squares() -> None:
    """Two machines of one score: the mean's interval is narrower by the root of two."""
    both = detection([0] * 6 + [1] * 6, [0, 1] * 6)
    right = np.where(np.arange(12) < 4, 0.3 + 0.4 * (np.arange(12) % 2 == 0), 0.5)
    right[6:] = right[:6]
    found = evaluate(both, np.stack([right, right], 1))
    first, second = found["per_machine"].values()
    assert first == second
    for side in (0, 1):
        one = first["auc"] - first["auc_interval"][side]
        assert found["auc"] - found["auc_interval"][side] == pytest.approx(one / 2**0.5)
