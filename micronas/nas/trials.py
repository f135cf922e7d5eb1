"""The choice of the final network: strategies propose, real training disposes.

Proposals, together with uniformly narrowed networks, are trained for a short while, and the best of
those wins. So a bad search costs no more than the trivial answer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from micronas.checkpoint import Checkpoint
from micronas.data import Split
from micronas.hardware.costs import Costs
from micronas.space.decisions import Choice
from micronas.space.searchable import Architecture
from micronas.train.loop import evaluate, fit, generator_for
from micronas.train.recipe import Recipe

_FINISH = 5
"""Candidates, about, whose trials go to the end."""
_TELLING = 100
"""Fewest steps of a training after which networks are compared: deep ones start slowly, and with
fewer were dropped early though they ended ahead."""


@dataclass(frozen=True)
class Candidate:
    """A network that fits, and what is known about how good it is."""

    origin: str
    """``search`` or ``uniform``."""
    choice: Choice
    architecture: Architecture
    costs: Costs
    supernet_loss: float | None = None
    """Cross-entropy with shared weights, at the best temperature."""
    trial_loss: float | None = None
    trial_accuracy: float | None = None
    """After a short training of its own, on the ranking part."""
    trial_epochs: int = 0
    trial_accuracies: tuple[tuple[int, float], ...] = ()
    """Epochs of each comparison it took part in, and its accuracy then."""


def trials(
    candidates: list[Candidate],
    training: Split,
    ranking: Split,
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
) -> list[Candidate]:
    """Train candidates by successive halving and return them, the best first.

    All train for the first part of the recipe's epochs, at least for `_TELLING` steps, the better
    half of them for twice as long, and so on to the end, which about `_FINISH` reach. Every
    decision is taken on the ranking part, which no weight has seen.
    """
    rungs = rung_epochs(len(candidates), recipe.epochs, recipe.steps(len(training.labels)))
    scores: dict[str, list[float]] = dict(checkpoint.load("trials") or {})
    left, losers = candidates, list[Candidate]()
    networks: dict[str, nn.Module] = {}
    planned, done = _planned(len(candidates), len(rungs)), 0
    progress(done, planned)
    for epochs in rungs:
        tried = []
        for candidate in left:
            name = f"trial/{candidate.architecture}"
            key = f"{name} after {epochs}"
            # a finished trial is looked up: its weights may have been trained further since
            if key not in scores:
                if name not in networks:
                    generator = generator_for(seed, "initial", name)
                    networks[name] = candidate.architecture.build(generator)
                network = networks[name]
                fit(
                    network,
                    training,
                    recipe,
                    seed=seed,
                    section=name,
                    checkpoint=checkpoint,
                    until=epochs,
                )
                found = evaluate(network, ranking)
                scores[key] = [found.loss, found.accuracy]
                checkpoint.save("trials", dict(scores))
            loss, accuracy = scores[key]
            tried.append(
                replace(
                    candidate,
                    trial_loss=loss,
                    trial_accuracy=accuracy,
                    trial_epochs=epochs,
                    trial_accuracies=(*candidate.trial_accuracies, (epochs, accuracy)),
                )
            )
            done += 1
            progress(done, planned)
        tried.sort(key=lambda each: each.trial_loss or 0.0)
        keep = len(tried) if epochs == rungs[-1] else -(-len(tried) // 2)
        left, losers = tried[:keep], tried[keep:] + losers
    checkpoint.discard("trial/")
    return left + losers


def ahead_of_other_origin(candidates: Sequence[Candidate]) -> tuple[float, int] | None:
    """Return the winner's accuracy minus the best of the other origin, and the epochs of both.

    Accuracies of equal epochs are compared, the most that the winner and a network of the other
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
    return -(-count >> halvings)
