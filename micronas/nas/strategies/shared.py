"""Strategies with shared weights: train a supernet, rank proposals with it, then run trials."""

import itertools
import math
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from statistics import fmean
from types import MappingProxyType

import torch

from micronas.checkpoint import Checkpoint, State
from micronas.data import Split, Subset
from micronas.nas.candidate import Candidate
from micronas.nas.folds import PARTS, parts_of
from micronas.nas.settings import SupernetSettings
from micronas.nas.strategies.base import Context, Plan, Script, Scripted
from micronas.nas.strategies.halving import shortened, without_twins
from micronas.nas.strategies.race import Race, race
from micronas.nas.strategies.weights import SharedWeights
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.objectives.base import Objective
from micronas.objectives.classes import CLASSES
from micronas.space.decisions import Choice
from micronas.train.devices import device_of, moved
from micronas.train.loop import generator_for, source_for
from micronas.train.recipe import Recipe
from micronas.train.threads import threads
from micronas.train.timing import seconds_of

_RANKED_BY = 1024
"""Most examples that rank the best proposals before trials."""
SIFTED_BY = 256
"""Most examples that sift all proposals: with so few, maps stay in the cache."""
_SIFTED = 24
"""Most networks that are ranked by more than `SIFTED_BY` examples."""
_REHEARSED = 3
"""Alternations of a supernet to time."""

_Scored = Mapping[Choice, float]
"""Networks and their losses with shared weights."""


