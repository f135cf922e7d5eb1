"""Linear latency models against hand-made numbers and SciPy's solver."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from micronas.errors import ConfigError
from micronas.hardware.latency import LinearLatency, fit, mean_worst_percent


def test_predict_by_hand() -> None:
    model = LinearLatency({"conv_macs": 1e-5, "conv_outputs": 1e-3, "constant": 4.0})
    assert model.predict({"conv_macs": 2e6, "conv_outputs": 5e3, "macs": 1}) == 20 + 5 + 4


def test_predict_keeps_the_gradient_of_a_tensor() -> None:
    macs = torch.tensor(2e6, dtype=torch.float64, requires_grad=True)
    latency = LinearLatency({"constant": 1.0, "ops": 1e-5}).predict({"ops": 2 * macs})
    latency.backward()
    assert float(latency.detach()) == pytest.approx(41.0)
    assert float(macs.grad) == pytest.approx(2e-5)


def test_predict_names_a_missing_term() -> None:
    with pytest.raises(ConfigError, match="conv_mac is not among conv_macs; rename"):
        LinearLatency({"conv_mac": 1.0}).predict({"conv_macs": 1})


def networks(count: int) -> list[dict[str, float]]:
    return [{"conv_macs": 1e6 * (n + 1), "conv_outputs": 1e4 * (n * n + 3)} for n in range(count)]


def test_fit_recovers_an_exact_law() -> None:
    rows = networks(6)
    measured = [5 + 1.2e-5 * row["conv_macs"] + 1.3e-3 * row["conv_outputs"] for row in rows]
    result = fit(rows, measured, terms=("conv_macs", "conv_outputs", "constant"))
    expected = {"conv_macs": 1.2e-5, "conv_outputs": 1.3e-3, "constant": 5}
    assert dict(result.model.coefficients) == pytest.approx(expected)
    assert max(map(abs, result.errors)) < 1e-9
    assert result.left_out is not None
    assert max(map(abs, result.left_out)) < 1e-9
    assert result.r2 == pytest.approx(1)


def test_left_out_errors_by_hand() -> None:
    # one term: the fitted slope is sum(x/y) / sum((x/y)^2)
    rows, measured = [{"ops": 1.0}, {"ops": 2.0}, {"ops": 4.0}], [1.0, 4.0, 4.0]
    result = fit(rows, measured, terms=("ops",))
    ratios = [1.0, 0.5, 1.0]
    for left in range(3):
        others = [ratio for index, ratio in enumerate(ratios) if index != left]
        slope = sum(others) / sum(ratio**2 for ratio in others)
        assert result.left_out[left] == pytest.approx(slope * ratios[left] - 1)


def test_no_left_out_errors_with_as_few_networks_as_terms() -> None:
    result = fit(networks(2), [10.0, 25.0], terms=("conv_macs", "constant"))
    assert result.left_out is None


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(4, 12), columns=st.integers(1, 4))
def test_fit_equals_scipy(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(0, 7, columns)
    matrix = rng.uniform(0.1, 1, (rows, columns)) * scales
    measured = np.abs(matrix @ (rng.normal(size=columns) / scales)) + rng.uniform(0.1, 1, rows)
    terms = [f"t{column}" for column in range(columns)]
    features = [dict(zip(terms, row.tolist(), strict=True)) for row in matrix]
    result = fit(features, measured.tolist(), terms=terms)
    found = np.array([result.model.coefficients[term] for term in terms])
    _, best = nnls(matrix / measured[:, None] / scales, np.ones(rows))
    assert (found >= 0).all()
    assert np.linalg.norm(matrix @ found / measured - 1) == pytest.approx(best, rel=1e-7)


@pytest.mark.parametrize(
    ("latencies", "terms", "message"),
    [
        ([1.0, 2.0], ("conv_macs",), "3 networks, 2 latencies"),
        ([1.0, 2.0, 3.0], (), "0 terms"),
        ([1.0, 2.0, 3.0], ("conv_macs", "conv_outputs", "a", "b"), "drop terms"),
        ([1.0, 0.0, 3.0], ("conv_macs",), "positive"),
        ([1.0, math.nan, 3.0], ("conv_macs",), "positive"),
    ],
)
def test_impossible_fits(latencies: list[float], terms: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(networks(3), latencies, terms=terms)


def test_mean_and_worst_are_absolute() -> None:
    assert mean_worst_percent([-0.5, 0.25]) == (37.5, 50.0)
