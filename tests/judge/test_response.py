"""Item response: held against the posterior written out, and against planted truth."""

import numpy as np
import pytest

from micronas.judge.response import expected, pool_rates, respond


def planted(
    prompts: int, seed: int, strength: np.ndarray, slope: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Chances [prompts, models] and wins drawn by them, on prompts of normal ease."""
    rng = np.random.default_rng(seed)
    truth = 1 / (1 + np.exp(-strength - slope * 2 * rng.standard_normal((prompts, 1))))
    return truth, (rng.random(truth.shape) < truth).astype(float)


def test_what_is_not_judged_is_expected_from_its_row_and_column() -> None:
    truth, won = planted(600, 0, np.linspace(-3, 1, 40))
    won[np.random.default_rng(1).random(truth.shape) < 0.5] = np.nan
    won[0] = np.nan
    found = respond(won).chance
    gaps = np.isnan(won)
    rates = np.broadcast_to(np.nanmean(won, axis=0), won.shape)
    error = np.abs(found - truth)[gaps].mean()
    assert error < 0.08 < np.abs(rates - truth)[gaps].mean() / 2
    # a prompt that nobody was judged on is an average one: its models win what they win elsewhere
    np.testing.assert_allclose(found[0], rates[0], atol=0.05)
    # whoever wins, the other loses
    np.testing.assert_allclose(respond(1 - won).chance, 1 - found, atol=1e-3)
    filled = expected(won)
    np.testing.assert_array_equal(filled[gaps], found[gaps])
    np.testing.assert_array_equal(filled[~gaps], won[~gaps])


def test_a_fit_is_the_mode_of_the_posterior() -> None:
    _, won = planted(200, 2, np.linspace(-2, 1, 4), np.array([0.6, 0.9, 1.2, 1.6]))
    won[np.random.default_rng(3).random(won.shape) < 0.3] = np.nan
    fit = respond(won, steps=2000)

    def posterior(strength: np.ndarray, steepness: np.ndarray) -> float:
        """Log-density, prompt by prompt: eases from -6 to 6, priors of deviation 3 and 0.5."""
        total = -(strength**2).sum() / 18 - 2 * (steepness**2).sum()
        for row in won:
            density = fit.share.copy()
            for outcome, own, log_slope in zip(row, strength, steepness, strict=True):
                win = 1 / (1 + np.exp(-own - np.exp(log_slope) * np.linspace(-6, 6, 25)))
                if not np.isnan(outcome):
                    density *= (win**outcome * (1 - win) ** (1 - outcome)) ** fit.precision
            total += np.log(density.sum())
        return float(total)

    best = posterior(fit.strength, fit.steepness)
    for model in range(4):
        for step in (-0.05, 0.05):
            moved = np.eye(4)[model] * step
            assert posterior(fit.strength + moved, fit.steepness) < best
            # slopes are as large as the grid says in the mean
            assert posterior(fit.strength, fit.steepness + moved - moved.mean()) < best


def test_slopes_and_what_an_outcome_says_are_found() -> None:
    slope = np.array([0.5, 0.8, 1.0, 1.25, 2.0])
    truth, won = planted(3000, 4, np.zeros(5), slope)
    fit = respond(won, steps=200)
    np.testing.assert_allclose(np.exp(fit.steepness), slope, rtol=0.2)
    assert fit.precision == pytest.approx(1, abs=0.05)
    # the mean of two games on a prompt has half the variance of one
    again = (np.random.default_rng(5).random(truth.shape) < truth).astype(float)
    assert respond((won + again) / 2, steps=200).precision == pytest.approx(2, abs=0.2)


def test_rates_and_intervals_hold_where_verdicts_chose_what_was_judged() -> None:
    strength, hits, naive = np.linspace(-3, -1, 6), [], []
    for seed in range(20):
        _, won = planted(900, seed, strength)
        truth = won.mean(axis=0)
        rng = np.random.default_rng(seed)
        looked = rng.integers(0, 6, 900)
        known = np.full(won.shape, np.nan)
        known[np.arange(900), looked] = won[np.arange(900), looked]
        chosen = (np.nansum(known, axis=1) > 0) | (rng.random(900) < 0.05)
        known[chosen] = won[chosen]
        counts = rng.multinomial(900, np.full(900, 1 / 900), size=60)
        rates, samples = pool_rates(known, counts)
        low, high = np.quantile(samples, [0.025, 0.975], axis=0)
        hits.append((low <= truth) & (truth <= high))
        naive.append(known[chosen].mean(axis=0) / truth)
        np.testing.assert_allclose(rates, truth, atol=0.06)
    assert np.mean(naive) > 2
    assert np.mean(hits) > 0.9


def test_without_gaps_rates_are_means() -> None:
    _, won = planted(50, 6, np.zeros(3))
    counts = np.random.default_rng(0).multinomial(50, np.full(50, 0.02), size=5)
    rates, samples = pool_rates(won, counts)
    np.testing.assert_allclose(rates, won.mean(axis=0))
    np.testing.assert_allclose(samples, counts @ won / 50)
