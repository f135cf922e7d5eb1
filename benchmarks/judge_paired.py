"""Pairs of models told apart by paired and by unpaired intervals, on the same verdicts.

    python -m benchmarks.judge_paired POOL VOTES

POOL is a table of preferences as judge_sets reads it; VOTES the votes of LLMFAO, on which nothing
of micronas was chosen. Of POOL, random sets of so many prompts, the mean and the middle 95 % of 60;
of VOTES, all prompts. Unpaired: the models' own 95 % intervals do not overlap. Paired: the interval
of the difference on the same drawn prompts excludes zero.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.judge_sets import estimates, read, span
from micronas.judge.importers import llmfao
from micronas.judge.leaderboard import Statistics, leaderboard
from micronas.judge.quality import Estimates, separability
from micronas.judge.store import battles_of
from micronas.language.intervals import paired_intervals
from micronas.text import table
from testing.usage import given

SIZES, SETS = (25, 50, 100, 213, 400), 60


def figures(found: Estimates) -> tuple[float, float]:
    """Return separability by unpaired and by paired intervals."""
    assert found.samples is not None
    paired = separability(*paired_intervals(found.samples))
    return separability(found.lower, found.upper).value, paired.value


def main(path: str, votes: str) -> None:
    pool = read(Path(path))
    models, size = np.arange(len(pool.models)), len(pool.prompts)
    rows = []
    for count in SIZES:
        drawn = [np.random.default_rng(seed).permutation(size)[:count] for seed in range(SETS)]
        found = [figures(estimates(pool, each, models)) for each in drawn]
        rows.append(
            [
                f"{len(models)} models",
                str(count),
                *(span(each) for each in zip(*found, strict=True)),
            ]
        )
    whole = figures(estimates(pool, np.arange(size), models))
    rows.append([f"{len(models)} models", str(size), *(f"{each:.3f}" for each in whole)])
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "votes.sqlite"
        llmfao(Path(votes)).save(store)
        board = leaderboard(battles_of(store), Statistics(prior=1.0))
    cells = (f"{each:.3f}" for each in figures(board.estimates()))
    rows.append([f"{len(board.models)} models, votes of people", "13", *cells])
    print(table(["pool", "prompts", "unpaired", "paired"], rows))


if __name__ == "__main__":
    main(*given(__doc__, 2))
