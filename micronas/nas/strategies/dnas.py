"""MicroNets' strategy: supernet weights and gates in alternation, under penalties of costs."""

import copy

import torch
from torch import Tensor

from micronas.checkpoint import State
from micronas.data import Split
from micronas.nas.budget import Limits, Meter
from micronas.nas.cost import expected
from micronas.nas.gates import Gates
from micronas.nas.penalty import Penalty
from micronas.nas.select import propose, rank
from micronas.nas.settings import SearchSettings
from micronas.nas.weights import SharedSearch, copied
from micronas.space.search_space import Choice, SearchSpace
from micronas.train.loop import generator_for, temperature_scaled_loss
from micronas.train.network import mixed_precision

CORRECTED = 5
"""Gate steps between two comparisons of smooth costs with exact ones, which take milliseconds."""


class Dnas(SharedSearch):
    """The state of one search; a round depends on it and on the seed alone.

    Source: MicroNets (arXiv 2010.11267, section 5); one-hot samples, the held-out part for gates
    and the multipliers' schedule are our own.
    """

    def __init__(
        self, space: SearchSpace, settings: SearchSettings, limits: Limits, meter: Meter, seed: int
    ) -> None:
        super().__init__(space, settings, limits, meter, seed)
        self.gates = Gates(space.decisions)
        self.gate_optimizer = torch.optim.Adam(
            self.gates.parameters(), settings.gate_learning_rate, betas=(0.5, 0.999)
        )
        largest = meter.costs(space.architecture(space.largest()))
        self.penalty = Penalty(limits.given(), limits.spent(largest), settings.steps)

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
        self._record(penalty)

    def propose(self, ranking: Split) -> dict[Choice, float]:
        """Networks within the budget, drawn from the gates, and their losses."""
        choices = propose(
            self.space,
            self.gates,
            self.limits,
            self.meter,
            count=self.settings.candidates,
            generator=generator_for(self.seed, "propose"),
        )
        losses = rank(self.weights.supernet, choices, ranking, self.seed)
        return dict(zip(choices, losses, strict=True))

    def state(self) -> State:
        """Everything a round changes."""
        return {
            **self.weights.state(),
            "gates": copied(self.gates.state_dict()),
            "gate_optimizer": copy.deepcopy(self.gate_optimizer.state_dict()),
            "penalty": self.penalty.state(),
            "history": list(self.history),
            "gate_history": list(self.gate_history),
        }

    def start_warm(self, state: State) -> None:
        """Go on from the warm-up of a search for another board or budget."""
        # gates have not moved: only expected costs differ, and they are told again
        for record in state["history"]:
            self.weights.loss = record["loss"]
            self._record(torch.zeros(()))
        self.weights.restore(state)

    def resume(self, state: State) -> None:
        """Go on from a state of this search."""
        self.weights.restore(state)
        self.gates.load_state_dict(state["gates"])
        self.gate_optimizer.load_state_dict(copy.deepcopy(state["gate_optimizer"]))
        self.penalty.restore(state["penalty"])
        self.history = list(state["history"])
        self.gate_history = list(state.get("gate_history", []))  # younger than checkpoints

    def move_gates(self, split: Split, index: Tensor, generator: torch.Generator) -> Tensor:
        """One step of the gates: the task's loss on held-out examples, and the penalties."""
        inputs, labels = self.weights.part(split, index, generator)
        sample = self.gates.sample(self._temperature(), generator, hard=self.settings.hard)
        if self.weights.step % CORRECTED == 0:
            self._correct(Gates.choice_of(sample))
        self.weights.supernet.requires_grad_(False)
        with mixed_precision(self.settings.amp):
            logits = self.weights.supernet.masked(inputs, sample)
        task, _ = temperature_scaled_loss(logits.float(), labels)
        self.weights.supernet.requires_grad_(True)
        costs = expected(self.space, self.gates.probabilities()).by_limit(self.meter)
        penalty = self.penalty.loss(costs, self.weights.step / self.settings.steps)
        self.gate_optimizer.zero_grad()
        (task + penalty).backward()  # type: ignore[no-untyped-call]
        self.weights.ranks.average(self.gates, task)
        self.gate_optimizer.step()
        return penalty.detach()

    def _correct(self, choice: Choice) -> None:
        """Compare the smooth costs of a drawn network with its exact ones."""
        exact = self.meter.costs(self.space.architecture(choice))
        with torch.no_grad():
            smooth = expected(self.space, self.gates.one_hot(choice)).by_limit(self.meter)
        self.penalty.observe(self.limits.spent(exact), smooth)

    def _temperature(self) -> float:
        first, last = self.settings.temperature
        return float(first * (last / first) ** (self.weights.step / self.settings.steps))

    def _record(self, penalty: Tensor) -> None:
        with torch.no_grad():
            probabilities = self.gates.probabilities()
            smooth = expected(self.space, probabilities).by_limit(self.meter)
        self.gate_history.append(
            {name: [round(p, 4) for p in each.tolist()] for name, each in probabilities.items()}
        )
        record = {
            "step": float(self.weights.step),
            "loss": self.weights.loss,
            "penalty": float(penalty),
        }
        for name in self.limits.given():
            ratio = self.penalty.corrections.get(name, 1.0)
            record[f"expected_{name}"] = float(smooth[name]) * ratio
            record[f"multiplier_{name}"] = self.penalty.multipliers.get(name, 0.0)
        self.history.append(record)
