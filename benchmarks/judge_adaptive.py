"""Replay adaptive judging on public verdicts: how many calls does a ranking take?

    python -m benchmarks.judge_adaptive POOL... [--without POOL]

Adaptive runs are played by the run's own code on verdicts that are known. Their rank correlation
with the ranking on the whole pool is looked up on the curve of fixed designs: all models on so many
prompts, drawn at random. Pools are those of `judge_sets`; `--without` leaves out the models of
another one, such as that which the method was developed on.
Coverage is of the rates on the whole pool by 95 % intervals: those of adaptive runs, and those of
a bootstrap over as many calls on random prompts.
Ratios have 95 % intervals of a bootstrap over runs, and over the halves of models where the other
half was judged before.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.judge_sets import Floats, read
from micronas.judge.adaptive import AdaptiveSettings, stages
from micronas.judge.response import pool_rates
from micronas.language.intervals import intervals
from micronas.text import table

REPEATS, DIVISIONS, SIZES, ROUNDS = 24, 12, (25, 50, 75, 100), 200
DRAWS = 400
COUNTS = (2, 3, 5, 8, 12, 16, 20, 30, 50, 75, 100, 150, 200, 250, 300, 350, 400, 500)


def rank(rates: Floats, truth: Floats) -> float:
    """Spearman's rank correlation; that of rates which are all the same is zero."""
    return float(stats.spearmanr(rates, truth).statistic) if np.ptp(rates) else 0.0


def fixed(won: Floats) -> Floats:
    """Mean rank correlation of so many random prompts."""
    rng, truth = np.random.default_rng(1), won.mean(axis=0)
    return np.array(
        [
            np.mean(
                [
                    rank(won[rng.permutation(len(won))[:count]].mean(axis=0), truth)
                    for _ in range(DRAWS)
                ]
            )
            for count in COUNTS
        ]
    )


def drawn(size: int, seed: int) -> NDArray[np.intp]:
    """How often each of so many prompts is drawn in each round."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(size, np.full(size, 1 / size), size=ROUNDS).astype(np.intp)


def covered(samples: Floats, truth: Floats) -> float:
    low, high = intervals(samples)
    return float(((low <= truth) & (truth <= high)).mean())


def replay(settings: AdaptiveSettings, won: Floats, others: Floats) -> tuple[float, int, float]:
    """Rank correlation, calls and coverage of one adaptive run."""
    known, truth = np.full(won.shape, np.nan), won.mean(axis=0)
    calls = 0
    for cells in stages(settings, lambda: known, others):
        for cell in cells:
            known[cell] = won[cell]
        calls += len(cells)
    judged = known[~np.isnan(known).all(axis=1)]
    rates, samples = pool_rates(judged, drawn(len(judged), settings.seed))
    return rank(rates, truth), calls, covered(samples, truth)


def at_random(won: Floats, calls: float) -> float:
    """Coverage of as many calls on random prompts."""
    size, found = round(calls / won.shape[1]), []
    for seed in range(REPEATS):
        part = won[np.random.default_rng(seed).permutation(len(won))[:size]]
        found.append(covered(drawn(size, seed) @ part / size, won.mean(axis=0)))
    return float(np.mean(found))


def cells(runs: list[tuple[float, int, float]], curve: Floats, models: int) -> list[str]:
    """Rank correlation, calls, calls of a fixed design of the same correlation, and their ratio."""
    found = np.array(runs)
    rng = np.random.default_rng(0)

    def ratio(correlation: Floats, calls: Floats) -> Floats:
        return calls / np.interp(correlation, curve, np.array(COUNTS) * models)

    means = found[rng.integers(0, len(found), (2000, len(found)))].mean(axis=1)
    low, high = intervals(ratio(means[:, 0], means[:, 1]))
    correlation, calls, _ = found.mean(axis=0)
    point = float(ratio(correlation, calls))
    needed = calls / point
    return [
        f"{correlation:.4f}",
        f"{calls:.0f}",
        f"{needed:.0f}",
        f"{point:.2f} ({low:.2f} to {high:.2f})",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pools", type=Path, nargs="+")
    parser.add_argument("--without", type=Path)
    arguments = parser.parse_args()
    known = set(read(arguments.without).models) if arguments.without else set()
    lines = []
    for path in arguments.pools:
        pool = read(path)
        won = pool.won[:, [at for at, name in enumerate(pool.models) if name not in known]]
        count, middle = won.shape[1], won.shape[1] // 2
        rng = np.random.default_rng(0)
        halves = [rng.permutation(count) for _ in range(DIVISIONS)]
        parts = [(won[:, order[:middle]], won[:, order[middle:]]) for order in halves]
        curve = fixed(won)
        half = np.mean([fixed(compared) for compared, _ in parts], axis=0)
        title = path.name.split(".")[0]
        for size in SIZES:
            chosen = [AdaptiveSettings(prompts=size, seed=seed) for seed in range(REPEATS)]
            alone = [replay(each, won, won[:, :0]) for each in chosen]
            _, calls, share = np.mean(alone, axis=0)
            cover = [f"{share:.2f}", f"{at_random(won, calls):.2f}"]
            lines.append(
                [title, f"{count}", "none", f"{size}", *cells(alone, curve, count), *cover]
            )
            beside = [replay(chosen[place], *part) for place, part in enumerate(parts)]
            # these hold for the chosen prompts and not for the pool
            found = cells(beside, half, middle)
            lines.append([title, f"{middle}", "others", f"{size}", *found, "", ""])
            print(*lines[-2], *lines[-1], sep="  ", file=sys.stderr, flush=True)
    header = ["pool", "models", "verdicts on", "prompts", "Spearman", "calls", "fixed design"]
    header += ["ratio", "covers", "random covers"]
    print(table(header, sorted(lines, key=lambda line: (line[0], line[2]))))


if __name__ == "__main__":
    main()
