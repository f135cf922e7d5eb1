"""The supernet's weights in training: on networks drawn at random first, on better ones later."""

import copy
import itertools
import math
from abc import abstractmethod
from collections.abc import Mapping
from statistics import fmean

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.checkpoint import Checkpoint, State
from micronas.data import Split
from micronas.errors import MicronasError
from micronas.nas.distributed import Ranks, ranks
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.base import Parts, Scored, Strategy
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.progress import Progress
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable
from micronas.train.devices import device_of, moved
from micronas.train.loop import generator_for
from micronas.train.network import mixed_precision
from micronas.train.optimizer import AdamW
from micronas.train.scores import temperature_scaled_loss

ROUND = 20
"""Steps between two checkpoints."""
RANKED_BY = 1024
"""Most examples that the best are ranked by: trials follow."""
SIFTED_BY = 256
"""Most examples that find the best of all proposals: of so few, maps stay in the cache."""
SIFTED = 24
"""Networks, at most, that are ranked by more than `SIFTED_BY` examples."""
LEARNT = 0.9
"""Warm-up ends once the loss is below this share of ln(classes): before, gates follow noise."""


class Weights:
    """A supernet, its optimizer, and how far both have come.

    Attributes
    ----------
    warm_steps, step
        Steps on random networks in warm-up, and after it.
    loss
        Running mean.
    warm
        Whether warm-up is over.
    """

    def __init__(self, space: Searchable, settings: SearchSettings, seed: int) -> None:
        self.space, self.settings, self.seed = space, settings, seed
        # the only use of torch's global generator: initial weights
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.supernet = SharedNetwork(space)
        self._optimizer = AdamW(
            self.supernet.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.ranks = ranks()
        self.warm_steps = 0
        self.step = 0
        self.loss = math.log(space.outputs)
        self._losses: list[Tensor] = []
        self.warm = True

    @property
    def finished(self) -> bool:
        return self.step >= self.settings.steps

    @property
    def phase(self) -> str:
        return "search" if self.warm else "warm-up"

    def generator(self) -> torch.Generator:
        """Random numbers of the round that comes."""
        return generator_for(self.seed, "round", self.warm_steps, self.step)

    def warm_up(self, training: Split, generator: torch.Generator) -> None:
        """Take `ROUND` steps on random networks."""
        for index in batches(training, self.settings.batch_size, ROUND, generator):
            self.train(training, index, self.random(generator), generator)
        self.settle()
        self.warm_steps += ROUND
        learnt = self.loss < LEARNT * math.log(self.space.outputs)
        self.warm = learnt or self.warm_steps >= self.settings.warmup

    def steps(
        self, splits: tuple[Split, ...], generator: torch.Generator
    ) -> "zip[tuple[Tensor, ...]]":
        """Batches of each split for the steps of a round after warm-up."""
        count = min(ROUND, self.settings.steps - self.step)
        size = self.settings.batch_size
        return zip(*(batches(split, size, count, generator) for split in splits), strict=True)

    def train(
        self, split: Split, index: Tensor, choice: Choice, generator: torch.Generator
    ) -> None:
        """One step of the weights that a network uses."""
        inputs, labels = self.part(split, index, generator)
        with mixed_precision(self.settings.amp, inputs.device.type):
            logits = self.supernet.sliced(inputs, choice)
        loss = F.cross_entropy(logits.float(), labels)
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._rate()
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        loss = self.ranks.average(self.supernet, loss)
        self._optimizer.step()
        self._losses.append(loss)

    def settle(self) -> None:
        """Take the losses of a round into the mean; no step waits for its own.

        Raises
        ------
        MicronasError
            If one is not finite.
        """
        losses = torch.stack(self._losses).tolist() if self._losses else []
        self._losses.clear()
        for number, loss in enumerate(losses, 1 - len(losses)):
            if not math.isfinite(loss):
                raise MicronasError(
                    f"the supernet's loss must stay finite: loss={loss} {-number} weight steps "
                    f"before step {self.step} ended; lower "
                    f"search.learning_rate={self.settings.learning_rate:g}"
                )
            self.loss += 0.05 * (loss - self.loss)

    def part(
        self, split: Split, index: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Inputs and labels of this process's part of a batch."""
        index = self.ranks.part(index)
        inputs = split.batch(index, self.ranks.own(generator))
        inputs, labels = moved((inputs, split.labels[index]), device_of(self.supernet))
        return inputs, labels

    def random(self, generator: torch.Generator) -> Choice:
        return tuple(
            int(torch.randint(len(decision.options), (), generator=generator))
            for decision in self.space.decisions
        )

    def state(self) -> State:
        """Everything a step changes."""
        return {
            "supernet": copied(self.supernet.state_dict()),
            "weight_optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "warm_steps": self.warm_steps,
            "step": self.step,
            "loss": self.loss,
            "warm": self.warm,
        }

    def restore(self, state: State) -> None:
        self.supernet.load_state_dict(state["supernet"])
        self._optimizer.load_state_dict(copy.deepcopy(state["weight_optimizer"]))
        self.warm_steps, self.step = state["warm_steps"], state["step"]
        self.loss, self.warm = state["loss"], state["warm"]

    def _rate(self) -> float:
        """A short rise, then level through warm-up, then a cosine over the search."""
        rise = min((self.warm_steps + self.step + 1) / ROUND, 1.0)
        return rise * (0.55 + 0.45 * math.cos(math.pi * self.step / self.settings.steps))


class SharedStrategy(Strategy):
    """A strategy that proposes by the weights of a supernet, which is trained round by round."""

    warms_up = False
    """Whether weights are trained on random networks first."""

    def __init__(self, problem: Problem, settings: SearchSettings, seed: int) -> None:
        super().__init__(problem, settings, seed)
        self.weights = Weights(problem.space, settings, seed)
        self.weights.warm = not self.warms_up or settings.warmup == 0

    @property
    @abstractmethod
    def rankings(self) -> int:
        """Networks, about, that are ranked in the end."""

    @abstractmethod
    def round(self, training: Split, gating: Split) -> None:
        """Take `ROUND` steps."""

    @abstractmethod
    def state(self) -> State:
        """Everything a round changes."""

    @abstractmethod
    def resume(self, state: State) -> None:
        """Go on from a state of this search."""

    @property
    @abstractmethod
    def in_common(self) -> bool:
        """Whether all that searches for other boards and budgets have in common is done, and no
        more."""

    @abstractmethod
    def start_shared(self, state: State) -> None:
        """Go on from where a search for another board or budget was then."""

    def prepare(
        self,
        parts: Parts,
        everyone: Ranks,
        *,
        checkpoint: Checkpoint,
        shared: Checkpoint | None,
        progress: Progress,
        device: torch.device,
    ) -> None:
        """Train the supernet to the end, from where an earlier call or another search left it."""
        weights = self.weights
        weights.supernet.to(device)
        saved = everyone.once(lambda: checkpoint.load("search"))
        others = everyone.once(lambda: None if shared is None else shared.load("search"))
        if saved is not None:
            self.resume(saved)
        elif others is not None:
            self.start_shared(others)
        if everyone.first:
            progress(weights.phase, weights.step, weights.settings.steps, {})
        while not weights.finished:
            self.round(*parts[:2])
            if everyone.first:
                if shared is not None and self.in_common:
                    shared.save("search", self.state())
                checkpoint.save("search", self.state())
                progress(weights.phase, weights.step, weights.settings.steps, self.history[-1])

    def score(self, choices: list[Choice], parts: Parts, *, examples: int = RANKED_BY) -> Scored:
        losses = rank(self.weights.supernet, choices, parts[2], self.seed, examples=examples)
        return dict(zip(choices, losses, strict=True))

    def finalists(self, losses: Scored, parts: Parts) -> Scored:
        """Return the best of networks by more examples, given losses by `SIFTED_BY`."""
        sifted = self.best(losses, max(SIFTED, self.settings.finalists))
        return self.best(self.score(list(sifted), parts), self.settings.finalists)

    def best(self, losses: Scored, count: int) -> Scored:
        """Return so many networks: in turn the best of small and of large kernels.

        Shared weights prefer small ones: see docs/results/search.md, "Small and large kernels".
        """
        ranked = sorted(losses, key=lambda choice: (losses[choice] or 0.0, choice))
        by_kernel: dict[bool, list[Choice]] = {}
        for choice in ranked:
            by_kernel.setdefault(self._has_large_kernels(choice), []).append(choice)
        turns = itertools.chain.from_iterable(itertools.zip_longest(*by_kernel.values()))
        chosen = [choice for choice in turns if choice is not None]
        return {choice: losses[choice] for choice in chosen[:count]}

    def _has_large_kernels(self, choice: Choice) -> bool:
        """Whether kernels are nearer to the largest than to the smallest, in the mean."""
        sizes = [
            index / (len(decision.options) - 1)
            for decision, index in zip(self.problem.space.decisions, choice, strict=True)
            if decision.kind == "kernel"
        ]
        return bool(sizes) and fmean(sizes) > 0.5


def rank(
    supernet: SharedNetwork,
    choices: list[Choice],
    split: Split,
    seed: int,
    *,
    examples: int = RANKED_BY,
) -> list[float]:
    """Cross-entropy of each network with shared weights, at its best temperature.

    By so many examples of the ranking part, on which batch norm is recalibrated as well (see
    `supernet.units.SharedUnit`).
    """
    order = torch.randperm(len(split.labels), generator=generator_for(seed, "rank"))[:examples]
    device = device_of(supernet)
    inputs, labels = moved((split.batch(order, None), split.labels[order]), device)
    losses = []
    with torch.inference_mode():
        for choice in choices:
            logits = supernet.sliced(inputs, choice)
            losses.append(float(temperature_scaled_loss(logits, labels)[0]))
    return losses


def batches(split: Split, size: int, count: int, generator: torch.Generator) -> list[Tensor]:
    """`count` batches in which every example comes once before any comes again."""
    examples = len(split.labels)
    passes = -(-count * size // examples)
    order = torch.cat([torch.randperm(examples, generator=generator) for _ in range(passes)])
    return list(torch.split(order, size)[:count])


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}
