"""The weights of a supernet in training, one network of the space per step."""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from micronas.checkpoint import State
from micronas.data import Split
from micronas.errors import MicronasError
from micronas.nas.distributed import ranks
from micronas.nas.settings import SupernetSettings
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.objectives.base import Objective
from micronas.objectives.classes import CLASSES
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable
from micronas.train.convolutions import mixed_precision
from micronas.train.devices import device_of, moved
from micronas.train.loop import generator_for
from micronas.train.optimizer import AdamW

ROUND = 20
"""Steps between two checkpoints."""
_LEARNT = 0.9
"""Share of the loss of chance, such as ln(classes), below which warm-up ends: before, gates follow
noise."""


class SharedWeights:
    """A supernet, its optimizer, and their progress.

    Warm-up takes `warmup` steps at most; it ends earlier once the loss is below that of chance
    (`_LEARNT`).
    """

    def __init__(
        self,
        space: Searchable,
        settings: SupernetSettings,
        seed: int,
        *,
        objective: Objective = CLASSES,
        warmup: int = 0,
    ) -> None:
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
        """Steps on random networks in warm-up."""
        self.step = 0
        """Steps after it."""
        self.objective = objective
        self.loss = objective.chance(space.outputs)
        """Running mean of the loss."""
        self._losses: list[Tensor] = []
        self._warmup = warmup
        self.warm = warmup == 0

    @property
    def finished(self) -> bool:
        return self.step >= self.settings.steps

    @property
    def phase(self) -> str:
        return "search" if self.warm else "warm-up"

    def generator(self) -> torch.Generator:
        """Return the generator of the next round."""
        return generator_for(self.seed, "round", self.warm_steps, self.step)

    def warm_up(self, training: Split, generator: torch.Generator) -> None:
        """Take `ROUND` steps on random networks."""
        for index in batches(training, self.settings.batch_size, ROUND, generator, self.objective):
            self.train(training, index, self.random(generator), generator)
        self.settle()
        self.warm_steps += ROUND
        learnt = self.loss < _LEARNT * self.objective.chance(self.space.outputs)
        self.warm = learnt or self.warm_steps >= self._warmup

    def steps(
        self, splits: tuple[Split, ...], generator: torch.Generator
    ) -> "zip[tuple[Tensor, ...]]":
        """Return the batches of each split for the steps of a round after warm-up."""
        count = min(ROUND, self.settings.steps - self.step)
        size = self.settings.batch_size
        return zip(
            *(batches(split, size, count, generator, self.objective) for split in splits),
            strict=True,
        )

    def train(
        self, split: Split, index: Tensor, choice: Choice, generator: torch.Generator
    ) -> None:
        """Take one step of the weights that a network uses."""
        inputs, labels = self.part(split, index, generator)
        with mixed_precision(self.settings.amp, inputs.device.type):
            logits = self.supernet.sliced(inputs, choice)
        loss = self.objective.loss(logits.float(), labels)
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._rate()
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        loss = self.ranks.average(self.supernet, loss)
        self._optimizer.step()
        self._losses.append(loss)

    def settle(self) -> None:
        """Add the losses of a round to the mean, so that no step waits for its own.

        Raises MicronasError if one is not finite.
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
        """Return inputs and labels of this process's part of a batch."""
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
        """Return everything that a step changes."""
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
        """Return the share of the learning rate: a short rise, level in warm-up, then a cosine."""
        rise = min((self.warm_steps + self.step + 1) / ROUND, 1.0)
        return rise * (0.55 + 0.45 * math.cos(math.pi * self.step / self.settings.steps))


def batches(
    split: Split, size: int, count: int, generator: torch.Generator, objective: Objective
) -> list[Tensor]:
    """Return `count` batches from successive epochs in the objective's order."""
    examples = len(split.labels)
    passes = -(-count * size // examples)
    order = torch.cat([objective.order(split.labels, generator) for _ in range(passes)])
    return list(torch.split(order, size)[:count])


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}
