"""The better of two int8 networks of one training is kept."""

import json
from pathlib import Path

import pytest
import torch

from micronas.runs.rounding import leads
from micronas.runs.run import run_training
from micronas.runs.settings import load_training
from micronas.runs.table import metrics_table
from tests import toy

ARCHITECTURE = toy.SPACE.architecture(toy.SPACE.uniform(0.3))


@pytest.mark.long
@pytest.mark.parametrize(("rate", "kept"), [(1.0, "rounding"), (1e-4, "training")])
def test_a_rate_that_is_too_high_costs_nothing(tmp_path: Path, rate: float, kept: str) -> None:
    settings = load_training(
        None,
        [
            "board=stm32f446re",
            "data.path=x",
            "train={epochs: 6, batch_size: 16, learning_rate: 0.01}",
            f"quantize={{epochs: 2, batch_size: 16, learning_rate: {rate}}}",
        ],
    )
    run_training(ARCHITECTURE, settings, tmp_path / "run", data=toy.data())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    found = metrics["rounding"]
    other = "training" if kept == "rounding" else "rounding"
    assert found["kept"] == kept
    assert found[kept] >= found[other] - 0.02
    assert metrics["float_accuracy"] > 0.8
    assert metrics["int8_accuracy"] > metrics["float_accuracy"] - 0.05
    assert metrics["tflm_mismatches"] == 0
    said = metrics_table(metrics)
    assert ("try a lower quantize.learning_rate" in said) == (kept == "rounding")


@pytest.mark.parametrize(
    ("right", "wrong", "elsewhere", "here"),
    [
        (1, 0, True, False),  # one example of 100 is chance
        (9, 2, True, True),  # 7 +- 6.5 of 100
        (8, 2, True, False),  # 6 +- 6.2
        (0, 0, False, False),
        (2, 9, False, False),
    ],
)
def test_where_validation_judges_a_lead_must_be_beyond_noise(
    right: int, wrong: int, elsewhere: bool, here: bool
) -> None:
    ahead = torch.tensor([1.0] * right + [-1.0] * wrong + [0.0] * (100 - right - wrong)).double()
    apart, together = torch.arange(100), torch.zeros(100)
    assert leads(ahead, apart, beyond_noise=False) == elsewhere
    for groups in (apart, together):
        assert leads(ahead, groups, beyond_noise=True) == here
