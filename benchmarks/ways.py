"""Ways to propose networks by shared weights, for `benchmarks.proposals`, which describes them."""

import math
import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax

from benchmarks.quality import SEARCHES
from benchmarks.settings import BOARD, BUDGETS, space_of
from micronas.data import DataSet
from micronas.nas.member import Member
from micronas.nas.prior import PLACES, USED, Profile, draw, moved
from micronas.nas.problem import Problem
from micronas.nas.strategies.base import Context
from micronas.nas.strategies.ranked import Ranked
from micronas.nas.strategies.shared import rank
from micronas.nas.strategies.weights import batches
from micronas.nas.supernet.gates import Gates
from micronas.objectives.classes import CLASSES, temperature_scaled_loss
from micronas.space.decisions import Choice
from micronas.train.loop import generator_for

MORE = 600
BATCH = 512
"""Examples of the part for gates in a comparison of networks."""
SLOPES = 256
"""Of them, those for a gradient by all options, which costs several times as much."""
Floats = npt.NDArray[np.float64]
Losses = dict[Choice, float]


class Judge:
    """Shared weights, and what they say of networks.

    Attributes
    ----------
    known
        Losses on the ranking part of the networks that weights were trained on, the best first.
    """

    def __init__(self, setting: str, data: DataSet, seed: int) -> None:
        space = space_of(setting, len(data.classes))
        self.seed, self.data, self.member = seed, data, Member(space, BOARD, BUDGETS[setting])
        problem = Problem(space, BOARD, BUDGETS[setting])
        self._run = Ranked(Context(problem, data, SEARCHES["ranked"], seed))
        self._run.train()
        self.parts = self._run.parts
        self.net = self._run.weights.supernet
        self._losses: Losses = {}
        self.known = self.ranked(self._run.pool)

    def source(self, name: str) -> random.Random:
        return random.Random(f"{self.seed} {name}")

    def scores(self, choices: list[Choice]) -> list[float]:
        """Losses on the ranking part; a network is asked for once."""
        names = [self.member.space.canonical(each) for each in choices]
        pairs = zip(names, choices, strict=True)
        new = {name: each for name, each in pairs if name not in self._losses}
        losses = rank(self.net, list(new.values()), self.parts[2], self.seed)
        self._losses |= zip(new, losses, strict=True)
        return [self._losses[name] for name in names]

    def ranked(self, choices: list[Choice]) -> Losses:
        """Different networks and their losses on the ranking part, the best first."""
        different = list({self.member.space.canonical(each): each for each in choices}.values())
        scored = zip(different, self.scores(different), strict=True)
        return dict(sorted(scored, key=lambda pair: pair[1]))

    def finalists(self, ranked: Losses) -> list[Choice]:
        """The best of small and of large kernels in turn, as searches take them."""
        return list(self._run.best(ranked, self._run.settings.finalists))

    def batches(self, name: str, count: int) -> list[torch.Tensor]:
        """Batches of the part for gates."""
        return batches(self.parts[1], BATCH, count, generator_for(self.seed, name), CLASSES)

    def losses(self, choices: list[Choice], index: torch.Tensor) -> list[float]:
        """Losses on the same batch of the part for gates."""
        inputs, labels = self.parts[1].batch(index, None), self.parts[1].labels[index]
        with torch.inference_mode():
            logits = [self.net.sliced(inputs, each) for each in choices]
            return [float(temperature_scaled_loss(each, labels)[0]) for each in logits]

    def slopes(self, choice: Choice, index: torch.Tensor) -> list[torch.Tensor]:
        """Derivatives of the loss on a batch by each decision's gates [options], at a choice."""
        index = index[:SLOPES]
        inputs, labels = self.parts[1].batch(index, None), self.parts[1].labels[index]
        sample = Gates(self.member.space.decisions).one_hot(choice)
        gates = [each.requires_grad_() for each in sample.values()]
        self.net.requires_grad_(False)
        loss, _ = temperature_scaled_loss(self.net.masked(inputs, sample), labels, sharpest=1.0)
        self.net.requires_grad_(True)
        found = torch.autograd.grad(loss, gates, allow_unused=True, materialize_grads=True)
        return list(found)

    def at(self, place: Floats, source: random.Random) -> Choice | None:
        """The network within the budget whose profile is at a place of the unit cube."""
        space = self.member.space
        profile = Profile.at(space, np.clip(place, 0, 1).tolist(), source)
        choice = moved(self.member, profile.widest(self.member), USED, source)
        return choice if self.member.fits(choice) else None


