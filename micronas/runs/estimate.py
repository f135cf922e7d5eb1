"""Estimate how long a run takes on this machine, from a few measured steps.

Steps of training are timed for a small, a middle and a large network that would be tried, and all
others are taken to lie on the straight line through them, by multiply-accumulates. Measured are
seconds of CPU; what else the machine does stretches them as it did while this was measured.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

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
from micronas.nas.trials import at_once, planned_epochs
from micronas.runs.settings import RunSettings
from micronas.space.open_space import OpenSpace
from micronas.space.searchable import Architecture, Searchable
from micronas.train.devices import find_device
from micronas.train.loop import evaluate, fit, generator_for
from micronas.train.quantize import QuantizedNetwork, quantize_inputs
from micronas.train.recipe import Recipe
from micronas.train.side_by_side import side_by_side

_SECONDS = 0.5
"""Of each measurement, at least; steps of a busy machine differ by half."""
_FEWEST, _MOST = 3, 200
_TIMED = 3
"""Networks whose steps are timed."""
_SUPERNET = 3
"""Alternations of a supernet that are timed."""
_CODES = 8
"""Examples on which integer execution is timed."""
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
        parts = ", ".join(f"{name} {duration(each)}" for name, each in self.phases.items())
        return (
            f"about {duration(self.seconds)} on this machine as busy as it is: {self.trainings} "
            f"trial trainings of {self.networks} networks; {parts}"
        )


def duration(seconds: float) -> str:
    """Write seconds for a person: ``40 s``, ``8 min``, ``2 h 10 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


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
    clocks = _Clocks()
    examples = len(data.train.labels)
    name, networks, joining = _candidates(space, data, settings)
    networks.sort(key=lambda each: each[1])
    macs = [each[1] for each in networks]
    timed = sorted({0, len(networks) // 2, len(networks) - 1})[-_TIMED:]
    modules = [networks[place][0].build(_generator()) for place in timed]
    seen = [data.seen_as(networks[place][0].input_shape) for place in timed]
    batch = settings.search.trial.batch_size
    line = _line(
        [macs[place] for place in timed],
        [_step(module, each.train, batch) for module, each in zip(modules, seen, strict=True)],
    )
    folds = fold_count(data.train, settings.search) if isinstance(space, OpenSpace) else 1
    tried = round((sum(PARTS[:2]) if folds == 1 else 1 - 1 / folds) * examples)
    count = len(networks) + joining
    trainings, epochs = planned_epochs(count, settings.search.trial, tried)
    phases = {}
    if name != "halving":
        assert isinstance(space, Searchable), "several families are searched by halving"
        phases["search"] = _supernet(space, data, settings, name)
    work = folds * epochs * settings.search.trial.steps(tried) * float(np.mean(line(macs)))
    at_a_time = at_once(workers, settings.search.trial, find_device(settings.device))
    with TemporaryDirectory() as folder:
        checkpoint = _filled(Path(folder), modules, count=folds * len(networks))
        with clocks.stopped():  # several processes at once say nothing of one
            beside = _beside(
                [networks[place][0] for place in timed],
                seen,
                checkpoint,
                ranked=examples - tried,
                batch=batch,
                workers=at_a_time,
            )
        save = _timed(lambda: checkpoint.save("estimate", {"weights": _state(modules[-1])}))
    # all processes' states are saved by one
    saves = folds * (epochs - trainings) * save
    phases["trials"] = (work + folds * trainings * beside) / at_a_time + saves
    # who wins is not known: a network of the middle
    place = len(networks) // 2
    scale = float(line([macs[place]])[0])
    phases["training"] = (
        _recipe(settings.train, examples) * scale * settings.train.batch_size / batch
    )
    middle = len(modules) // 2
    step, example = _quantized(networks[place][0], modules[middle], seen[middle], settings.quantize)
    phases["quantization"] = _recipe(settings.quantize, examples) * step
    judged = len((data.test or data.validation).labels)
    phases["checks"] = example * (judged + _CHECKED)
    busy = clocks.ratio()
    phases = {phase: busy * seconds for phase, seconds in phases.items()}
    return Estimate(phases, count, folds * trainings)


class _Clocks:
    """How long a second of CPU takes: other programs want it, too.

    Over all that is measured, since half a second on a busy machine says nothing of the next.
    """

    def __init__(self) -> None:
        self._wall, self._cpu = -time.perf_counter(), -time.process_time()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self._wall += time.perf_counter()
        self._cpu += time.process_time()
        yield
        self._wall -= time.perf_counter()
        self._cpu -= time.process_time()

    def ratio(self) -> float:
        return (self._wall + time.perf_counter()) / (self._cpu + time.process_time())


def _candidates(
    space: Searchable | OpenSpace, data: DataSet, settings: RunSettings
) -> tuple[str, list[tuple[Architecture, int]], int]:
    """Return the strategy, networks like those that will be tried with their
    multiply-accumulates, and how many more join them."""
    problem = problem_of(space, settings.load_board(), settings.budget, known=data.meaning)
    source = random.Random(f"{settings.seed} draw")
    if isinstance(problem, OpenProblem):
        found = problem.first(settings.search.draws, source) + problem.rivals(data)
        networks = [(each.architecture, each.costs.macs) for each in found]
        return "halving", networks, settings.search.draws // 2
    examples = len(data.train.labels)
    name, _ = choose(problem, settings.search, examples=examples, processes=1)
    count = settings.search.draws if name == "halving" else settings.search.finalists
    proposed = draw(problem, count=count, source=source)
    choices = {problem.space.canonical(choice): choice for choice in proposed}
    for choice in uniform_networks(problem):
        choices.setdefault(problem.space.canonical(choice), choice)
    return (
        name,
        [
            (problem.space.architecture(choice), problem.costs(choice).macs)
            for choice in choices.values()
        ],
        0,
    )


def _generator() -> torch.Generator:
    return generator_for(0, "estimate")


def _recipe(recipe: Recipe, examples: int) -> float:
    return float(recipe.epochs * recipe.steps(examples))


def _step(module: nn.Module, split: Split, batch: int) -> float:
    """Return seconds of CPU of a training step, augmentation included."""
    count = min(len(split.labels), batch)
    few = Subset(split, torch.linspace(0, len(split.labels) - 1, count).long())
    recipe = Recipe(epochs=1, batch_size=count)
    return _timed(lambda: fit(module, few, recipe, seed=0, section="estimate"))


def _filled(folder: Path, modules: Sequence[nn.Module], *, count: int) -> Checkpoint:
    """Return a checkpoint as large as that of half as many trials in the middle of a search."""
    checkpoint = Checkpoint(folder / "estimate.pt")
    states = [_state(modules[place % len(modules)]) for place in range(count // 2)]
    checkpoint.save("others", {str(place): state for place, state in enumerate(states)})
    return checkpoint


def _state(module: nn.Module) -> torch.Tensor:
    """Return numbers as many as a training of a module saves: weights and two moments."""
    return torch.zeros(3 * sum(each.numel() for each in module.parameters()))


def _beside(
    networks: Sequence[Architecture],
    seen: Sequence[DataSet],
    checkpoint: Checkpoint,
    *,
    ranked: int,
    batch: int,
    workers: int,
) -> float:
    """Return seconds of CPU of a trial beside its steps: a process, what it saves, its ranking."""

    def trial(place: int, kept: Checkpoint) -> None:
        network, data = networks[place % len(networks)].build(_generator()), seen[place % len(seen)]
        few = Subset(data.train, torch.arange(min(len(data.train.labels), batch)))
        recipe = Recipe(epochs=1, batch_size=len(few.labels))
        fit(network, few, recipe, seed=0, section=f"estimate/{place}", checkpoint=kept)
        evaluate(network, Subset(data.train, torch.arange(ranked)))

    count = 2 * workers
    jobs = {str(place): partial(trial, place) for place in range(count)}
    start = sum(os.times()[:4])
    for _ in side_by_side(jobs, workers=workers, checkpoint=checkpoint):
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


def _line(
    macs: Sequence[float], seconds: Sequence[float]
) -> Callable[[Sequence[float]], np.ndarray]:
    """Return seconds by multiply-accumulates: a line through measurements, never falling."""
    if len(set(macs)) < 2:
        return lambda others: np.full(len(others), seconds[0])
    slope, base = np.polyfit(macs, seconds, 1)
    if slope < 0:
        return lambda others: np.full(len(others), float(np.mean(seconds)))
    return lambda others: np.maximum(base + slope * np.asarray(others), min(seconds) / 2)


def _quantized(
    architecture: Architecture, network: nn.Module, data: DataSet, recipe: Recipe
) -> tuple[float, float]:
    """Return seconds of a quantization-aware step, and of an example by integer execution."""
    quantized = QuantizedNetwork(architecture.float_graph(network))
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
    start = time.process_time()
    run.round(data.train, data.train)  # type: ignore[attr-defined]
    step = (time.process_time() - start) / _SUPERNET
    # warm-up trains weights alone, about half of an alternation, and ends early when it may
    return step * (search.steps + search.warmup / 4)
