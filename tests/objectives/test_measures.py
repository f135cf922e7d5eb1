"""Measures of each objective and what chance does to them, counted one by one with weights."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from micronas.arrays import Floats
from micronas.objectives.base import Answers, Judged, Measure, Objective
from micronas.objectives.classes import Classes
from micronas.objectives.intervals import mean_interval, score_interval
from micronas.objectives.labels import Labels, average_precision
from micronas.objectives.regression import Regression
from micronas.splits import TensorSplit

Weighted = Callable[[Floats, Floats, Floats], float]
"""A measure of outputs, targets and weights of examples."""
SOURCE = np.random.default_rng(0)
OUTPUTS = np.round(SOURCE.normal(size=(60, 4)) * 3) / 3  # with ties
CLASS = SOURCE.integers(0, 4, 60).astype(float)
HELD = (SOURCE.random((60, 4)) < 0.3).astype(float)
VALUE = SOURCE.normal(2, 3, 60)
REGRESSION = Regression(unit="cycles", mean=2.0, deviation=3.0)


def f1(told: npt.NDArray[np.bool_], held: npt.NDArray[np.bool_], weights: Floats) -> float:
    right, all_ = weights[told & held].sum(), weights[told].sum() + weights[held].sum()
    return float(2 * right / all_)


def macro_f1(outputs: Floats, targets: Floats, weights: Floats) -> float:
    told = outputs.argmax(1)
    return float(np.mean([f1(told == each, targets == each, weights) for each in range(4)]))


def balanced(outputs: Floats, targets: Floats, weights: Floats) -> float:
    told = outputs.argmax(1)
    shares = [
        weights[(told == each) & (targets == each)].sum() / weights[targets == each].sum()
        for each in range(4)
    ]
    return float(np.mean(shares))


def mean_precision(outputs: Floats, targets: Floats, weights: Floats) -> float:
    """Of each example with a label, the share that have it among all at its score or more."""
    found = []
    for scores, held in zip(outputs.T, targets.T > 0, strict=True):
        precisions = [
            weights[(scores >= score) & held].sum() / weights[scores >= score].sum()
            for score in scores[held]
        ]
        found.append(np.average(precisions, weights=weights[held]))
    return float(np.mean(found))


def label_f1(outputs: Floats, targets: Floats, weights: Floats) -> float:
    pairs = zip(outputs.T > 0, targets.T > 0, strict=True)
    return float(np.mean([f1(*pair, weights) for pair in pairs]))


def off(outputs: Floats, targets: Floats) -> Floats:
    return 2 + 3 * outputs[:, 0] - targets


def explained(outputs: Floats, targets: Floats, weights: Floats) -> float:
    about = targets - np.average(targets, weights=weights)
    return float(1 - (weights * off(outputs, targets) ** 2).sum() / (weights * about**2).sum())


CASES: list[tuple[Measure, Floats, Weighted]] = [
    (Classes().measures["balanced_accuracy"], CLASS, balanced),
    (Classes().measures["macro_f1"], CLASS, macro_f1),
    (Labels().measures["map"], HELD, mean_precision),
    (Labels().measures["macro_f1"], HELD, label_f1),
    (REGRESSION.measures["r2"], VALUE, explained),
    (
        REGRESSION.measures["mae"],
        VALUE,
        lambda outputs, targets, w: float(np.average(abs(off(outputs, targets)), weights=w)),
    ),
    (
        REGRESSION.measures["rmse"],
        VALUE,
        lambda outputs, targets, w: float(np.average(off(outputs, targets) ** 2, weights=w) ** 0.5),
    ),
]


@pytest.mark.parametrize(("measure", "targets", "weighted"), CASES, ids=[c[0].name for c in CASES])
def test_values_average_to_the_measure_and_are_what_each_example_does_to_it(
    measure: Measure, targets: Floats, weighted: Weighted
) -> None:
    """The derivative by the weight of an example, by differences."""
    given = torch.from_numpy(targets)
    values = measure.values(torch.from_numpy(OUTPUTS), given.long() if targets is CLASS else given)
    whole = weighted(OUTPUTS, targets, np.ones(60))
    assert values.mean().item() == pytest.approx(whole)
    for place in range(0, 60, 7):
        ends = []
        for step in (1e-5, -1e-5):
            weights = np.ones(60)
            weights[place] += step
            ends.append(weighted(OUTPUTS, targets, weights))
        slope = 60 * (ends[0] - ends[1]) / 2e-5
        assert values[place].item() - whole == pytest.approx(slope, abs=1e-5)


def test_the_interval_of_a_mean_is_of_groups() -> None:
    """Four groups of two whose means are 1, 2, 3, 6: the mean is 3, squares of (mean - 3) / 4 are
    14 / 16, which the three others leave at 4 / 3 of that; Student's t at 3 is 3.182."""
    values = np.array([0.0, 2, 2, 2, 3, 3, 5, 7])
    found = mean_interval(values, np.repeat([4, 5, 6, 7], 2))
    assert found is not None
    half = 3.182 * (14 / 12) ** 0.5
    assert found == pytest.approx((3 - half, 3 + half), abs=0.04)
    assert mean_interval(values, np.repeat([4, 5], 4)) is None
    assert score_interval(values, np.repeat([4, 5, 6, 7], 2)) == [*found]
    assert score_interval(np.ones(8), np.repeat([4, 5, 6, 7], 2)) is None  # not 1 to 1


