"""Estimate how long a run takes on this machine, from a few measured steps.

Steps of training are timed for the networks that would be tried. Measured are seconds of CPU; what
else the machine does stretches them as it did while this was measured.
"""

import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
import torch
from torch import nn

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Split, Subset
from micronas.graph import integer
from micronas.nas.open_search import OpenProblem, problem_of
from micronas.nas.prior import draw, uniform_networks
from micronas.nas.problem import Problem
from micronas.nas.search import PARTS, fold_count
from micronas.nas.strategies.auto import choose
from micronas.nas.strategies.base import strategy
from micronas.nas.strategies.shared import RANKED_BY, SIFTED, SIFTED_BY, SharedStrategy
from micronas.nas.trials import at_once, planned_epochs
from micronas.quantities import format_duration
from micronas.runs.settings import RunSettings
from micronas.space.open_space import OpenSpace
from micronas.space.searchable import Architecture, Searchable
from micronas.train.codes import quantize_inputs
from micronas.train.devices import find_device
from micronas.train.loop import evaluate, fit, generator_for
from micronas.train.quantize import QuantizedNetwork
from micronas.train.recipe import Recipe
from micronas.train.side_by_side import side_by_side

_SECONDS = 0.2
"""Of each measurement, at least."""
_FEWEST, _MOST = 3, 200
_TIMED = 24
"""Most networks whose steps are timed; of more, as many from the smallest to the largest."""
_SUPERNET = 3
"""Alternations of a supernet that are timed."""
_CODES = 8
"""Examples on which integer execution is timed."""
_PHASES = ("search", "trials", "training", "quantization", "checks")
_CHECKED = 232
"""Examples a finished network runs beside those it is judged on: on TFLM and by layer."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of each phase of a run."""

    phases: dict[str, float]
    networks: int
    trainings: int

    @property
    def seconds(self) -> float:
        return sum(self.phases.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {format_duration(each)}" for name, each in self.phases.items())
        total = format_duration(self.seconds)
        return (
            f"about {total} on this machine as busy as it is: {self.trainings} trial "
            f"trainings of {self.networks} networks; {parts}"
        )


def estimate_search(
    space: Searchable | OpenSpace,
    data: DataSet,
    settings: RunSettings,
    *,
    workers: int | None = None,
) -> Estimate:
    """Time steps of the networks a search would try, and multiply; takes some seconds.

    A search that goes on from a checkpoint has less to do.
    """
    clock = _Clock()
    examples = len(data.train.labels)
    name, networks, joining = _candidates(space, data, settings)
    places = np.linspace(0, len(networks) - 1, min(len(networks), _TIMED)).round().astype(int)
    timed = [networks[place] for place in places]
    seen = [data.seen_as(each.input_shape) for each in timed]
    phases, inherited = {}, False
    if name != "halving":
        assert isinstance(space, Searchable), "several families are searched by halving"
        phases["search"] = _supernet(space, data, settings, name)
        inherited = strategy(name).inherits(space, settings.search)
    middle = len(timed) // 2  # who wins is not known
    step, example = _quantized(timed[middle], seen[middle], settings.quantize)
    phases["quantization"] = _recipe(settings.quantize, examples) * step
    batch = settings.search.trial.batch_size
    alone = clock.stretch()
    at_a_time = at_once(workers, settings.search.trial, find_device(settings.device))
    steps, stretch = _steps(timed, seen, batch=batch, workers=at_a_time)
    folds = fold_count(data.train, settings.search) if isinstance(space, OpenSpace) else 1
    tried = round((sum(PARTS[:2]) if folds == 1 else 1 - 1 / folds) * examples)
    beside = _beside(timed, seen, ranked=examples - tried, batch=batch, workers=at_a_time)
    count = len(networks) + joining
    recipe = settings.search.trial_of(inherits=inherited)
    finals = 0 if inherited else max(settings.search.final_folds - folds, 0)
    trainings, epochs = planned_epochs(count, recipe, tried, folds=folds, finals=finals)
    work = epochs * recipe.steps(tried) * fmean(steps) + trainings * beside
    phases["training"] = (
        _recipe(settings.train, examples) * steps[middle] * settings.train.batch_size / batch
    )
    judged = len((data.test or data.validation).labels)
    phases["checks"] = example * (judged + _CHECKED)
    phases = {phase: alone * seconds for phase, seconds in phases.items()}
    phases["trials"] = stretch * work / at_a_time
    order = [each for each in _PHASES if each in phases]
    return Estimate({each: phases[each] for each in order}, count, trainings)


class _Clock:
    """How long a second of CPU takes: other programs want it, too."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stretch(self) -> float:
        """Return seconds on the wall for one of CPU since this was made."""
        return (time.perf_counter() - self._wall) / (time.process_time() - self._cpu)


def _candidates(
    space: Searchable | OpenSpace, data: DataSet, settings: RunSettings
) -> tuple[str, list[Architecture], int]:
    """Return the strategy, networks like those that will be tried, from the fewest
    multiply-accumulates on, and how many more join them."""
    problem = problem_of(space, settings.load_board(), settings.budget, known=data.meaning)
    source = random.Random(f"{settings.seed} draw")
    if isinstance(problem, OpenProblem):
        found = problem.first(settings.search.draws, source) + problem.rivals(data)
        found.sort(key=lambda each: each.costs.macs)
        return "halving", [each.architecture for each in found], settings.search.draws // 2
    examples = round(sum(PARTS[:2]) * len(data.train.labels))
    name, _ = choose(problem, settings.search, examples=examples, processes=1)
    count = settings.search.draws if name == "halving" else settings.search.finalists
    proposed = draw(problem, count=count, source=source) + uniform_networks(problem)
    choices = {problem.space.canonical(choice): choice for choice in reversed(proposed)}
    networks = sorted(choices.values(), key=lambda choice: problem.costs(choice).macs)
    return name, [problem.space.architecture(choice) for choice in networks], 0


def _generator() -> torch.Generator:
    return generator_for(0, "estimate")


def _recipe(recipe: Recipe, examples: int) -> float:
    return float(recipe.epochs * recipe.steps(examples))


def _steps(
    networks: Sequence[Architecture], seen: Sequence[DataSet], *, batch: int, workers: int
) -> tuple[list[float], float]:
    """Return seconds of CPU of a step of each network, measured by `workers` processes at once, and
    how long a second of CPU takes then."""

    def timed(first: int, kept: Checkpoint) -> list[float]:
        clock = _Clock()
        found = [
            _step(network.build(_generator()), data.train, batch)
            for network, data in zip(networks[first::workers], seen[first::workers], strict=True)
        ]
        return [clock.stretch(), *found]

    jobs = {str(first): partial(timed, first) for first in range(min(workers, len(networks)))}
    told = dict(side_by_side(jobs, workers=workers, checkpoint=Checkpoint()))
    steps = [told[str(place % workers)][1 + place // workers] for place in range(len(networks))]
    return steps, fmean(each[0] for each in told.values())


def _step(module: nn.Module, split: Split, batch: int) -> float:
    """Return seconds of CPU of a training step, augmentation included."""
    count = min(len(split.labels), batch)
    few = Subset(split, torch.linspace(0, len(split.labels) - 1, count).long())
    recipe = Recipe(epochs=1, batch_size=count)
    return _timed(lambda: fit(module, few, recipe, seed=0, section="estimate"))


def _beside(
    networks: Sequence[Architecture],
    seen: Sequence[DataSet],
    *,
    ranked: int,
    batch: int,
    workers: int,
) -> float:
    """Return seconds of CPU of a trial beside its steps: a process, its last state, its ranking."""

    def trial(place: int, kept: Checkpoint) -> None:
        network, data = networks[place % len(networks)].build(_generator()), seen[place % len(seen)]
        few = Subset(data.train, torch.arange(min(len(data.train.labels), batch)))
        recipe = Recipe(epochs=1, batch_size=len(few.labels))
        fit(network, few, recipe, seed=0, section=f"estimate/{place}", checkpoint=kept)
        evaluate(network, Subset(data.train, torch.arange(ranked)))

    count = 2 * workers
    jobs = {str(place): partial(trial, place) for place in range(count)}
    start = sum(os.times()[:4])
    for _ in side_by_side(jobs, workers=workers, checkpoint=Checkpoint()):
        pass
    return (sum(os.times()[:4]) - start) / count


def _timed(run: Callable[[], object]) -> float:
    """Return seconds of CPU of a call, the mean of several after the first."""
    run()
    start, cpu, calls = time.perf_counter(), time.process_time(), 0
    while calls < _FEWEST or (time.perf_counter() - start < _SECONDS and calls < _MOST):
        run()
        calls += 1
    return (time.process_time() - cpu) / calls


def _quantized(architecture: Architecture, data: DataSet, recipe: Recipe) -> tuple[float, float]:
    """Return seconds of a quantization-aware step, and of an example by integer execution."""
    quantized = QuantizedNetwork(architecture.float_graph(architecture.build(_generator())))
    index = torch.arange(min(len(data.train.labels), recipe.batch_size))
    quantized.calibrate([data.train.batch(index, None)])
    graph = quantized.graph()
    codes = quantize_inputs(
        graph, data.validation.batch(index[:_CODES] % len(data.validation.labels), None)
    )
    example = _timed(lambda: integer.run(graph, codes)) / len(codes)
    return _step(quantized, data.train, recipe.batch_size), example


def _supernet(space: Searchable, data: DataSet, settings: RunSettings, name: str) -> float:
    """Return seconds of warm-up and steps of a supernet, and of ranking proposals."""
    problem = Problem(space, settings.load_board(), settings.budget)
    search = settings.search
    short = search.model_copy(update={"steps": _SUPERNET, "warmup": 0})
    run = strategy(name)(problem, short, settings.seed)
    assert isinstance(run, SharedStrategy), "others train no supernet"
    start = time.process_time()
    run.round(data.train, data.train)
    step = (time.process_time() - start) / _SUPERNET
    rank_by = Subset(data.train, torch.arange(math.ceil(PARTS[2] * len(data.train.labels))))
    parts = data.train, data.train, rank_by
    ranked = uniform_networks(problem)[:1] or [space.smallest()]
    sifting, ranking = (
        _timed(partial(run.score, ranked, parts, examples=count))
        for count in (SIFTED_BY, RANKED_BY)
    )
    # warm-up trains weights alone, about half of an alternation, and ends early when it may
    warmup = search.warmup / 4 if run.warms_up else 0.0
    chosen = min(run.rankings, SIFTED)
    return step * (search.steps + warmup) + sifting * run.rankings + ranking * chosen
