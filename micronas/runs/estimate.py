"""Estimate the time of a run on this machine, from a few measured steps.

Training steps of networks like those of the search are timed in CPU seconds, and stretched by the
load of the machine during the measurement.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
import torch
from torch import nn

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Subset
from micronas.graph import integer
from micronas.nas.strategies.base import Context
from micronas.nas.strategies.race import TELLING
from micronas.nas.strategies.registry import planned, strategy
from micronas.nas.trials import at_once
from micronas.quantities import format_duration
from micronas.runs.settings import RunSettings
from micronas.space.open_space import OpenSpace
from micronas.space.searchable import Architecture, Searchable
from micronas.splits import evenly
from micronas.train.codes import quantize_inputs
from micronas.train.devices import find_device
from micronas.train.loop import evaluate, fit, generator_for
from micronas.train.quantize import QuantizedNetwork
from micronas.train.recipe import Recipe
from micronas.train.side_by_side import side_by_side
from micronas.train.timing import seconds_of

_TIMED = 24
"""Most networks whose steps are timed, evenly chosen from the smallest to the largest."""
_CODES = 8
"""Number of examples on which integer execution is timed."""
_PHASES = ("search", "trials", "training", "quantization", "checks")
_CHECKED = 232
"""Number of examples of a finished network's checks on TFLM and by layer, beside evaluation."""