def draws(judge: Judge) -> list[Choice]:
    return list(judge.known)


def more(judge: Judge) -> list[Choice]:
    return draw(judge.member, count=MORE, source=judge.source("more"))


def centre(judge: Judge, *, steps: int = 60, each: int = 10) -> list[Choice]:
    source, numbers = judge.source("centre"), np.random.default_rng(judge.seed)
    middle, spread = np.full(PLACES, 0.5), np.full(PLACES, 0.3)
    worth = np.maximum(0, math.log(each / 2 + 1) - np.log(np.arange(each) + 1))
    worth = worth / worth.sum() - 1 / each
    found = []
    for index in judge.batches("centre", steps):
        noise, choices = [], list[Choice]()
        while len(choices) < each:
            draws = numbers.normal(size=PLACES)
            choice = judge.at(middle + spread * draws, source)
            if choice is not None:
                noise.append(draws)
                choices.append(choice)
        order = np.argsort(judge.losses(choices, index))
        ranked = np.array(noise)[order]
        middle = np.clip(middle + spread * (worth @ ranked), 0, 1)
        spread = np.clip(spread * np.exp(0.15 * (worth @ (ranked**2 - 1))), 0.05, 0.5)
        found += choices
    return found


def policy(judge: Judge, *, steps: int = 75, each: int = 8, bins: int = 5) -> list[Choice]:
    source, numbers = judge.source("policy"), np.random.default_rng(judge.seed)
    logits = np.zeros((PLACES, bins))
    found = []
    for index in judge.batches("policy", steps):
        chances = softmax(logits, axis=1)
        taken, choices = [], list[Choice]()
        while len(choices) < each:
            which = [numbers.choice(bins, p=chance) for chance in chances]
            choice = judge.at((np.array(which) + numbers.random(PLACES)) / bins, source)
            if choice is not None:
                taken.append(np.eye(bins)[which])
                choices.append(choice)
        losses = np.array(judge.losses(choices, index))
        gain = (losses.mean() - losses) / (losses.std() + 1e-9)
        step = np.tensordot(gain, np.array(taken) - chances, 1) / each
        # KL of a small step is half of the variance of what it adds to the logits
        moved_by = (chances * step**2).sum() - ((chances * step).sum(1) ** 2).sum()
        logits += step * min(0.3, math.sqrt(0.04 / max(moved_by, 1e-9)))
        found += choices
    return found


