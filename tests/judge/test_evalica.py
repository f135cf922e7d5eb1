"""Bradley-Terry against evalica, which comes with the extra of the benchmarks."""

import numpy as np
import pytest

from micronas.arrays import Floats
from micronas.judge.battles import Battles
from micronas.judge.rating import bradley_terry
from tests.judge.test_rating import random_battles


def by_evalica(battles: Battles) -> Floats:
    import evalica  # with pandas, half a second

    winners = {0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw, 1.0: evalica.Winner.X}
    fit = evalica.bradley_terry(
        [battles.models[each] for each in battles.left],
        [battles.models[each] for each in battles.right],
        [winners[float(each)] for each in battles.outcome],
        weights=battles.weight.tolist(),
        tolerance=1e-14,
        limit=100_000,
    )
    scores = np.log([fit.scores[name] for name in battles.models])
    return np.asarray(scores - scores.mean())


@pytest.mark.parametrize("seed", range(5))
def test_equals_evalica_on_random_graphs(seed: int) -> None:
    battles = random_battles(9, 120, seed)
    np.testing.assert_allclose(bradley_terry(battles), by_evalica(battles), atol=1e-8)
