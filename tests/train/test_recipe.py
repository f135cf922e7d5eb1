import math
from typing import Any

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
    assert Recipe(learning_rate=2.0, warmup=0).rate(0) == 2.0
    half = recipe.model_copy(update={"mean": True})
    assert half.rate(0.125) == recipe.rate(0.125)
    assert [half.rate(0.25 + 2 * done) for done in (0, 0.1875, 0.375)] == [
        pytest.approx(recipe.rate(0.25 + done)) for done in (0, 0.1875, 0.375)
    ]
    assert half.rate(1) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"momentum": 0.9}, "momentum"),
        ({"batch_size": 1}, "batch_size"),  # batch norm of a map of one position ended in a trace
        ({"amp": "fp16"}, "bf16"),
    ],
)
def test_unknown_keys_and_values_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Recipe(**wrong)
