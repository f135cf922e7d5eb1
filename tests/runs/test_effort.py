"""One number of epochs for search and training, and weights that go from one to the other."""

from pathlib import Path
from typing import Any

import pytest

import micronas
from micronas.errors import ConfigError
from micronas.runs.settings import settings_of
from tests.toy import SPACE, data

BATCH = {"batch_size": 40, "learning_rate": 1e-2}
BRIEF: dict[str, Any] = {
    "board": "stm32f446re",
    "budget": micronas.Budget(sram="6 KB"),
    "quantize": {"epochs": 1, "batch_size": 40},
    "quiet": True,
}


def settings(**keys: Any) -> Any:
    given = {"board": "stm32f446re", "space": "kws_small", "data": {"path": "words"}, **keys}
    return settings_of(given, space=None)


def test_the_strategy_says_how_much_of_the_effort_trains_the_winner_alone() -> None:
    found = settings(effort=200)
    assert (found.search.epochs, found.train.epochs) == (100, 100)
    with pytest.raises(ConfigError, match="nowhere:Mine"):
        settings(effort=200, search={"strategy": "nowhere:Mine"})
    with pytest.raises(ConfigError, match="must be one of auto"):  # a TypeError of ours
        settings(effort=200, search={"strategy": ["halving"]})
    found = settings(effort=200, search={"strategy": "single_stage"})
    assert (found.search.epochs, found.train.epochs) == (160, 40)
    assert settings(effort=2).train.epochs == 1
    plain = settings()
    assert plain.effort is None
    assert plain.search.epochs is None


def test_a_given_key_leaves_the_other_defaults_of_its_section() -> None:
    found = settings(
        train={"batch_size": 32}, quantize={"epochs": 2}, search={"trial": {"threads": 2}}
    )
    train, quantize, trial = found.train, found.quantize, found.search.trial
    assert (train.epochs, train.batch_size) == (200, 32)
    assert (quantize.epochs, quantize.learning_rate, quantize.warmup) == (2, 1e-4, 0.1)
    assert (trial.epochs, trial.batch_size, trial.threads) == (10, 64, 2)
    assert settings(effort=20).train.batch_size == 64


def test_what_is_stored_says_the_same_again() -> None:
    found = settings(effort=50)
    assert settings_of(found.model_dump(mode="json"), space=None) == found


def test_effort_and_epochs_that_disagree_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"effort=200, which gives train\.epochs=100, and train"):
        settings(effort=200, train={"epochs": 30})
    with pytest.raises(ConfigError, match="effort"):
        settings(effort=1)


@pytest.mark.long
def test_the_shipped_network_goes_on_from_what_the_search_learnt(tmp_path: Path) -> None:
    """One epoch at a rate of almost nothing: what it is worth is what pool or trials learnt."""

    def accuracy(strategy: dict[str, Any], name: str, **trial: float) -> float:
        run = micronas.run(
            data(),
            SPACE,
            folder=tmp_path / name,
            workers=1,
            search={**strategy, "draws": 4, "trial": {"epochs": 1, **BATCH, **trial}},
            train={"epochs": 1, "batch_size": 40, "learning_rate": 1e-6},
            **BRIEF,
        )
        assert run.metrics["tflm_mismatches"] == 0
        return run.metrics["float_accuracy"]

    assert accuracy({"strategy": "single_stage", "epochs": 40}, "shared") > 0.9
    halving = {"strategy": "halving", "generations": 0}
    assert accuracy(halving, "trials") > 0.9
    assert accuracy(halving, "without", learning_rate=1e-6) < 0.7
