"""Trials: trainings of candidates side by side, which rank them by data that no weight has seen."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Protocol

import torch

from micronas.checkpoint import Checkpoint, State
from micronas.cluster import connected
from micronas.data import DataSet
from micronas.nas.candidate import Candidate
from micronas.nas.comparison import Comparison
from micronas.nas.strategies.base import Context, Training
from micronas.space.searchable import Architecture
from micronas.train.average import averaged, recalibrated
from micronas.train.loop import fit, generator_for, predict
from micronas.train.on_ray import on_ray
from micronas.train.recipe import Recipe
from micronas.train.side_by_side import Job, processors, side_by_side

_CPU = torch.device("cpu")
_SECTION = "trials"
"""Where the scores of trainings are kept."""
Score = tuple[float, float, str | list[float]]
"""Of a training: what `micronas.objectives.base.Trial` holds."""


class _Executor(Protocol):
    """Runs trainings, at once or one after another; see `side_by_side`."""

    def __call__(
        self, jobs: Mapping[str, Job[Score]], *, checkpoint: Checkpoint
    ) -> Iterator[tuple[str, Score]]: ...


class Trials:
    """Trains what a strategy asks for, and looks up what is trained already.

    A candidate is trained on each fold, a network of its own each time, in the shape of its own
    input; scores are means over folds. Before the recipe ends the rate is high, and the mean of
    recent weights is judged (`micronas.train.average`); at the end, weights. Results depend neither
    on how many trainings run at once nor on kills.

    Parameters
    ----------
    planned
        Trainings that the strategy plans, for progress.
    """

    def __init__(self, context: Context, executor: _Executor, *, planned: int) -> None:
        self._context, self._executor, self._planned = context, executor, planned
        self._scores: dict[str, Score] = dict(context.checkpoint.load(_SECTION) or {})
        self._groups = {
            id(each): tuple(each.validation.groups.tolist())
            for each in (*context.folds, *context.finals)
        }
        self._reached: dict[str, int] = {}
        """Epochs that each training was asked for, at most."""
        self._kept: set[str] = set()
        """Trainings whose weights are kept: those of the last ask."""

    def __call__(self, asked: Sequence[Training]) -> tuple[list[Candidate], int]:
        """Train candidates.

        Returns
        -------
        candidates
            In the order asked, with what their trials gave.
        epochs
            How many that took, whether they were looked up or not.
        """
        if not self._reached:
            self._tell()
        checkpoint = self._context.checkpoint
        sections = {
            section: (each, data)
            # the longest first, so that all processes end at about the same time
            for each in sorted(asked, key=lambda each: -each.candidate.costs.macs)
            for section, data in self._sections(each).items()
        }
        checkpoint.discard(self._kept - sections.keys())
        # a finished training is looked up: its weights may have been trained further since
        missing = {
            section: self._job(section, each, data)
            for section, (each, data) in sections.items()
            if _key(section, each.epochs) not in self._scores
        }
        for section, score in self._executor(missing, checkpoint=checkpoint):
            self._scores[_key(section, sections[section][0].epochs)] = score
            checkpoint.save_soon(_SECTION, dict(sorted(self._scores.items())))
            shown = f"validation_{self._context.data.objective.shown_key}"
            self._tell({"loss": score[0], shown: score[1]})
        if missing:
            checkpoint.save(_SECTION, dict(sorted(self._scores.items())))
        self._kept = set(sections)
        reached = {section: each.epochs for section, (each, _) in sections.items()}
        spent = sum(max(reached[each] - self._reached.get(each, 0), 0) for each in reached)
        self._reached |= reached
        return [self._told(each) for each in asked], spent

    def end(self) -> None:
        """Forget the weights of the last trainings."""
        self._context.checkpoint.discard(self._kept)

    def _tell(self, numbers: Mapping[str, float] = MappingProxyType({})) -> None:
        done = len(self._scores)
        self._context.progress("trials", done, max(done, self._planned), numbers)

    def _judges(self, training: Training) -> list[DataSet]:
        return self._context.folds + (self._context.finals if training.is_final else [])

    def _sections(self, training: Training) -> dict[str, DataSet]:
        """Name a candidate's trainings, one for each fold."""
        return {
            f"trial/{training.candidate}" + f"/{place}" * bool(place): fold
            for place, fold in enumerate(self._judges(training))
        }

    def _job(self, section: str, training: Training, data: DataSet) -> Job[Score]:
        return partial(
            _train,
            data,
            training.candidate.architecture,
            training.begin,
            training.recipe,
            section,
            training.epochs,
            self._context.seed,
            self._context.device,
        )

    def _told(self, training: Training) -> Candidate:
        judges, epochs = self._judges(training), training.epochs
        # scores of checkpoints from before it was kept end without what was right
        found = [self._scores[_key(each, epochs)] for each in self._sections(training)]
        losses, scores, *rest = zip(*found, strict=False)
        loss, score = (math.fsum(each) / len(found) for each in (losses, scores))
        epochs = epochs * len(judges) // len(self._context.folds)
        groups = tuple(self._groups[id(each)] for each in judges)
        gain = score if self._context.data.objective.shown.larger else -score
        comparison = Comparison(epochs, gain, rest[0] if rest else (), groups)
        return replace(
            training.candidate,
            trial_loss=loss,
            trial_score=score,
            trial_epochs=epochs,
            comparisons=(*training.candidate.comparisons, comparison),
        )


def _train(
    data: DataSet,
    architecture: Architecture,
    begin: State | None,
    recipe: Recipe,
    section: str,
    epochs: int,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint,
) -> Score:
    network = architecture.build(generator_for(seed, "initial", section))
    if begin is not None:
        network.load_state_dict(begin)
    seen = data.seen_as(architecture.input_shape)
    average = averaged(network) if epochs < recipe.epochs else None
    fit(
        network,
        seen.train,
        recipe,
        seed=seed,
        objective=data.objective,
        section=section,
        checkpoint=checkpoint,
        until=epochs,
        device=device,
        average=average,
    )
    if average is not None:
        source = generator_for(seed, "statistics", section, epochs)
        network = recalibrated(average.module, seen.train, recipe, source)
    found = data.objective.trial(predict(network, seen.validation), seen.validation.labels)
    return found.loss, found.score, found.values


def _key(section: str, epochs: int) -> str:
    return f"{section} after {epochs}"


@contextmanager
def executor(
    recipe: Recipe, device: torch.device, *, workers: int | None = None, ray: str | None = None
) -> Iterator[_Executor]:
    """Yield what runs trainings: processes of this machine, or tasks of Ray.

    Parameters
    ----------
    workers
        Trainings at once, at most; on a cluster that runs already Ray decides.
    ray
        The address of Ray, as `micronas.cluster.connected` takes it.
    """
    if ray is None:
        yield partial(side_by_side, workers=at_once(workers, recipe, device))
        return
    room = (workers or processors()) * recipe.threads
    with connected(ray, cpus=room) as module:
        yield partial(on_ray, ray=module, threads=recipe.threads)


def at_once(workers: int | None, recipe: Recipe, device: torch.device) -> int:
    """Return how many trainings run at once: one of several threads, or on an accelerator.

    A forked process has one thread, and no accelerator.
    """
    alone = recipe.threads > 1 or device != _CPU
    return 1 if alone else workers or processors()
