"""When does judging some models on a whole pool, to choose prompts for later ones, pay back?

    python -m benchmarks.judge_break_even POOL [EARLIER] [SIZE]

EARLIER models are judged on all prompts of POOL (a table as judge_sets reads it), their verdicts
choose SIZE prompts, and only these are judged for every later model. Beside it, random prompts: so
many as give the later models the same figure by interpolation between sizes. What a later model
saves is that number less SIZE; the earlier models' verdicts are paid back after as many models as
their calls over this. Draws of the earlier models, the mean and the middle 95 %; a draw in which
chosen prompts are no better never pays back.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.judge_paired import figures
from benchmarks.judge_sets import Floats, Indices, estimates, read, span
from micronas.judge.choose import discriminating
from micronas.text import table
from testing.usage import given

DRAWS, SETS = 20, 4
SIZES = (50, 75, 100, 125, 150, 200, 250, 300, 400, 500, 650, 805)


def as_many(wanted: float, sizes: Floats, reached: Floats) -> float:
    """Return the size at which random prompts reach a figure, by a line between sizes."""
    rising = np.maximum.accumulate(reached)
    return float(np.interp(wanted, rising, sizes))


def main(path: str, earlier: str = "5", size: str = "100") -> None:
    pool, first, chosen_size = read(Path(path)), int(earlier), int(size)
    prompts = len(pool.prompts)
    sizes = np.array([each for each in SIZES if each < prompts] + [prompts])
    names = ("unpaired intervals", "paired intervals", "rank correlation")
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        order = rng.permutation(len(pool.models))
        known, later = order[:first], np.sort(order[first:])
        truth = pool.won[:, later].mean(axis=0)

        def measured(rows: Indices, later: Indices = later, truth: Floats = truth) -> list[float]:
            reached = estimates(pool, rows, later)
            rank = stats.spearmanr(reached.scores, truth).statistic
            return [*figures(reached), float(rank)]

        strata = np.zeros(prompts, np.intp)
        built = discriminating(pool.won[:, known], strata, np.array([chosen_size]))
        ours = measured(np.array(built))
        randoms = np.array([_mean(measured, rng, prompts, int(each)) for each in sizes])
        same_size = _mean(measured, rng, prompts, chosen_size)
        for name, own, curve, plain in zip(names, ours, randoms.T, same_size, strict=True):
            found[name].append((own, float(plain), as_many(own, sizes.astype(float), curve)))
    rows = []
    for name, values in found.items():
        own, plain, equal = np.array(values).T
        saved = equal - chosen_size
        needed = np.where(saved > 0, first * prompts / np.where(saved > 0, saved, 1), np.inf)
        low, middle, high = (
            "never" if np.isinf(each) else f"{np.ceil(each):.0f}"
            for each in np.quantile(needed, [0.025, 0.5, 0.975], method="nearest")
        )
        rows.append([name, span(own), span(plain), span(equal, 0), f"{middle} ({low} to {high})"])
    print(f"{first} of {len(pool.models)} models choose {chosen_size} of {prompts} prompts")
    print(table(["by", "chosen", "as many random", "random for the same", "paid back after"], rows))


def _mean(
    measured: Callable[[Indices], list[float]], rng: np.random.Generator, prompts: int, size: int
) -> Floats:
    drawn = [rng.permutation(prompts)[:size] for _ in range(1 if size == prompts else SETS)]
    return np.asarray(np.mean([measured(rows) for rows in drawn], axis=0))


if __name__ == "__main__":
    main(*given(__doc__, 1))
