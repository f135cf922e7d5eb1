"""What a run writes down: complete after an interruption, and without effect on the run."""

from pathlib import Path

import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.train.loop import evaluate
from micronas.train.network import Network
from micronas.train.recipe import Recipe
from tests import toy
from tests.training import finetune, fit

pytestmark = pytest.mark.usefixtures("device")

RECIPE = Recipe(epochs=3, batch_size=32)


def network() -> Network:
    generator = torch.Generator().manual_seed(0)
    return Network(toy.SPACE.architecture(toy.SPACE.uniform(0.5)).graph(), generator=generator)


def test_watching_changes_no_weight() -> None:
    training, validation = toy.split(128, 0), toy.split(40, 1)
    alone, watched = network(), network()
    fit(alone, training, RECIPE, seed=0)
    fit(watched, training, RECIPE, seed=0, validation=validation)
    for name, value in alone.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    plain = finetune(alone, training, RECIPE, seed=0)
    seen = finetune(watched, training, RECIPE, seed=0, validation=validation)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, seen.state_dict()[name]), name


def test_a_resumed_training_remembers_all_epochs(tmp_path: Path) -> None:
    training, validation = toy.split(128, 0), toy.split(40, 1)
    whole = Checkpoint()
    trained = fit(network(), training, RECIPE, seed=0, checkpoint=whole, validation=validation)
    for until in (2, None):
        fit(
            network(),
            training,
            RECIPE,
            seed=0,
            checkpoint=Checkpoint(tmp_path / "state"),
            until=until,
            validation=validation,
        )
    state = Checkpoint(tmp_path / "state").load("train")
    expected = whole.load("train")
    assert state["history"] == expected["history"]
    assert [epoch["number"] for epoch in state["history"]] == [1, 2, 3]
    last = evaluate(trained, validation)
    assert state["history"][-1]["validation_score"] == last.accuracy
    assert state["history"][-1]["validation_loss"] == last.loss
