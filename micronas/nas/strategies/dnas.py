"""MicroNets' strategy: supernet weights and gates in alternation, under penalties of costs."""

import copy
import random
from typing import ClassVar

import torch
from torch import Tensor

from micronas.checkpoint import State
from micronas.data import Split
from micronas.errors import MicronasError
from micronas.hardware.costs import Costs
from micronas.nas.member import Member
from micronas.nas.prior import USED, moved
from micronas.nas.settings import DnasSettings, StrategySettings
from micronas.nas.strategies.base import Context
from micronas.nas.strategies.shared import SharedStrategy
from micronas.nas.strategies.weights import copied
from micronas.nas.supernet.gates import Gates
from micronas.nas.supernet.steering import Steering
from micronas.space.decisions import Choice
from micronas.train.convolutions import mixed_precision
from micronas.train.loop import generator_for
from micronas.train.optimizer import Adam

_CORRECTED = 5
"""Gate steps between two comparisons of expected costs with exact ones, which take milliseconds."""
_DRAWS = 40
"""Draws from the gates for each proposal wanted, before draws are adjusted to the budget."""


class Dnas(SharedStrategy):
    """Gates and weights; a round depends on the state and on the seed alone.

    Source: MicroNets (arXiv 2010.11267, section 5); one-hot samples, the held-out part for gates
    and the multipliers' schedule are our own.
    """

    Settings: ClassVar[type[StrategySettings]] = DnasSettings

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.settings, DnasSettings), "OneOf saw to it"
        self.gated = context.settings
        self.gates = Gates.of(self.member.space)
        self.gate_optimizer = Adam(
            self.gates.parameters(), self.gated.gate_learning_rate, betas=(0.5, 0.999)
        )
        self.steering = Steering(self.member, self.gated.steps, self.gated.temperature)

    @property
    def warmup(self) -> int:
        return self.gated.warmup

    @property
    def rankings(self) -> int:
        return self.gated.candidates

    def round(self, training: Split, gating: Split) -> None:
        """Take `ROUND` steps: of weights on random networks in warm-up, then of both."""
        weights, generator = self.weights, self.weights.generator()
        penalty = torch.zeros(())
        if not weights.warm:
            weights.warm_up(training, generator)
        else:
            for weight_index, gate_index in weights.steps((training, gating), generator):
                weights.train(training, weight_index, self.gates.draw(generator), generator)
                penalty = self.move_gates(gating, gate_index, generator)
                weights.step += 1
            weights.settle()
        self._record(penalty)

    def proposals(self) -> list[Choice]:
        """Return draws from the gates within the budget."""
        generator = generator_for(self.seed, "propose")
        return draws(self.member, self.gates, self.gated.candidates, generator)

    def most_likely(self) -> Costs:
        return self.member.costs(self.gates.most_likely())

    def state(self) -> State:
        return {
            **self.weights.state(),
            "gates": copied(self.gates.state_dict()),
            "gate_optimizer": copy.deepcopy(self.gate_optimizer.state_dict()),
            "penalty": self.steering.state(),
            "history": list(self.history),
            "gate_history": list(self.gate_history),
        }

    @property
    def in_common(self) -> bool:
        return self.weights.warm and self.weights.step == 0

    def start_shared(self, state: State) -> None:
        # gates have not moved: only expected costs differ, and they are recorded anew
        for record in state["history"]:
            self.weights.loss = record["loss"]
            self._record(torch.zeros(()))
        self.weights.restore(state)

    def resume(self, state: State) -> None:
        self.weights.restore(state)
        self.gates.load_state_dict(state["gates"])
        self.gate_optimizer.load_state_dict(copy.deepcopy(state["gate_optimizer"]))
        self.steering.restore(state["penalty"])
        self.history = list(state["history"])
        self.gate_history = list(state["gate_history"])

    def move_gates(self, split: Split, index: Tensor, generator: torch.Generator) -> Tensor:
        """Take one step of the gates, on the loss of held-out examples and the penalties."""
        inputs, labels = self.weights.part(split, index, generator)
        step, supernet = self.weights.step, self.weights.supernet
        temperature = self.steering.temperature(step)
        sample = self.gates.sample(temperature, generator, hard=self.gated.hard)
        supernet.requires_grad_(False)
        with mixed_precision(self.settings.amp, inputs.device.type):
            logits = supernet.masked(inputs, sample)
        # a temperature below 1 enlarges gradients, most at the start of training
        task = self.data.objective.comparable(logits.float(), labels, sharpest=1.0)
        supernet.requires_grad_(True)
        drawn = Gates.choice_of(sample) if step % _CORRECTED == 0 else None
        penalty = self.steering.penalty(self.gates, step, drawn=drawn)
        self.gate_optimizer.zero_grad()
        (task + penalty.to(task.device)).backward()  # type: ignore[no-untyped-call]
        self.weights.ranks.average(self.gates, task)
        self.gate_optimizer.step()
        if not all(bool(each.isfinite().all()) for each in self.gates.logits):
            raise MicronasError(
                f"gates must stay finite, but are not after step {step}: task={task.item():g}, "
                f"penalty={penalty.item():g}; try another seed, or search.strategy=ranked"
            )
        return penalty.detach()

    def _record(self, penalty: Tensor) -> None:
        with torch.no_grad():
            probabilities = self.gates.probabilities()
        self.gate_history.append(
            {name: [round(p, 4) for p in each.tolist()] for name, each in probabilities.items()}
        )
        record = {
            "step": float(self.weights.step),
            "loss": self.weights.loss,
            "penalty": float(penalty),
        }
        self.history.append(record | self.steering.record(self.gates))


def draws(member: Member, gates: Gates, count: int, generator: torch.Generator) -> list[Choice]:
    """Draw different networks that use 90 to 100 % of the budget.

    Other draws are dropped; if too few are left, further draws are moved by single options, at
    random, until they fit. Where the largest network of the space fits, any draw counts.
    """
    floor = 0.0 if member.is_roomy else USED
    found: dict[Choice, Choice] = {}

    def keep(choice: Choice) -> None:
        if floor <= member.share(choice) <= 1.0:
            found.setdefault(member.space.canonical(choice), choice)

    for _ in range(_DRAWS * count):
        if len(found) >= count:
            break
        keep(gates.draw(generator))
    source = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
    for _ in range(2 * count):
        if len(found) >= count:
            break
        keep(moved(member, gates.draw(generator), floor, source))
    return list(found.values())
