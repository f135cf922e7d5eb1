"""Time Bradley-Terry ratings with a bootstrap, beside other implementations.

    python -m benchmarks.judge_speed [ROUNDS] [LOGISTIC_ROUNDS]

100,000 simulated battles of 60 models on 833 prompts, against a baseline (star) and everybody
against everybody (round robin). Compared in turns, five times, the median of each counts:
micronas with prompts and with battles drawn, evalica on aggregated counts that are drawn again
for each round, and scikit-learn's logistic regression on one row a battle, as rating scripts of
leaderboards do it (LOGISTIC_ROUNDS rounds (2), its time a round). Needs evalica and scikit-learn.
"""

import sys
import time
from collections.abc import Callable
from statistics import median

import evalica
import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from micronas.judge.battles import Battles
from micronas.judge.bootstrap import bootstrap
from micronas.judge.rating import bradley_terry
from micronas.text import table

MODELS, BATTLES, PROMPTS, REPEATS = 60, 100_000, 833, 5


def simulated(star: bool, seed: int = 0) -> Battles:
    """Battles of models with normal scores, a sixth of them ties."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 1, MODELS)
    row = np.arange(BATTLES)
    if star:
        left, right = row % (MODELS - 1) + 1, np.zeros(BATTLES, np.intp)
        prompt = row // (2 * (MODELS - 1)) % PROMPTS
    else:
        left = generator.integers(0, MODELS, BATTLES)
        right = (left + generator.integers(1, MODELS, BATTLES)) % MODELS
        prompt = generator.integers(0, PROMPTS, BATTLES)
    chance = 1 / (1 + np.exp(scores[right] - scores[left]))
    outcome = (generator.random(BATTLES) < chance).astype(np.float64)
    outcome[generator.random(BATTLES) < 1 / 6] = 0.5
    return Battles(
        models=tuple(f"m{model:02d}" for model in range(MODELS)),
        prompts=tuple(f"p{each:03d}" for each in range(PROMPTS)),
        left=left,
        right=right,
        prompt=prompt,
        outcome=outcome,
        weight=np.ones(BATTLES),
        category=("",) * PROMPTS,
    )


def with_evalica(battles: Battles, rounds: int) -> list[dict[str, float]]:
    """Aggregate once, then draw counts and fit for each round."""
    key = (battles.left * MODELS + battles.right) * 3 + (2 * battles.outcome).astype(np.intp)
    kinds, times = np.unique(key, return_counts=True)
    pair, result = np.divmod(kinds, 3)
    left = [battles.models[each] for each in pair // MODELS]
    right = [battles.models[each] for each in pair % MODELS]
    winner = [(evalica.Winner.Y, evalica.Winner.Draw, evalica.Winner.X)[each] for each in result]
    generator = np.random.default_rng(0)
    _, _, index = evalica.indexing(left, right)
    fits = []
    for counts in generator.multinomial(len(battles), times / times.sum(), size=rounds):
        weights = counts.astype(np.float64).tolist()
        fit = evalica.bradley_terry(left, right, winner, index=index, weights=weights)
        fits.append(fit.scores.to_dict())
    return fits


def with_logistic(battles: Battles, rounds: int) -> np.ndarray:
    """One row a battle, two for a tie, and a regression without penalty for each round."""
    rows = np.concatenate([np.arange(BATTLES), np.flatnonzero(battles.outcome == 0.5)])
    won = battles.outcome[rows] > 0.5
    won[:BATTLES] |= battles.outcome == 0.5
    signs = np.repeat([1.0, -1.0], len(rows))
    columns = np.concatenate([battles.left[rows], battles.right[rows]])
    design = sparse.csr_matrix(
        (signs, (np.tile(np.arange(len(rows)), 2), columns)), shape=(len(rows), MODELS)
    )
    weight = np.where(battles.outcome[rows] == 0.5, 0.5, 1.0)
    generator = np.random.default_rng(0)
    fits = []
    for _ in range(rounds):
        drawn = generator.integers(0, len(rows), len(rows))
        model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8, max_iter=1000)
        model.fit(design[drawn], won[drawn], sample_weight=weight[drawn])
        fits.append(model.coef_[0])
    return np.stack(fits)


def timed(call: Callable[[], object]) -> float:
    """Processor time, which other programs disturb less than the clock's."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def main(rounds: int = 100, logistic_rounds: int = 2) -> None:
    rows = []
    for name, star in (("star", True), ("round robin", False)):
        battles = simulated(star)
        ours, theirs = [], []
        for _ in range(REPEATS):
            ours.append(timed(lambda: bootstrap(battles, rounds)))  # noqa: B023
            theirs.append(timed(lambda: with_evalica(battles, rounds)))  # noqa: B023
        slow = timed(lambda: with_logistic(battles, logistic_rounds))  # noqa: B023
        base = median(ours)
        estimate = slow / logistic_rounds * rounds
        for title, seconds in (
            ("micronas, prompts drawn", base),
            ("evalica on counts", median(theirs)),
            (f"logistic regression, {logistic_rounds} rounds measured", estimate),
        ):
            rows.append([name, title, f"{1000 * seconds:.0f} ms", f"{seconds / base:.1f}"])
        fit = np.log([with_evalica_once(battles)[model] for model in battles.models])
        gap = np.abs(bradley_terry(battles) - (fit - fit.mean())).max()
        print(f"{name}: largest difference of a score from evalica's {gap:.1e}")
    print(f"{BATTLES} battles, {MODELS} models, {rounds} rounds, aggregation included")
    print(table(["design", "method", "processor time", "times ours"], rows))


def with_evalica_once(battles: Battles) -> dict[str, float]:
    """One fit of all battles as they are."""
    winner = [
        (evalica.Winner.Y, evalica.Winner.Draw, evalica.Winner.X)[int(2 * each)]
        for each in battles.outcome
    ]
    left = [battles.models[each] for each in battles.left]
    right = [battles.models[each] for each in battles.right]
    fit = evalica.bradley_terry(left, right, winner, tolerance=1e-12, limit=10_000)
    return fit.scores.to_dict()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
