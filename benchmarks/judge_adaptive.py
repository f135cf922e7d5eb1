"""Replay adaptive judging on public verdicts: how many calls does a ranking take?

    python -m benchmarks.judge_adaptive PREFERENCES.jsonl.gz

Adaptive runs are played by the run's own code on verdicts that are known. Their rank correlation
with the ranking on the whole pool is looked up on the curve of fixed designs: all models on so many
prompts, drawn at random. The file is that of `judge_sets`.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.judge_sets import Floats, read
from micronas.judge.adaptive import AdaptiveSettings, stages
from micronas.text import table

REPEATS, DIVISIONS = 40, 4
COUNTS = (20, 30, 50, 75, 100, 150, 200, 250, 300, 350, 400, 500)


def rank(rates: Floats, truth: Floats) -> float:
    return float(stats.spearmanr(rates, truth).statistic)


def fixed(won: Floats) -> Floats:
    """Mean rank correlation of so many random prompts."""
    rng, truth = np.random.default_rng(1), won.mean(axis=0)
    return np.array(
        [
            np.mean(
                [
                    rank(won[rng.permutation(len(won))[:count]].mean(axis=0), truth)
                    for _ in range(2 * REPEATS)
                ]
            )
            for count in COUNTS
        ]
    )


def replay(settings: AdaptiveSettings, won: Floats, others: Floats) -> tuple[float, int]:
    """Rank correlation and calls of one adaptive run."""
    known = np.full(won.shape, np.nan)
    calls = 0
    for cells in stages(settings, lambda: known, others):
        for cell in cells:
            known[cell] = won[cell]
        calls += len(cells)
    complete = known[~np.isnan(known).any(axis=1)]
    return rank(complete.mean(axis=0), won.mean(axis=0)), calls


def row(size: int, won: Floats, others: Floats, repeats: int) -> list[float]:
    """Rank correlation, calls, and calls of a fixed design of the same correlation."""
    found = np.mean(
        [replay(AdaptiveSettings(prompts=size, seed=seed), won, others) for seed in range(repeats)],
        axis=0,
    )
    needed = float(np.interp(found[0], fixed(won), np.array(COUNTS) * won.shape[1]))
    return [*found.tolist(), needed]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preferences", type=Path)
    won = read(parser.parse_args().preferences).won
    rng = np.random.default_rng(0)
    halves = [rng.permutation(won.shape[1]) for _ in range(DIVISIONS)]
    middle = won.shape[1] // 2
    lines = []
    for title, repeats in (("none", REPEATS), ("other half", REPEATS // 4)):
        for size in (25, 50, 75, 100):
            if title == "none":
                found = np.array([row(size, won, won[:, :0], repeats)])
            else:
                found = np.array(
                    [
                        row(size, won[:, order[:middle]], won[:, order[middle:]], repeats)
                        for order in halves
                    ]
                )
            correlation, calls, needed = found.mean(axis=0)
            ratios = found[:, 1] / found[:, 2]
            cells = [f"{correlation:.4f}", f"{calls:.0f}", f"{needed:.0f}", f"{ratios.mean():.2f}"]
            lines.append([title, str(size), *cells])
    header = ["verdicts on others", "prompts", "Spearman", "calls", "fixed design", "ratio"]
    print(f"{len(won)} prompts, {won.shape[1]} models; calls are prompts x models")
    print(table(header, lines))


if __name__ == "__main__":
    main()