@pytest.mark.parametrize(("rare", "is_known"), [(9, False), (10, True)])
@pytest.mark.parametrize("kind", [Classes, Labels])
def test_nine_examples_of_a_class_give_no_interval(
    kind: type[Objective], rare: int, is_known: bool
) -> None:
    """Three of a rare class, all right, gave intervals that held the truth in 70 % of cases."""
    targets = (torch.arange(60) < rare).long()
    targets = targets if kind is Classes else torch.stack([targets, torch.arange(60) % 2], 1)
    codes = np.random.default_rng(0).integers(-128, 128, (60, 2)).astype(np.int8)
    answers = Answers(torch.from_numpy(codes).float(), codes)
    split = TensorSplit(torch.zeros(60, 1, 1, 1), targets)
    decision = {"thresholds": [0, 0]}
    found = kind().metrics(Judged(split, ("a", "b"), "test", answers, decision))
    key = "balanced_accuracy" if kind is Classes else "map"
    for measure in (key, "macro_f1"):
        assert (found[f"int8_{measure}_interval"] is not None) == is_known
    assert [each["interval"] is not None for each in found["scores"]][1:] == [is_known] * (
        len(found["scores"]) - 1
    )
    assert found["scores"][0]["interval"] is not None or kind is Labels  # accuracy has Wilson's


def test_an_interval_ends_where_its_measure_does() -> None:
    """Balanced accuracy of 98.5 % stood with 96.8 to 100.1 %."""
    codes = np.where(np.arange(60) % 2, 9, -9)
    codes[0] = 9
    both = np.stack([-codes, codes], 1).astype(np.int8)
    split = TensorSplit(torch.zeros(60, 1, 1, 1), torch.arange(60) % 2)
    judged = Judged(split, ("a", "b"), "test", Answers(torch.from_numpy(both).float(), both), {})
    low, high = Classes().metrics(judged)["int8_balanced_accuracy_interval"]
    assert 0.9 < low < high == 1.0
    held = torch.arange(60)[:, None] % torch.tensor([2, 3]) == 0
    codes = np.where(held, 9, -9).astype(np.int8)
    codes[0] = -9
    split = TensorSplit(torch.zeros(60, 1, 1, 1), held.float())
    answers, decision = Answers(torch.from_numpy(codes).float(), codes), {"thresholds": [0, 0]}
    found = Labels().metrics(Judged(split, ("a", "b"), "test", answers, decision))
    low, high = found["int8_macro_f1_interval"]
    assert 0.9 < low < high == 1.0 == found["scores"][1]["interval"][1]
    mae, _, r2 = Regression().measures.values()
    assert mae.within([-0.1, 1.1]) == [0.0, 1.1]
    assert r2.within([-0.1, 1.1]) == [-0.1, 1.0]


def test_intervals_of_average_precisions_hold_the_truth() -> None:
    """Scores of a label that half of 24 have are 1.5 deviations higher, and the true average
    precision is 0.854: symmetric intervals held it in 79 % of cases."""
    source = torch.Generator().manual_seed(0)
    targets = (torch.arange(24) < 12)[:, None].float()
    split = TensorSplit(torch.zeros(24, 1, 1, 1), targets)
    judged = Judged(split, ("a",), "test", Answers(targets, np.zeros((24, 1), np.int8)), {})
    precision, held = Labels().measures["map"], 0
    for _ in range(200):
        scores = torch.randn(24, 1, generator=source) + 1.5 * targets
        interval = Labels().interval(precision.values(scores, targets), judged)
        held += interval is not None and interval[0] <= 0.854 <= interval[1]
    assert 0.91 < held / 200 <= 0.98


