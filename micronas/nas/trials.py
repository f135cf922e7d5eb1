"""Trials: train candidates side by side, and rank them on data that trained no weight."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from numbers import Integral
from types import MappingProxyType

import torch

from micronas.checkpoint import Checkpoint, State
from micronas.cluster import connected
from micronas.data import DataSet
from micronas.errors import ConfigError
from micronas.nas.candidate import Candidate
from micronas.nas.comparison import Comparison
from micronas.nas.strategies.base import Context, Executor, Training
from micronas.train.loop import fit, generator_for, predict
from micronas.train.on_ray import on_ray
from micronas.train.recipe import Recipe
from micronas.train.side_by_side import Job, processors, side_by_side

_CPU = torch.device("cpu")
_SECTION = "trials"
"""Section of the checkpoint with the scores of trainings."""
Score = tuple[float, float, str | list[float]]
"""Result of a training, the fields of `micronas.objectives.base.Trial`."""


class Trials:
    """Runs the trainings that a strategy asks for, and looks up finished ones.

    A candidate is trained on each fold from new weights, in the shape of its own input; scores are
    means over folds. Results depend neither on the number of trainings at once nor on kills. For
    progress, `planned` is the number of trainings that the strategy plans.
    """

    def __init__(self, context: Context, *, planned: int) -> None:
        self._context, self._planned = context, planned
        self._scores: dict[str, Score] = dict(context.checkpoint.load(_SECTION) or {})
        self._groups = {id(each): tuple(each.validation.groups.tolist()) for each in context.folds}
        self._reached: dict[str, int] = {}
        """Most epochs so far of each training."""
        self._recipes: dict[str, Recipe] = {}
        self._kept: set[str] = set()
        """Trainings whose weights are kept: those of the last ask."""

    def __call__(self, asked: Sequence[Training]) -> tuple[list[Candidate], int]:
        """Train candidates.

        Returns them in the order asked, with the results of their trials, and the epochs of these
        trainings, looked up ones included.
        """
        if not self._reached:
            self._report()
        checkpoint = self._context.checkpoint
        ends: dict[str, int] = {}
        for each in asked:
            if self._recipes.setdefault(each.candidate.label, each.recipe) != each.recipe:
                raise ConfigError(
                    f"all trainings of a candidate must have one recipe, but {each.candidate} was "
                    "asked for with two; compare recipes in searches of their own"
                )
            own = section_of(each.candidate)
            is_new = _key(own, each.epochs) not in self._scores
            if ends.setdefault(own, each.epochs) != each.epochs or (
                is_new and each.epochs < self._reached.get(own, 0)
            ):
                raise ConfigError(
                    f"a training must go on from where it ended, but that of {each.candidate} was "
                    f"asked for {each.epochs} epochs after or beside other ones; ask for fewer "
                    "epochs first, and for more in the next ask"
                )
        sections = {
            section: (each, data)
            # the longest first, so that all processes end at about the same time
            for each in sorted(asked, key=lambda each: -each.candidate.costs.macs)
            for section, data in self._sections(each).items()
        }
        checkpoint.discard(self._kept - sections.keys())
        # look up a finished training: its weights may have been trained further since
        seed, device = self._context.seed, self._context.device
        missing: dict[str, Job[Score]] = {
            section: partial(_train, data, each, section, seed, device)
            for section, (each, data) in sections.items()
            if _key(section, each.epochs) not in self._scores
        }
        for section, score in self._context.run(missing, checkpoint=checkpoint):
            self._scores[_key(section, sections[section][0].epochs)] = score
            checkpoint.save_soon(_SECTION, dict(sorted(self._scores.items())))
            shown = f"validation_{self._context.data.objective.shown_key}"
            self._report({"loss": score[0], shown: score[1]})
        if missing:
            checkpoint.save(_SECTION, dict(sorted(self._scores.items())))
        self._kept = set(sections)
        reached = {section: each.epochs for section, (each, _) in sections.items()}
        spent = sum(max(reached[each] - self._reached.get(each, 0), 0) for each in reached)
        self._reached |= reached
        return [self._with_results(each) for each in asked], spent

    def end(self, winner: Candidate) -> State | None:
        """Discard the weights of the last trainings and return the winner's, on the first fold.

        The winner's stay in the checkpoint, so that a killed final training begins with them again.
        None where the winner is not among the last trainings.
        """
        own, checkpoint = section_of(winner), self._context.checkpoint
        checkpoint.discard(self._kept - {own})
        state = checkpoint.load(own) if own in self._kept else None
        return None if state is None else state["module"]

    def _report(self, numbers: Mapping[str, float] = MappingProxyType({})) -> None:
        done = len(self._scores)
        self._context.progress("trials", done, max(done, self._planned), numbers)

    def _sections(self, training: Training) -> dict[str, DataSet]:
        """Name a candidate's trainings, one for each fold."""
        return {
            section_of(training.candidate) + f"/{place}" * bool(place): fold
            for place, fold in enumerate(self._context.folds)
        }

    def _with_results(self, training: Training) -> Candidate:
        folds, epochs = self._context.folds, training.epochs
        found = [self._scores[_key(each, epochs)] for each in self._sections(training)]
        losses, scores, values = zip(*found, strict=True)
        loss, score = (math.fsum(each) / len(found) for each in (losses, scores))
        groups = tuple(self._groups[id(each)] for each in folds)
        gain = score if self._context.data.objective.shown.larger else -score
        comparison = Comparison(epochs, gain, values, groups)
        return replace(
            training.candidate,
            trial_loss=loss,
            trial_score=score,
            trial_epochs=epochs,
            comparisons=(*training.candidate.comparisons, comparison),
        )


def section_of(candidate: Candidate) -> str:
    """Return the section of a checkpoint with a candidate's weights, on the first fold."""
    return f"trial/{candidate}"


def _train(
    data: DataSet,
    training: Training,
    section: str,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint,
) -> Score:
    architecture, recipe = training.candidate.architecture, training.recipe
    network = architecture.build(generator_for(seed, "initial", section))
    if training.begin is not None:
        network.load_state_dict(training.begin)
    seen = data.seen_as(architecture.input_shape)
    fit(
        network,
        seen.train,
        recipe,
        seed=seed,
        objective=data.objective,
        section=section,
        checkpoint=checkpoint,
        until=training.epochs,
        device=device,
    )
    found = data.objective.trial(predict(network, seen.validation), seen.validation.labels)
    return found.loss, found.score, found.values


def _key(section: str, epochs: int) -> str:
    return f"{section} after {epochs}"


@contextmanager
def executor(
    recipe: Recipe, device: torch.device, *, workers: int | None = None, ray: str | None = None
) -> Iterator[Executor]:
    """Yield an executor of trainings: processes of this machine, or tasks of Ray.

    `workers` is the most at once; on a running cluster Ray decides. `ray` is an address as for
    `micronas.cluster.connected`.
    """
    if ray is None:
        yield partial(side_by_side, workers=at_once(workers, recipe, device))
        return
    room = (workers or processors()) * recipe.threads
    with connected(ray, cpus=room) as module:
        yield partial(on_ray, ray=module, threads=recipe.threads)


def at_once(workers: int | None, recipe: Recipe, device: torch.device) -> int:
    """Return the number of trainings at once: one where it has several threads or an accelerator.

    A forked process has one thread, and no accelerator.
    """
    if workers is not None and not (isinstance(workers, Integral) and workers >= 1):
        raise ConfigError(f"workers must be 1 or more, but got {workers!r}; leave it out")
    alone = recipe.threads > 1 or device != _CPU
    return 1 if alone else workers or processors()
