"""The choice of the final network: strategies propose, real training disposes.

Proposals, together with uniformly narrowed networks, are trained for a short while, and the best of
those wins. So a bad search costs no more than the trivial answer.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Protocol

import torch

from micronas.checkpoint import Checkpoint, State
from micronas.cluster import connected
from micronas.data import DataSet
from micronas.hardware.costs import Costs
from micronas.nas.comparison import Comparison, Lead, lead_over
from micronas.space.decisions import Choice
from micronas.space.searchable import Architecture, Searchable
from micronas.train.average import averaged, recalibrated
from micronas.train.loop import fit, generator_for, predict
from micronas.train.on_ray import on_ray
from micronas.train.recipe import Recipe
from micronas.train.scores import temperature_scaled_loss
from micronas.train.side_by_side import Job, processors, side_by_side

_FINISH = 5
"""Candidates, about, whose trials go to the end, and at most, that have further trainings then."""
_TELLING = 150
"""Fewest steps of a training after which networks are compared: deep and wide ones start slowly,
and with fewer were dropped early though they ended ahead. What more than 100 gain on average is
not confirmed (docs/results/search.md)."""


@dataclass(frozen=True)
class Candidate:
    """A network that fits, and what is known about how good it is."""

    origin: str
    """``search``, ``uniform`` or ``textbook``."""
    choice: Choice
    architecture: Architecture
    costs: Costs
    space: Searchable
    """Where the choice is made; of an open space, the member."""
    label: str = ""
    """Tells it apart from all others; the architecture's own text if left out."""
    supernet_loss: float | None = None
    """Cross-entropy with shared weights, at the best temperature."""
    trial_loss: float | None = None
    """Cross-entropy at the best temperature after a short training of its own, on the ranking part;
    plain cross-entropy would compare how large the logits of different families are."""
    trial_accuracy: float | None = None
    """Of the same."""
    trial_epochs: int = 0
    """Of its trainings together, where it had more than one of each fold."""
    comparisons: tuple[Comparison, ...] = ()
    """Those it took part in, the first first."""

    def __str__(self) -> str:
        return self.label or str(self.architecture)


_CPU = torch.device("cpu")
Score = tuple[float, float, str]
"""Of a training: loss, accuracy, and on which examples it was right (`Comparison.right`)."""


class Crew(Protocol):
    """Runs trainings, at once or one after another; see `side_by_side`."""

    def __call__(
        self, jobs: Mapping[str, Job[Score]], *, checkpoint: Checkpoint
    ) -> Iterator[tuple[str, Score]]: ...


More = Callable[[list[Candidate]], list[Candidate]]
"""Given what was tried, the best first, returns candidates that join before the first half goes."""


