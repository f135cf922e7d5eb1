import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from micronas.router.utility import utilities

Floats = NDArray[np.float64]


def shrunken(values: Floats, category: NDArray[np.int64], categories: int) -> Floats:
    """The rule of the docstring in loops."""
    prompts, columns = values.shape
    overall = values.mean(axis=0)
    groups = [values[category == each] for each in range(categories)]
    filled = [group for group in groups if len(group)]
    between, within = [], []
    size = prompts - sum(len(group) ** 2 for group in filled) / prompts
    for column in range(columns):
        inside = sum(((group[:, column] - group[:, column].mean()) ** 2).sum() for group in filled)
        noise = inside / max(prompts - len(filled), 1)
        spread = sum(
            len(group) * (group[:, column].mean() - overall[column]) ** 2 for group in filled
        )
        within.append(noise)
        between.append((spread - noise * (len(filled) - 1)) / size if size > 0 else 0.0)
    share = max(float(np.mean(between)), 0.0)
    result = np.tile(overall, (categories, 1))
    for row, group in enumerate(groups):
        for column in range(columns):
            if len(group) and share > 0:
                kept = share / (share + within[column] / len(group))
                result[row, column] += kept * (group[:, column].mean() - overall[column])
    return result


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 5), st.integers(1, 4))
def test_against_loops(seed: int, prompts: int, categories: int, experts: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(size=(prompts, experts))
    category = rng.integers(0, categories, prompts)
    hardness = scores.mean(axis=1, keepdims=True)
    expected = shrunken(hardness, category, categories) + shrunken(
        scores - hardness, category, categories
    )
    assert utilities(scores, category, categories) == pytest.approx(expected, abs=1e-9)


def test_noise_is_shrunken_away_and_signal_is_not() -> None:
    rng = np.random.default_rng(1)
    category = rng.integers(0, 40, 400)
    scores = (rng.uniform(size=(400, 3)) < [0.5, 0.6, 0.7]).astype(np.float64)
    noise = utilities(scores, category, 40)
    raw = np.array([scores[category == each].mean(axis=0) for each in range(40)])
    truth = np.array([0.5, 0.6, 0.7])
    assert np.square(noise - truth).mean() < 0.2 * np.square(raw - truth).mean()
    better = np.where((category < 20)[:, None], [0.9, 0.1, 0.5], [0.1, 0.9, 0.5])
    signal = utilities((rng.uniform(size=(400, 3)) < better).astype(np.float64), category, 40)
    assert (signal[:20, 0] > signal[:20, 1]).all()
    assert (signal[20:, 0] < signal[20:, 1]).all()
