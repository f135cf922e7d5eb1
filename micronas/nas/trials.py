"""The choice of the final network: strategies propose, real training disposes.

Proposals, together with uniformly narrowed networks, are trained for a short while, and the best of
those wins. So a bad search costs no more than the trivial answer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet
from micronas.hardware.costs import Costs
from micronas.space.decisions import Choice
from micronas.space.searchable import Architecture, Searchable
from micronas.train.loop import evaluate, fit, generator_for
from micronas.train.recipe import Recipe
from micronas.train.side_by_side import processors, side_by_side

_FINISH = 5
"""Candidates, about, whose trials go to the end."""
_TELLING = 100
"""Fewest steps of a training after which networks are compared: deep ones start slowly, and with
fewer were dropped early though they ended ahead."""


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
    trial_accuracy: float | None = None
    """After a short training of its own, on the ranking part."""
    trial_epochs: int = 0
    trial_accuracies: tuple[tuple[int, float], ...] = ()
    """Epochs of each comparison it took part in, and its accuracy then."""

    def __str__(self) -> str:
        return self.label or str(self.architecture)


_CPU = torch.device("cpu")

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
    more: More | None = None,
    joining: int = 0,
    workers: int | None = None,
    device: torch.device = _CPU,
) -> list[Candidate]:
    """Train candidates by successive halving and return them, the best first.

    All train for the first part of the recipe's epochs, at least for `_TELLING` steps, the better
    half of them for twice as long, and so on to the end, which about `_FINISH` reach. Every
    decision is taken on the validation part, which no weight has seen.

    Parameters
    ----------
    folds
        Of each, the training part trains and the validation part judges, networks of their own;
        scores are means over folds. Each candidate sees them in the shape of its own input.
    more
        Asked once, after the first part, for up to `joining` candidates.
    workers
        Trainings at once, on which the result does not depend; by default one for each CPU.
    device
        Where to train; on an accelerator one after another.
    """
    count = len(candidates) + joining
    rungs = rung_epochs(count, recipe.epochs, recipe.steps(len(folds[0].train.labels)))
    scores: dict[str, list[float]] = dict(checkpoint.load("trials") or {})
    left, losers = candidates, list[Candidate]()
    planned, done = len(folds) * _planned(count, len(rungs)), 0
    progress(done, planned)

    def train(
        data: DataSet, candidate: Candidate, section: str, epochs: int, kept: Checkpoint
    ) -> list[float]:
        network = candidate.architecture.build(generator_for(seed, "initial", section))
        seen = data.seen_as(candidate.architecture.input_shape)
        fit(
            network,
            seen.train,
            recipe,
            seed=seed,
            section=section,
            checkpoint=kept,
            until=epochs,
            device=device,
        )
        found = evaluate(network, seen.validation)
        return [found.loss, found.accuracy]

    def trained(candidates: list[Candidate], epochs: int) -> list[Candidate]:
        nonlocal done
        jobs = {
            _key(section, epochs): partial(train, data, each, section, epochs)
            for each in candidates
            for section, data in zip(_sections(each, len(folds)), folds, strict=True)
        }
        # a finished trial is looked up: its weights may have been trained further since
        missing = {key: job for key, job in jobs.items() if key not in scores}
        done += len(jobs) - len(missing)
        for key, score in side_by_side(
            missing, workers=at_once(workers, recipe, device), checkpoint=checkpoint
        ):
            scores[key] = score
            checkpoint.save_soon("trials", dict(sorted(scores.items())))
            done += 1
            progress(done, planned)
        if missing:
            checkpoint.save("trials", dict(sorted(scores.items())))
        return [told(each, epochs) for each in candidates]

    def told(candidate: Candidate, epochs: int) -> Candidate:
        found = [scores[_key(section, epochs)] for section in _sections(candidate, len(folds))]
        loss, accuracy = (math.fsum(each) / len(folds) for each in zip(*found, strict=True))
        return replace(
            candidate,
            trial_loss=loss,
            trial_accuracy=accuracy,
            trial_epochs=epochs,
            trial_accuracies=(*candidate.trial_accuracies, (epochs, accuracy)),
        )

    for epochs in rungs:
        tried = sorted(trained(left, epochs), key=_loss)
        if more is not None and epochs == rungs[0]:
            tried = sorted(tried + trained(more(tried), epochs), key=_loss)
        keep = len(tried) if epochs == rungs[-1] else -(-len(tried) // 2)
        left, losers = tried[:keep], tried[keep:] + losers
        for each in losers if epochs < rungs[-1] else left:
            checkpoint.discard(_sections(each, len(folds)))
    return left + losers


def _sections(candidate: Candidate, folds: int) -> list[str]:
    """Names of a candidate's trainings, one for each fold."""
    return [f"trial/{candidate}" + f"/{place}" * bool(place) for place in range(folds)]


def _key(section: str, epochs: int) -> str:
    return f"{section} after {epochs}"


def at_once(workers: int | None, recipe: Recipe, device: torch.device) -> int:
    """Return how many trainings run at once: one of several threads, or on an accelerator.

    A forked process has one thread, and no accelerator.
    """
    alone = recipe.threads > 1 or device != _CPU
    return 1 if alone else workers or processors()


def _loss(candidate: Candidate) -> float:
    return candidate.trial_loss or 0.0


def ahead_of_other_origin(candidates: Sequence[Candidate]) -> tuple[float, int] | None:
    """Return the winner's accuracy minus the best of the other origins, and the epochs of both.

    Accuracies of equal epochs are compared, the most that the winner and a network of another
    origin both reached; None where there is no other origin.
    """
    winner = candidates[0]
    own = dict(winner.trial_accuracies)
    best: dict[int, float] = {}
    for each in candidates:
        if each.origin != winner.origin:
            for epochs, accuracy in each.trial_accuracies:
                best[epochs] = max(accuracy, best.get(epochs, 0.0))
    shared = max(own.keys() & best.keys(), default=None)
    return None if shared is None else (own[shared] - best[shared], shared)


def rung_epochs(count: int, epochs: int, steps: int) -> list[int]:
    """Epochs after which the worse half goes, and the last; an epoch has so many steps."""
    halvings = max(1, math.ceil(math.log2(max(count, 1) / _FINISH)))
    rungs = {-(-epochs // 2**power) for power in range(1, halvings + 1)}
    return [*sorted(each for each in rungs if each < epochs and each * steps >= _TELLING), epochs]


def planned_epochs(count: int, recipe: Recipe, examples: int) -> tuple[int, int]:
    """Return how often so many candidates are compared, and the epochs of all their trainings."""
    rungs = rung_epochs(count, recipe.epochs, recipe.steps(examples))
    epochs, before = 0, 0
    for place, rung in enumerate(rungs):
        epochs += _left(count, place) * (rung - before)
        before = rung
    return _planned(count, len(rungs)), epochs


def _planned(count: int, rungs: int) -> int:
    return sum(_left(count, place) for place in range(rungs))


def _left(count: int, halvings: int) -> int:
    """Candidates after so many halvings, each rounded up."""
    return -(-count // (1 << halvings))