def test_of_equal_values_nothing_is_explained_unless_they_are_met() -> None:
    explained = Regression(mean=1.0, deviation=2.0).measures["r2"]
    for off, r2 in ((0.5, 0.0), (0.0, 1.0)):
        assert explained(torch.full((4, 1), off), torch.ones(4)) == r2


def test_a_label_that_nobody_has_does_not_count() -> None:
    none = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert np.isnan(average_precision(none[:, 0], none[:, 1])[0])
    assert Labels().measures["map"](none, none) == 1.0
    assert Labels().measures["map"](none, torch.zeros(2, 2)) == 0.0


def test_trials_are_ranked_by_the_loss_of_what_is_asked_for() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    logits = torch.tensor([[2.0, 0], [2, 0], [2, 0], [1, 0]])
    by = {
        name: Classes().ranked_by(name).trial(logits, labels)
        for name in ("loss", "balanced_accuracy")
    }
    assert (by["loss"].score, by["loss"].values) == (0.75, "1110")
    assert by["balanced_accuracy"].loss == by["balanced_accuracy"].score == 0.5
    told = Tensor([[0.0], [1.0], [3.0]])
    trial = Regression(mean=10.0, deviation=2.0).trial(told, torch.tensor([10.0, 13.0, 14.0]))
    assert trial.loss == trial.score == 1.0  # it is off by 0, 1 and 2
    assert trial.values == [-0.0, -1.0, -2.0]


def test_a_report_draws_values_of_any_size() -> None:
    split = TensorSplit(torch.zeros(2, 1, 1, 1), torch.tensor([1.23456e-5, 2e-5]))
    answers = Answers(torch.zeros(2, 1), np.array([[1], [0]], np.int8), 0.5, 0)
    judged = Judged(split, ("current",), "test", answers, {})
    drawn = Regression(mean=1e-5, deviation=4e-6).figures(judged)["values"]
    assert (drawn["true"], drawn["told"]) == ([1.2346e-5, 2e-5], [1.2e-5, 1e-5])


def test_classes_of_any_frequency_count_alike() -> None:
    """Three of one class and one of another: weights 4 / 6 and 4 / 2."""
    labels, logits = torch.tensor([0, 0, 0, 1]), torch.randn(4, 2, generator=torch.Generator())
    weighted = Classes(balance="weights").fitted(labels, ("a", "b"))
    each = -logits.log_softmax(1)[torch.arange(4), labels]
    expected = (each[:3].mean() + each[3]) / 2
    assert weighted.loss(logits, labels).item() == pytest.approx(expected.item())
    # of 1 in 50, smoothing of torch's own kind put the rare class first for all
    labels = torch.arange(50).eq(0).long()
    told = torch.zeros(50, 2, requires_grad=True)
    weighted = Classes(balance="weights").fitted(labels, ("a", "b"))
    weighted.loss(told, labels, smoothing=0.05).backward()
    assert told.grad is not None
    assert torch.equal(told.grad.argmin(1), labels)
    source = torch.Generator().manual_seed(0)
    many = torch.tensor([0] * 900 + [1] * 100)
    drawn = many[Classes(balance="sampling").order(many, source)]
    assert len(drawn) == 1000
    assert 0.45 < drawn.float().mean() < 0.55


def test_a_threshold_is_the_best_by_f1() -> None:
    codes = np.array([[-100, 5], [-20, 6], [10, 7], [90, 8]], np.int8)
    held = torch.tensor([[0.0, 1], [1, 0], [1, 0], [1, 1]])
    decided = Labels().decision(codes, held, features="series")
    first, second = decided["thresholds"]
    assert -100 < first <= -20
    assert second <= 5  # to tell it of all: F1 is 2 / 3, and at 8 it is 2 / 3 too
    decided = Labels().decision(codes, 0 * held, features="series")
    assert (decided["thresholds"] > codes.max(0)).all()  # it was 0 for a label that none has
