"""What a run writes down: complete after an interruption, and without effect on the run."""

from pathlib import Path

import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.search import SearchResult
from micronas.nas.settings import DnasSettings
from micronas.progress import Progress
from micronas.train.loop import evaluate
from micronas.train.network import Network
from micronas.train.recipe import Recipe
from tests import toy
from tests.training import finetune, fit, search

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
    assert state is not None
    assert expected is not None
    assert state["history"] == expected["history"]
    assert [epoch["number"] for epoch in state["history"]] == [1, 2, 3]
    last = evaluate(trained, validation)
    assert state["history"][-1]["validation_score"] == last.accuracy
    assert state["history"][-1]["validation_loss"] == last.loss


class _EnoughError(Exception):
    """Raised by a listener that stops a search."""


def searched(checkpoint: Checkpoint, progress: Progress | None = None) -> SearchResult:
    return search(
        toy.SPACE,
        toy.few(),
        board=Board.load("stm32f446re"),
        budget=Budget(latency=20.0),
        settings=DnasSettings(
            steps=24,
            warmup=20,
            batch_size=16,
            candidates=2,
            finalists=1,
            trial=Recipe(epochs=1, batch_size=32),
        ),
        checkpoint=checkpoint,
        progress=progress,
    )


def test_a_resumed_search_remembers_all_rounds_and_gates(tmp_path: Path) -> None:
    whole = searched(Checkpoint())
    rounds = 0

    def stop(*_: object) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise _EnoughError

    with pytest.raises(_EnoughError):
        searched(Checkpoint(tmp_path / "state"), stop)
    resumed = searched(Checkpoint(tmp_path / "state"))
    assert resumed.gates == whole.gates
    assert len(resumed.gates) == len(resumed.history)
    names = [decision.name for decision in toy.SPACE.decisions]
    assert all(list(each) == names for each in resumed.gates)