@dataclass(frozen=True)
class _Estimate:
    """Seconds of each phase of a run."""

    phases: dict[str, float]
    networks: int
    trainings: int
    epochs: int
    """Epochs of trials and training together."""
    advice: str = ""
    """What to set where trials are too short."""

    @property
    def seconds(self) -> float:
        return sum(self.phases.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {format_duration(each)}" for name, each in self.phases.items())
        total = format_duration(self.seconds)
        trained = self.phases.get("trials", 0.0) + self.phases["training"]
        more = format_duration(100 * trained / self.epochs)
        return (
            f"about {total} on this machine as busy as it is: {self.trainings} trial "
            f"trainings of {self.networks} networks; {parts}; 100 epochs of effort take {more}"
            f"{self.advice}"
        )


def estimate_search(
    space: Searchable | OpenSpace,
    data: DataSet,
    settings: RunSettings,
    *,
    workers: int | None = None,
) -> _Estimate:
    """Time steps of the networks that a search would try, and multiply; takes some seconds.

    A search that resumes from a checkpoint takes less time.
    """
    stretched = _clock()
    examples = len(data.train.labels)
    problem = settings.problem(space, known=data.meaning)
    chosen = strategy(Context(problem, data, settings.search, seed=settings.seed))
    plan, folds = planned(chosen), chosen.context.folds
    networks = sorted(plan.networks, key=lambda each: each.costs.macs)
    places = np.linspace(0, len(networks) - 1, min(len(networks), _TIMED)).round().astype(int)
    timed = [networks[place].architecture for place in places]
    seen = [data.seen_as(each.input_shape) for each in timed]
    phases = {"search": chosen.rehearse()}
    middle = len(timed) // 2  # the winner is unknown
    step, example = _quantized(timed[middle], seen[middle], settings.quantize)
    phases["quantization"] = _recipe(settings.quantize, examples) * step
    trial = settings.search.trial
    alone = stretched()
    at_a_time = at_once(workers, trial, find_device(settings.device))
    steps, stretch = _steps(timed, seen, batch=trial.batch_size, workers=at_a_time)
    tried, ranked = (len(each.labels) for each in (folds[0].train, folds[0].validation))
    beside = _beside(timed, seen, ranked=ranked, batch=trial.batch_size, workers=at_a_time)
    epoch = trial.steps(tried) * fmean(steps)
    work = (plan.epochs - plan.in_turn) * epoch + plan.trainings * beside
    phases["training"] = (
        _recipe(settings.train, examples)
        * steps[middle]
        * settings.train.batch_size
        / trial.batch_size
    )
    judged = len((data.test or data.validation).labels)
    phases["checks"] = example * (judged + _CHECKED)
    phases = {phase: alone * seconds for phase, seconds in phases.items()}
    phases["trials"] = stretch * work / at_a_time + alone * plan.in_turn * epoch
    epochs = plan.epochs + settings.train.epochs
    advice = _advice(trial, tried) if plan.trainings else ""
    taken = {phase: phases[phase] for phase in _PHASES if phases[phase]}
    return _Estimate(taken, plan.count, plan.trainings, epochs, advice)


def _advice(trial: Recipe, examples: int) -> str:
    """Return which epochs a trial should have, if it ends before networks can be compared."""
    steps = trial.steps(examples)
    if trial.epochs * steps >= TELLING:
        return ""
    return (
        f"; trials of {trial.epochs * steps} steps rank networks badly: "
        f"search.trial.epochs={math.ceil(TELLING / steps)} takes the {TELLING} that tell"
    )


def _clock() -> Callable[[], float]:
    """Return a function that returns wall seconds per CPU second since now, which other programs
    stretch."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: (time.perf_counter() - wall) / (time.process_time() - cpu)


def _generator() -> torch.Generator:
    return generator_for(0, "estimate")


def _recipe(recipe: Recipe, examples: int) -> float:
    return float(recipe.epochs * recipe.steps(examples))


def _steps(
    networks: Sequence[Architecture], seen: Sequence[DataSet], *, batch: int, workers: int
) -> tuple[list[float], float]:
    """Return CPU seconds per step of each network, measured by `workers` processes at once, and the
    wall time of a CPU second meanwhile."""

    def timed(first: int, kept: Checkpoint) -> list[float]:
        stretched = _clock()
        found = [
            _step(network.build(_generator()), data, batch)
            for network, data in zip(networks[first::workers], seen[first::workers], strict=True)
        ]
        return [stretched(), *found]

    jobs = {str(first): partial(timed, first) for first in range(min(workers, len(networks)))}
    measured = dict(side_by_side(jobs, workers=workers, checkpoint=Checkpoint()))
    steps = [measured[str(place % workers)][1 + place // workers] for place in range(len(networks))]
    return steps, fmean(each[0] for each in measured.values())


def _step(module: nn.Module, data: DataSet, batch: int) -> float:
    """Return CPU seconds of a training step, augmentation included."""
    split, objective = data.train, data.objective
    count = min(len(split.labels), batch)
    few = Subset(split, evenly(split, count))
    recipe = Recipe(epochs=1, batch_size=count, mean=False)  # statistics are no part of a step
    return seconds_of(
        lambda: fit(module, few, recipe, seed=0, objective=objective, section="estimate")
    )


def _beside(
    networks: Sequence[Architecture],
    seen: Sequence[DataSet],
    *,
    ranked: int,
    batch: int,
    workers: int,
) -> float:
    """Return CPU seconds of a trial beside its steps: process, saved state, ranking."""

    def trial(place: int, kept: Checkpoint) -> None:
        network, data = networks[place % len(networks)].build(_generator()), seen[place % len(seen)]
        few = Subset(data.train, torch.arange(min(len(data.train.labels), batch)))
        recipe = Recipe(epochs=1, batch_size=len(few.labels))
        objective, section = data.objective, f"estimate/{place}"
        fit(network, few, recipe, seed=0, objective=objective, section=section, checkpoint=kept)
        evaluate(network, Subset(data.train, torch.arange(ranked)), objective=objective)

    count = 2 * workers
    jobs = {str(place): partial(trial, place) for place in range(count)}
    start = sum(os.times()[:4])
    for _ in side_by_side(jobs, workers=workers, checkpoint=Checkpoint()):
        pass
    return (sum(os.times()[:4]) - start) / count


def _quantized(architecture: Architecture, data: DataSet, recipe: Recipe) -> tuple[float, float]:
    """Return CPU seconds of a quantization-aware step, and of an example in integer execution."""
    quantized = QuantizedNetwork(architecture.float_graph(architecture.build(_generator())))
    index = torch.arange(min(len(data.train.labels), recipe.batch_size))
    quantized.calibrate([data.train.batch(index, None)])
    graph = quantized.graph()
    codes = quantize_inputs(
        graph, data.validation.batch(index[:_CODES] % len(data.validation.labels), None)
    )
    example = seconds_of(lambda: integer.run(graph, codes)) / len(codes)
    return _step(quantized, data, recipe.batch_size), example
