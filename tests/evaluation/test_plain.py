"""The plain rival: its statistics by hand, and whether a network is said to lose."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from micronas.data import DataSet, TensorSplit
from micronas.evaluation.plain import plain_rivals
from micronas.objectives.base import Answers, Judged, Objective
from micronas.objectives.classes import Classes
from micronas.objectives.labels import Labels
from micronas.objectives.regression import Regression
from micronas.tasks.series.statistics import statistics
from tests.evaluation.test_scores import printed


def windows(count: int, seed: int, objective: str) -> TensorSplit:
    """Noise around a level, which is what is to be told; four windows are of a group."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 2, (count,), generator=generator)
    inputs = 0.5 * torch.randn(count, 2, 16, 1, generator=generator)
    inputs[:, 0] += 3 * levels[:, None, None]
    targets = {
        "classes": levels,
        "regression": 10.0 * levels + 5,
        "labels": torch.stack([levels, 1 - levels], 1).float(),
    }
    return TensorSplit(inputs, targets[objective], groups=torch.arange(count) // 4)


def compared(objective: Objective, codes: Any) -> dict[str, dict[str, Any]]:
    parts = [windows(count, seed, objective.name) for seed, count in enumerate((80, 40, 40))]
    names = ("low", "high")[: 1 if objective.name == "regression" else 2]
    data = DataSet(*parts, names, (16, 1, 2), objective=objective, statistics=statistics)
    told = codes(parts[2].labels).numpy().astype(np.int8).reshape(40, -1)
    # rivals are of the data as read, even where the network sees them in another shape
    seen = data.seen_as((16, 2, 1)).test
    assert seen is not None
    judged = Judged(seen, names, "test", Answers(torch.zeros(40, len(names)), told), {})
    return plain_rivals(data, judged)


def test_statistics_of_a_window_by_hand() -> None:
    ramp = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7])
    found = statistics(torch.stack([ramp, -ramp])[None, :, :, None])[0]
    # by kind, of both channels: mean, deviation, extremes and quartiles, step, last quarter, last
    expected = [3.5, -3.5, *[math.sqrt(5.25)] * 2, 0, -7, 1.75, -5.25, 3.5, -3.5, 5.25, -1.75, 7, 0]
    expected += [1, 1, 6.5, -6.5, 7, -7]
    assert found[:20].tolist() == pytest.approx(expected)
    assert found[-1].item() == pytest.approx(-1, abs=1e-2), "they move against each other"
    tone = torch.sin(2 * math.pi * 4 * torch.arange(64) / 64)[None, None, :, None]
    bands = statistics(tone)[0, 10:]
    assert int(bands.argmax()) == 2, "four periods a window are in the octave from 4 to 7"


def test_a_network_that_knows_nothing_loses() -> None:
    found = compared(Classes(), lambda labels: torch.eye(2)[torch.zeros_like(labels)])
    assert [*found] == ["plain", "forest"]
    labels = windows(40, 2, "classes").labels
    for rival in found.values():
        assert rival["score"] == 1.0
        assert rival["ahead"] == pytest.approx(-(labels == 1).float().mean().item())
        assert rival["ahead_interval"][1] < 0


def test_one_that_knows_all_is_level() -> None:
    found = compared(Classes(), lambda labels: torch.eye(2)[labels])
    for rival in found.values():
        assert (rival["ahead"], rival["ahead_interval"]) == (0.0, [0.0, 0.0])


def test_trees_win_where_a_linear_model_cannot() -> None:
    """Two channels that are level on the same side or not: exclusive or."""

    def part(count: int, seed: int) -> TensorSplit:
        generator = torch.Generator().manual_seed(seed)
        sides = torch.randint(0, 2, (count, 2), generator=generator)
        noise = 0.3 * torch.randn(count, 2, 16, 1, generator=generator)
        inputs = noise + 4.0 * sides[:, :, None, None] - 2
        return TensorSplit(inputs, sides[:, 0] ^ sides[:, 1])

    parts = [part(count, seed) for seed, count in enumerate((200, 80, 80))]
    # levels alone: their correlation would make it linear
    data = DataSet(*parts, ("same", "other"), (16, 1, 2), statistics=lambda x: x.mean((2, 3)))
    nothing = Answers(torch.zeros(80, 2), np.zeros((80, 2), np.int8))
    found = plain_rivals(data, Judged(parts[2], data.classes, "test", nothing, {}))
    assert found["forest"]["name"] == "forest of 100 trees on 2 statistics"
    assert found["forest"]["score"] > 0.95
    assert found["plain"]["score"] < 0.75


def test_values_and_labels_have_a_rival_too() -> None:
    found = compared(Regression(unit="mm"), lambda labels: torch.zeros(40))
    both = compared(Labels(), lambda labels: 2 * labels - 1)
    for key in ("plain", "forest"):
        assert found[key]["score"] < 1.5, "mean absolute error, of levels that are 10 apart"
        assert found[key]["ahead"] < -3, "less is better"
        assert both[key]["score"] == pytest.approx(1.0)


def test_data_without_statistics_has_none() -> None:
    part = windows(40, 0, "classes")
    data = DataSet(part, part, part, ("low", "high"), (16, 1, 2))
    answers = Answers(torch.zeros(40, 2), np.zeros((40, 2), np.int8))
    assert plain_rivals(data, Judged(part, data.classes, "test", answers, {})) == {}


@pytest.mark.parametrize(
    ("ahead", "interval", "said"),
    [
        (-0.2, [-0.3, -0.1], "the network loses to it, -20 (-30 to -10) points"),
        (0.01, [-0.02, 0.04], "the network is ahead within noise, +1 (-2 to +4) points"),
        (0.2, [0.1, 0.3], "the network wins, +20 (+10 to +30) points"),
        (0.2, None, "too few groups to tell them apart, +20 points"),
    ],
)
def test_the_summary_says_who_wins(ahead: float, interval: Any, said: str) -> None:
    score: dict[str, Any] = {"name": "accuracy", "unit": "share", "float": 1.0, "int8": 0.5}
    rival = {
        "name": "linear model of 9 statistics",
        "score": 0.7,
        "ahead": ahead,
        "ahead_interval": interval,
    }
    found = {"scores": [{**score, "interval": None, "on": "x"}], "plain": rival, "forest": rival}
    text = printed({**found, "accuracy_name": "accuracy", "int8_accuracy_per_class": {}})
    for name in ("plain ", "forest"):
        assert f"{name}    70.0 % by a linear model of 9 statistics: {said}" in text
