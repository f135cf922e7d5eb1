"""The choice of the final network: the supernet proposes, real training disposes.

Sampled networks inside the budget are ranked with shared weights; the best of them, together
with uniformly narrowed networks, are trained for a short while, and the best of those wins. So a
bad search costs no more than the trivial answer.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from micronas.checkpoint import Checkpoint
from micronas.data import Split
from micronas.graph.builder import Bits
from micronas.nas.budget import Costs, Limits, Meter
from micronas.nas.gates import Gates
from micronas.nas.supernet import SharedNetwork
from micronas.space.architecture import Architecture
from micronas.space.search_space import Choice, Decision, SearchSpace
from micronas.train.loop import (
    evaluate,
    fit,
    generator_for,
    temperature_scaled_loss,
)
from micronas.train.network import Network
from micronas.train.recipe import Recipe

USED = 0.9
"""Least share of the binding budget that a proposal uses."""
_DRAWS = 40
"""Draws from the gates for each proposal wanted, before draws are adjusted to the budget."""
_MOVES = 400
"""Single-step changes tried to bring one draw inside the budget."""
_RANKING_BATCH = 1024
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
    architecture: Architecture
    costs: Costs
    supernet_loss: float | None = None
    """Cross-entropy with shared weights, at the best temperature."""
    trial_loss: float | None = None
    trial_accuracy: float | None = None
    """After a short training of its own, on the ranking part."""
    trial_epochs: int = 0


def propose(
    space: SearchSpace,
    gates: Gates,
    limits: Limits,
    meter: Meter,
    *,
    count: int,
    generator: torch.Generator,
) -> list[Choice]:
    """Draw different networks that use 90 to 100 % of the budget.

    Draws that miss are thrown away; if too few hit, further draws are moved by single options,
    at random, until they do. A space whose largest network fits is drawn from as it is.
    """
    floor = USED if not limits.fits(meter.costs(space.architecture(space.largest()))) else 0.0
    found: dict[Architecture, Choice] = {}

    def keep(choice: Choice) -> None:
        architecture = space.architecture(choice)
        share = max(limits.used(meter.costs(architecture)).values())
        if floor <= share <= 1.0:
            found.setdefault(architecture, choice)

    for _ in range(_DRAWS * count):
        if len(found) >= count:
            break
        keep(gates.draw(generator))
    source = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
    for _ in range(2 * count):
        if len(found) >= count:
            break
        keep(moved(space, gates.draw(generator), floor, limits, meter, source))
    return list(found.values())


def moved(
    space: SearchSpace,
    choice: Choice,
    floor: float,
    limits: Limits,
    meter: Meter,
    source: random.Random,
) -> Choice:
    for _ in range(_MOVES):
        used = limits.used(meter.costs(space.architecture(choice)))
        binding = max(used, key=lambda name: used[name])
        if floor <= used[binding] <= 1.0:
            break
        direction = 1 if used[binding] < floor else -1
        steps = {
            position: direction * _grows(decision, binding)
            for position, decision in enumerate(space.decisions)
        }
        movable = [
            position
            for position, decision in enumerate(space.decisions)
            if steps[position] and 0 <= choice[position] + steps[position] < len(decision.options)
        ]
        if not movable:
            break
        position = source.choice(movable)
        step = steps[position]
        choice = (*choice[:position], choice[position] + step, *choice[position + 1 :])
    return choice


def _grows(decision: Decision, cost: str) -> int:
    """Sign with which a cost follows a decision: bits take flash, and fewer take more time."""
    if decision.name.endswith(".bits"):
        return {"flash": 1, "latency": -1}.get(cost, 0)
    return 1


def uniform_networks(space: SearchSpace, limits: Limits, meter: Meter) -> list[Choice]:
    """The widest uniform network that fits, for each of up to three depths.

    Where 4 bits are a choice, of the full depth also the widest that takes them everywhere.
    """
    found: dict[Architecture, Choice] = {}
    kinds: list[tuple[float, Bits]] = [(1.0, 8), (2 / 3, 8), (1 / 3, 8), (1.0, 4)]
    for depth, bits in kinds:
        fitting = [
            choice
            for percent in range(1, 101)
            if limits.fits(
                meter.costs(space.architecture(choice := space.uniform(percent / 100, depth, bits)))
            )
        ]
        if fitting:
            found.setdefault(space.architecture(fitting[-1]), fitting[-1])
    return list(found.values())


def rank(supernet: SharedNetwork, choices: list[Choice], split: Split, seed: int) -> list[float]:
    """Cross-entropy of each network with shared weights, at its best temperature.

    Batch norm is recalibrated on the ranking part itself (see `supernet.SharedConv`).
    """
    order = torch.randperm(len(split.labels), generator=generator_for(seed, "rank"))
    batches = [
        (split.batch(index, None), split.labels[index])
        for index in torch.tensor_split(order, -(-len(order) // _RANKING_BATCH))
    ]
    labels = torch.cat([labels for _, labels in batches])
    losses = []
    with torch.inference_mode():
        for choice in choices:
            logits = torch.cat([supernet.sliced(inputs, choice) for inputs, _ in batches])
            losses.append(float(temperature_scaled_loss(logits, labels)[0]))
    return losses


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
    networks: dict[Architecture, Network] = {}
    planned, done = _planned(len(candidates), len(rungs)), 0
    for epochs in rungs:
        tried = []
        for candidate in left:
            name = f"trial/{candidate.architecture}"
            key = f"{name} after {epochs}"
            # a finished trial is looked up: its weights may have been trained further since
            if key not in scores:
                network = networks.setdefault(
                    candidate.architecture,
                    Network(
                        candidate.architecture.graph(),
                        generator=generator_for(seed, "initial", name),
                    ),
                )
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
                replace(candidate, trial_loss=loss, trial_accuracy=accuracy, trial_epochs=epochs)
            )
            done += 1
            progress(done, planned)
        tried.sort(key=lambda each: each.trial_loss or 0.0)
        keep = len(tried) if epochs == rungs[-1] else -(-len(tried) // 2)
        left, losers = tried[:keep], tried[keep:] + losers
    checkpoint.discard("trial/")
    return left + losers


def rung_epochs(count: int, epochs: int, steps: int) -> list[int]:
    """Epochs after which the worse half goes, and the last; an epoch has so many steps."""
    halvings = max(1, math.ceil(math.log2(max(count, 1) / _FINISH)))
    rungs = {-(-epochs // 2**power) for power in range(1, halvings + 1)}
    return [*sorted(each for each in rungs if each < epochs and each * steps >= _TELLING), epochs]


def _planned(count: int, rungs: int) -> int:
    total = 0
    for _ in range(rungs):
        total += count
        count = -(-count // 2)
    return total