class SharedStrategy(Scripted):
    """Trains a supernet round by round; the best networks by its weights compete with uniform ones
    in successive halving."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = context.settings
        assert isinstance(settings, SupernetSettings), "OneOf saw to it"
        self.settings = settings
        self.member = self.problem.only(f"search.strategy={settings.strategy}")
        self.data = context.data.seen_as(self.member.space.input_shape)
        context.everyone.check_batch(settings.batch_size)

    @cached_property
    def weights(self) -> SharedWeights:
        space, settings = self.member.space, self.settings
        objective = self.data.objective
        return SharedWeights(space, settings, self.seed, objective=objective, warmup=self.warmup)

    @cached_property
    def parts(self) -> list[Subset]:
        """Parts of the training set for weights, for gates and for ranking."""
        return parts_of(self.data, self.seed)

    @cached_property
    def uniform(self) -> list[Candidate]:
        return self.problem.rivals(self.context.data)

    @property
    def exempt(self) -> list[Candidate]:
        """Return the networks that get trials, whatever shared weights say of them."""
        return self.uniform

    @property
    def warmup(self) -> int:
        """Most weight steps on random networks before all others."""
        return 0

    @property
    @abstractmethod
    def rankings(self) -> int:
        """Approximate number of networks ranked at the end."""

    @abstractmethod
    def round(self, training: Split, gating: Split) -> None:
        """Take `ROUND` steps."""

    @abstractmethod
    def proposals(self) -> list[Choice]:
        """Return different networks within the budget; the best get trials."""

    @abstractmethod
    def state(self) -> State:
        """Return everything that a round changes."""

    @abstractmethod
    def resume(self, state: State) -> None:
        """Continue from a state of this search."""

    @property
    @abstractmethod
    def in_common(self) -> bool:
        """Return whether the part common to other boards and budgets is done, and nothing more."""

    def start_shared(self, state: State) -> None:
        """Continue from the common state of a search for another board or budget."""
        self.resume(state)

    @property
    def recipe(self) -> Recipe:
        """Recipe of trials."""
        return self.settings.trial

    @property
    def inherits(self) -> bool:
        """Return whether trials begin with shared weights, and so have no champions."""
        return False

    def begins(self, candidates: list[Candidate]) -> Mapping[str, State]:
        """Return the initial weights of trials by label; empty where they do not inherit."""
        return {}

    def script(self) -> Script:
        self.train()

        def proposed() -> tuple[list[Candidate], Mapping[str, State]]:
            found = without_twins([*self.finalists(self.proposals()), *self.exempt])
            return found, self.begins(found)

        with threads(self.settings.trial.threads):
            entrants, begins = self.context.everyone.once(proposed)
        racing = self._race(len(entrants), self.affordable, begins)
        yield from racing.rest((yield racing.to_first(entrants)))

    def plan(self) -> Plan:
        like = self.problem.draw(self.settings.finalists, source_for(self.seed, "draw"))
        networks = without_twins(like + self.exempt)
        return self._race(len(networks), self.affordable).plan(networks, len(networks))

    @cached_property
    def affordable(self) -> Recipe:
        """`recipe`, shortened so that all trials take no more than the epochs of the search."""
        epochs, finalists = self.settings.epochs, self.settings.finalists
        if epochs is None:
            return self.recipe
        count = finalists + len(self.exempt)
        return shortened(
            self.recipe,
            epochs,
            f"{finalists} finalists",
            lambda recipe: self._race(count, recipe).plan([], count).epochs,
        )

    def _race(
        self, count: int, trial: Recipe, begins: Mapping[str, State] = MappingProxyType({})
    ) -> Race:
        decides = self.inherits
        return race(self.context, trial, count, self.exempt, decides=decides, begins=begins)

    def train(self) -> None:
        """Train the supernet to the end, from a checkpoint where there is one."""
        weights, context = self.weights, self.context
        everyone, checkpoint, shared = context.everyone, context.checkpoint, context.shared
        weights.supernet.to(context.device)
        saved = everyone.once(lambda: checkpoint.load("search"))
        others = everyone.once(lambda: None if shared is None else shared.load("search"))
        if saved is not None:
            self.resume(saved)
        elif others is not None:
            self.start_shared(others)
        if everyone.first:
            context.progress(weights.phase, weights.step, self.settings.steps, {})
        with threads(self.settings.trial.threads):
            while not weights.finished:
                self.round(*self.parts[:2])
                if everyone.first:
                    if shared is not None and self.in_common:
                        shared.save("search", self.state())
                    checkpoint.save("search", self.state())
                    done, last = weights.step, self.history[-1]
                    context.progress(weights.phase, done, self.settings.steps, last)

    def score(self, choices: list[Choice], *, examples: int = _RANKED_BY) -> _Scored:
        """Return losses with shared weights on `examples` examples of the part for ranking."""
        supernet = self.weights.supernet
        losses = rank(
            supernet,
            choices,
            self.parts[2],
            self.seed,
            objective=self.data.objective,
            examples=examples,
        )
        return dict(zip(choices, losses, strict=True))

    def finalists(self, choices: list[Choice]) -> list[Candidate]:
        """Return the best networks by shared weights, in two steps, the second on more examples."""
        sifted = self.best(
            self.score(choices, examples=SIFTED_BY), max(_SIFTED, self.settings.finalists)
        )
        best = self.best(self.score(list(sifted)), self.settings.finalists)
        family, picks = next(self.problem.space.ways())
        return [self.problem.candidate("search", family, picks, choice) for choice in best]

    def best(self, losses: _Scored, count: int) -> _Scored:
        """Return `count` networks: in turn the best with small and with large kernels.

        Shared weights prefer small ones: see docs/results/search.md, "Small and large kernels".
        """
        ranked = sorted(losses, key=lambda choice: (losses[choice], choice))
        by_kernel: dict[bool, list[Choice]] = {}
        for choice in ranked:
            by_kernel.setdefault(self._has_large_kernels(choice), []).append(choice)
        turns = itertools.chain.from_iterable(itertools.zip_longest(*by_kernel.values()))
        chosen = [choice for choice in turns if choice is not None]
        return {choice: losses[choice] for choice in chosen[:count]}

    def rehearse(self) -> float:
        """Return CPU seconds of warm-up, supernet steps and ranking of proposals, estimated."""
        brief = {"steps": _REHEARSED} | ({"warmup": 0} if self.warmup else {})
        short = self.settings.model_copy(update=brief)
        alone = replace(self.context, settings=short, checkpoint=Checkpoint(), shared=None)
        run = type(self)(alone)
        start = time.process_time()
        run.round(run.data.train, run.data.train)
        step = (time.process_time() - start) / _REHEARSED
        count = math.ceil(PARTS[2] * len(run.data.train.labels))
        run.parts = [*run.parts[:2], Subset(run.data.train, torch.arange(count))]
        ranked = [each.choice for each in self.uniform[:1]] or [self.member.space.smallest()]
        sifting, ranking = (
            seconds_of(partial(run.score, ranked, examples=examples))
            for examples in (SIFTED_BY, _RANKED_BY)
        )
        chosen = min(self.rankings, _SIFTED)
        # warm-up trains weights alone, about half of an alternation, and often ends early
        steps = self.settings.steps + self.warmup / 4
        return step * steps + sifting * self.rankings + ranking * chosen

    def _has_large_kernels(self, choice: Choice) -> bool:
        """Return whether kernels are on average nearer to the largest than to the smallest."""
        sizes = [
            index / (len(decision.options) - 1)
            for decision, index in zip(self.member.space.decisions, choice, strict=True)
            if decision.kind == "kernel"
        ]
        return bool(sizes) and fmean(sizes) > 0.5


def rank(
    supernet: SharedNetwork,
    choices: list[Choice],
    split: Split,
    seed: int,
    *,
    objective: Objective = CLASSES,
    examples: int = _RANKED_BY,
) -> list[float]:
    """Return the loss of each network with shared weights, by `Objective.comparable`.

    Batch norm takes the statistics of the same `examples` examples (see
    `supernet.units.SharedUnit`).
    """
    order = torch.randperm(len(split.labels), generator=generator_for(seed, "rank"))[:examples]
    device = device_of(supernet)
    inputs, labels = moved((split.batch(order, None), split.labels[order]), device)
    losses = []
    with torch.inference_mode():
        for choice in choices:
            logits = supernet.sliced(inputs, choice)
            losses.append(float(objective.comparable(logits, labels)))
    return losses