def trials(
    candidates: list[Candidate],
    folds: Sequence[DataSet],
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
    finals: Sequence[DataSet] = (),
    more: More | None = None,
    joining: int = 0,
    crew: Crew | None = None,
    device: torch.device = _CPU,
    begins: Mapping[Choice, State] = MappingProxyType({}),
) -> list[Candidate]:
    """Train candidates by successive halving and return them, the best first.

    All train for the first part of the recipe's epochs, at least for `_TELLING` steps, the better
    half of them for twice as long, and so on to the end, which about `_FINISH` reach. Every
    decision is taken on the validation part, which no weight has seen. Before the end the rate is
    high, and the mean of recent weights is judged (`micronas.train.average`); at the end, weights.

    Parameters
    ----------
    folds
        Of each, the training part trains and the validation part judges, networks of their own;
        scores are means over folds. Each candidate sees them in the shape of its own input.
    finals
        Further folds, of the best `_FINISH` of those that reach the end.
    more
        Asked once, after the first part, for up to `joining` candidates.
    crew
        Runs the trainings, which the result does not depend on; as many at once as there are CPUs
        by default.
    device
        Where to train; on an accelerator one after another.
    begins
        Weights that networks begin with; others are drawn.
    """
    count = len(candidates) + joining
    rungs = rung_epochs(count, recipe.epochs, recipe.steps(len(folds[0].train.labels)))
    groups = tuple(tuple(each.validation.groups.tolist()) for each in (*folds, *finals))
    scores: dict[str, Score] = dict(checkpoint.load("trials") or {})
    left, losers = candidates, list[Candidate]()
    planned = _trainings(count, len(rungs), folds=len(folds), finals=len(finals))
    progress(len(scores), planned)
    run = crew or partial(side_by_side, workers=at_once(None, recipe, device))

    def train(
        data: DataSet,
        architecture: Architecture,
        begin: State | None,
        section: str,
        epochs: int,
        kept: Checkpoint,
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
            section=section,
            checkpoint=kept,
            until=epochs,
            device=device,
            average=average,
        )
        if average is not None:
            source = generator_for(seed, "statistics", section, epochs)
            network = recalibrated(average, seen.train, recipe, source)
        logits, labels = predict(network, seen.validation), seen.validation.labels
        loss, _ = temperature_scaled_loss(logits, labels)
        right = logits.argmax(1) == labels
        return loss.item(), right.double().mean().item(), "".join(map(str, right.int().tolist()))

    def trained(
        candidates: list[Candidate], epochs: int, judges: Sequence[DataSet]
    ) -> list[Candidate]:
        jobs = {
            section: partial(
                train, data, each.architecture, begins.get(each.choice), section, epochs
            )
            # the longest first, so that all processes end at about the same time
            for each in sorted(candidates, key=lambda each: -each.costs.macs)
            for section, data in _sections(each, judges).items()
        }
        # a finished trial is looked up: its weights may have been trained further since
        missing = {name: job for name, job in jobs.items() if _key(name, epochs) not in scores}
        for section, score in run(missing, checkpoint=checkpoint):
            scores[_key(section, epochs)] = score
            checkpoint.save_soon("trials", dict(sorted(scores.items())))
            progress(len(scores), planned)
        if missing:
            checkpoint.save("trials", dict(sorted(scores.items())))
        return sorted((told(each, epochs, judges) for each in candidates), key=_loss)

    def told(candidate: Candidate, epochs: int, judges: Sequence[DataSet]) -> Candidate:
        # scores of checkpoints from before it was kept end without what was right
        found = [scores[_key(each, epochs)] for each in _sections(candidate, judges)]
        losses, accuracies, *rest = zip(*found, strict=False)
        loss, accuracy = (math.fsum(each) / len(found) for each in (losses, accuracies))
        epochs = epochs * len(judges) // len(folds)
        right = rest[0] if rest else ()
        comparison = Comparison(epochs, accuracy, right, groups[: len(judges)])
        return replace(
            candidate,
            trial_loss=loss,
            trial_accuracy=accuracy,
            trial_epochs=epochs,
            comparisons=(*candidate.comparisons, comparison),
        )

    def forget(candidates: list[Candidate], judges: Sequence[DataSet]) -> None:
        for each in candidates:
            checkpoint.discard([*_sections(each, judges)])

    for epochs in rungs:
        tried = trained(left, epochs, folds)
        if more is not None and epochs == rungs[0]:
            tried = sorted(tried + trained(more(tried), epochs, folds), key=_loss)
        keep = len(tried) if epochs == rungs[-1] else -(-len(tried) // 2)
        left, losers = tried[:keep], tried[keep:] + losers
        forget(losers if epochs < rungs[-1] else left, folds)
    if finals:
        judges = [*folds, *finals]
        left = trained(left[:_FINISH], recipe.epochs, judges) + left[_FINISH:]
        forget(left[:_FINISH], judges)
    return left + losers


def _sections(candidate: Candidate, folds: Sequence[DataSet]) -> dict[str, DataSet]:
    """Name a candidate's trainings, one for each fold."""
    return {
        f"trial/{candidate}" + f"/{place}" * bool(place): fold for place, fold in enumerate(folds)
    }


def _key(section: str, epochs: int) -> str:
    return f"{section} after {epochs}"


@contextmanager
def gathered(
    recipe: Recipe, device: torch.device, *, workers: int | None = None, ray: str | None = None
) -> Iterator[Crew]:
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


def _loss(candidate: Candidate) -> float:
    return candidate.trial_loss or 0.0


def ahead_of_other_origin(candidates: Sequence[Candidate]) -> Lead | None:
    """Return the winner's lead over the best of the other origins after as many epochs; None where
    there is no other origin."""
    winner = candidates[0]
    others = (each.comparisons for each in candidates if each.origin != winner.origin)
    return lead_over(winner.comparisons, others)


def rung_epochs(count: int, epochs: int, steps: int) -> list[int]:
    """Epochs after which the worse half goes, and the last; an epoch has so many steps."""
    halvings = max(1, math.ceil(math.log2(max(count, 1) / _FINISH)))
    rungs = {-(-epochs // 2**power) for power in range(1, halvings + 1)}
    return [*sorted(each for each in rungs if each < epochs and each * steps >= _TELLING), epochs]


def planned_epochs(
    count: int, recipe: Recipe, examples: int, *, folds: int = 1, finals: int = 0
) -> tuple[int, int]:
    """Return how many trainings so many candidates get, one that goes on counted again, and the
    epochs of all."""
    rungs = rung_epochs(count, recipe.epochs, recipe.steps(examples))
    epochs, before = 0, 0
    for place, rung in enumerate(rungs):
        epochs += _left(count, place) * (rung - before)
        before = rung
    last = _trainings(count, len(rungs), folds=0, finals=finals)
    trainings = _trainings(count, len(rungs), folds=folds, finals=finals)
    return trainings, folds * epochs + last * recipe.epochs


def _trainings(count: int, rungs: int, *, folds: int, finals: int) -> int:
    compared = sum(_left(count, place) for place in range(rungs))
    return folds * compared + finals * min(_left(count, rungs - 1), _FINISH)


def _left(count: int, halvings: int) -> int:
    """Candidates after so many halvings, each rounded up."""
    return -(-count // (1 << halvings))
