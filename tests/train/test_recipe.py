import math

import pytest

from micronas.errors import ConfigError
from micronas.train.recipe import Recipe


def test_schedule_by_hand() -> None:
    recipe = Recipe(learning_rate=2.0, warmup=0.25, mean=False)
    assert recipe.rate(0) == pytest.approx(0.08)
    assert recipe.rate(0.125) == pytest.approx(2 * (0.04 + 0.48))
    assert recipe.rate(0.25) == 2.0
    assert recipe.rate(0.5) == pytest.approx(2 * (1 + math.cos(math.pi / 3)) / 2)
    assert recipe.rate(0.625) == pytest.approx(1.0)
    assert recipe.rate(1) == pytest.approx(0, abs=1e-12)
    half = recipe.model_copy(update={"mean": True})
    assert half.rate(0.125) == recipe.rate(0.125)
    assert [half.rate(0.25 + 2 * done) for done in (0, 0.1875, 0.375)] == [
        pytest.approx(recipe.rate(0.25 + done)) for done in (0, 0.1875, 0.375)
    ]
    assert half.rate(1) == pytest.approx(1.0)


def test_schedule_without_warmup_starts_at_the_top() -> None:
    assert Recipe(learning_rate=2.0, warmup=0).rate(0) == 2.0


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ConfigError, match="momentum"):
        Recipe(momentum=0.9)


def test_batches_of_one_are_refused() -> None:
    """Batch norm of a map of one position ended in torch's traceback."""
    with pytest.raises(ConfigError, match="batch_size"):
        Recipe(batch_size=1)
