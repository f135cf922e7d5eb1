"""Cost of a step of shared weights, as a multiple of the same networks' own steps.

    OMP_NUM_THREADS=1 python -m benchmarks.shared_step kws40.npz [--settings kws-24]

SETTINGS are budgets of `benchmarks.open_spaces` for keywords. `single_stage` trains what
it drew there: a round of each family's shared weights takes 20 steps, one network a batch, as in
the search. In turn with it, some of the family's networks take as many steps each with weights of
their own, as in `micronas train`. Ratios are of CPU times of the process; the median over ROUNDS
rounds, the least and the largest.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median

import torch

from benchmarks.clock import cpu_seconds
from benchmarks.kws40 import load
from benchmarks.open_spaces import BUDGETS, Bench
from benchmarks.quality import RECIPE
from micronas.data import DataSet, Subset
from micronas.nas.candidate import Candidate
from micronas.nas.problem import Problem
from micronas.nas.settings import SingleStageSettings
from micronas.nas.strategies.base import Context
from micronas.nas.strategies.family_training import FamilyTraining
from micronas.nas.strategies.single_stage import SingleStage
from micronas.nas.strategies.weights import ROUND
from micronas.text import table
from micronas.train.loop import fit, generator_for, source_for
from micronas.train.network import Network

ROUNDS = 7
ALONE = 4
"""Networks of a family that train alone in each round."""
STEPS = RECIPE.model_copy(update={"epochs": 1})


def ratios(family: FamilyTraining, data: DataSet) -> Iterator[float]:
    """Yield the ratio of each round but the first, which is for allocators and kernels."""
    few = torch.arange(ROUND * RECIPE.batch_size)
    source = source_for(0, "alone")
    for number in range(ROUNDS + 1):
        began = cpu_seconds()
        family.round(data, (number + 1) * ROUND)
        together = cpu_seconds() - began
        alone = [
            _alone(each, data.seen_as(each.space.input_shape), few)
            for each in source.sample(family.candidates, ALONE)
        ]
        if number:
            yield together / fmean(alone)


def _alone(candidate: Candidate, data: DataSet, few: torch.Tensor) -> float:
    network = Network(candidate.architecture.graph(), generator=generator_for(0, "alone"))
    began = cpu_seconds()
    fit(network, Subset(data.train, few), STEPS, seed=0)
    return cpu_seconds() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("--settings", nargs="+", default=["kws-24"], choices=BUDGETS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data, rows = load(given.features), []
    for setting in given.settings:
        bench = Bench(setting, data, Path())
        problem = Problem(bench.space, bench.board, bench.budget)
        context = Context(problem, data, SingleStageSettings(trial=RECIPE))
        for family in SingleStage(context).families():
            family.set_rate(RECIPE.learning_rate)
            found = [*ratios(family, data)]
            spread = (median(found), min(found), max(found))
            rows.append([setting, family.name, *(f"{each:.2f}" for each in spread)])
    print(table(["setting", "family", "median", "least", "largest"], rows))


if __name__ == "__main__":
    main()