def fitted(judge: Judge, *, turns: int = 3, count: int = 200) -> list[Choice]:
    source, numbers = judge.source("fitted"), np.random.default_rng(judge.seed)
    places, found = list[Floats](), list[Choice]()
    ahead = list(numbers.random((count, PLACES)))
    for _ in range(turns):
        tried = [(place, judge.at(place, source)) for place in ahead]
        kept = [(place, choice) for place, choice in tried if choice is not None]
        found += [choice for _, choice in kept]
        places += [place for place, _ in kept]
        losses = np.array(judge.scores(found))
        form = _fit(np.array(places), losses)
        best = np.array(places)[np.argsort(losses)[: count // 4]]
        ahead = [
            _descended(form, place + numbers.normal(0, 0.1, PLACES))
            for place in np.repeat(best, 4, axis=0)
        ]
    return found


def _features(x: Floats) -> Floats:
    """1, the numbers, and their products [..., features]."""
    one = np.concatenate([np.ones((*x.shape[:-1], 1)), x], axis=-1)
    rows, columns = np.triu_indices(one.shape[-1])
    return one[..., rows] * one[..., columns]


def _fit(x: Floats, y: Floats) -> Floats:
    features = _features(x)
    ridge = 1e-2 * len(x) * np.eye(features.shape[1])
    return np.linalg.solve(features.T @ features + ridge, features.T @ (y - y.mean()))


def _descended(form: Floats, place: Floats) -> Floats:
    for _ in range(10):
        near = place + 0.01 * np.concatenate([np.eye(PLACES), -np.eye(PLACES)])
        values = _features(near) @ form
        slope = values[:PLACES] - values[PLACES:]
        place = np.clip(place - 0.03 * slope / (np.linalg.norm(slope) + 1e-9), 0, 1)
    return place


def gates(judge: Judge, *, steps: int = 100, pairs: int = 2) -> list[Choice]:
    member, source = judge.member, judge.source("gates")
    numbers = np.random.default_rng(judge.seed)
    decisions = member.space.decisions
    free = [number for number, each in enumerate(decisions) if each.kind != "select"]
    sizes = np.array([len(decisions[number].options) for number in free], float)
    start = judge.at(np.full(PLACES, 0.5), source) or next(iter(judge.known))
    centres = np.array([start[number] for number in free], float)
    found = []
    for step, index in enumerate(judge.batches("gates", steps)):
        spread = sizes * 0.25 * 0.2 ** (step / steps)
        direction = np.zeros(len(free))
        for noise in numbers.normal(size=(pairs, len(free))):
            choice = list(start)
            for number, at, size in zip(free, centres + spread * noise, sizes, strict=True):
                choice[number] = int(np.clip(round(at), 0, size - 1))
            sample = moved(member, tuple(choice), USED, source)
            if not member.fits(sample):
                continue
            found.append(sample)
            task = _by_place(judge.slopes(sample, index), sample, free, spread)
            cost = spread * _costs_by_place(member, sample, free)
            task -= cost * (task @ cost) / max(cost @ cost, 1e-12)
            direction += task / (np.linalg.norm(task) + 1e-12)
        rate = 0.03 * (1 - step / steps)
        centres = np.clip(centres - rate * sizes * direction, 0, sizes - 1)
    return found


def _by_place(
    slopes: list[torch.Tensor], choice: Choice, free: list[int], spread: Floats
) -> Floats:
    """Derivative of the expected loss by each centre, in spreads: options weighed by a bell."""
    found = []
    for number, width in zip(free, spread, strict=True):
        away = (np.arange(len(slopes[number])) - choice[number]) / width
        bell = np.exp(-(away**2) / 2)
        found.append(float(slopes[number].numpy() @ (bell / bell.sum() * away)))
    return np.array(found)


def _costs_by_place(member: Member, choice: Choice, free: list[int]) -> Floats:
    """Change of the share of the budget with a step of each decision, up or else down."""
    found = []
    for number in free:
        up = choice[number] + 1 < len(member.space.decisions[number].options)
        other = list(choice)
        other[number] += 1 if up else -1
        share = member.share(tuple(other)) - member.share(choice)
        found.append(share if up else -share)
    return np.array(found)


def steps(judge: Judge, *, rounds: int = 40) -> list[Choice]:
    member, source = judge.member, judge.source("steps")
    current, *_ = judge.known
    found = [current]
    for index in judge.batches("steps", rounds):
        others = _moves(member, current, judge.slopes(current, index), source)
        losses = judge.losses([current, *others], index)
        best = min(range(len(losses)), key=losses.__getitem__)
        current = [current, *others][best]
        found += others
    return found


def _moves(
    member: Member, choice: Choice, slopes: list[torch.Tensor], source: random.Random
) -> list[Choice]:
    """Networks a move away that the gradient prefers, within the budget by a second move."""
    decisions = member.space.decisions
    gains = {
        (number, step): float(
            slopes[number][choice[number] + step] - slopes[number][choice[number]]
        )
        for number, decision in enumerate(decisions)
        if decision.kind != "select"
        for step in (-2, -1, 1, 2)
        if 0 <= choice[number] + step < len(decision.options)
    }
    ordered = sorted(gains, key=gains.__getitem__)
    found = {}
    for number, step in ordered[:6]:
        once = [*choice]
        once[number] += step
        for other, back in [(number, 0), *(each for each in ordered if each[0] != number)][:8]:
            twice = [*once]
            twice[other] += back
            near = moved(member, tuple(twice), USED, source)
            if member.fits(near):
                found[member.space.canonical(near)] = near
    return list(found.values())[:12]


WAYS: dict[str, Callable[[Judge], list[Choice]]] = {
    each.__name__: each for each in (draws, more, centre, policy, fitted, gates, steps)
}
