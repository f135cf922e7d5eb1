"""Steering of gates to a budget: penalties on expected costs, corrected by exact ones.

`nas.search` and `nas.custom_loop` share it.
"""

import torch
from torch import Tensor

from micronas.checkpoint import State
from micronas.errors import ConfigError
from micronas.nas.member import Member
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.gates import Gates, Sample
from micronas.nas.supernet.penalty import Penalty
from micronas.space.decisions import Choice


class Steering:
    """Lagrangian controller of the expected costs of one search's gates.

    There are `steps` gate steps in the whole search; `temperature` is that of the Gumbel-softmax at
    the start and at the end.
    """

    def __init__(self, member: Member, steps: int, temperature: tuple[float, float]) -> None:
        self.member, self.steps = member, steps
        self._temperature = temperature
        largest = member.spent(member.space.largest())
        if unsteered := sorted({"load", "energy"} & largest.keys()):
            raise ConfigError(
                "gates must be steered by costs of an inference, but the budget's hop limits "
                f"{' and '.join(unsteered)}; take search.strategy=halving or single_stage, or "
                "limit latency"
            )
        # any layer may end up with 4 bits, whose kernels take code
        self._penalty = Penalty(member.limits.left(int4=True), largest, steps)

    def temperature(self, step: int) -> float:
        """Return the temperature at a step: it falls by equal ratios over the search."""
        first, last = self._temperature
        return float(first * (last / first) ** min(step / self.steps, 1.0))

    def penalty(self, gates: Gates, step: int, *, drawn: Choice | None) -> Tensor:
        """Return the term to add to the loss (float64 scalar), and move the multipliers.

        Exact costs of the network `drawn` correct the expected ones; None skips that.
        """
        if drawn is not None:
            with torch.no_grad():
                smooth = self._costs(gates.one_hot(drawn))
            self._penalty.observe(self.member.spent(drawn), smooth)
        costs = self._costs(gates.probabilities())
        return self._penalty.loss(costs, min(step / self.steps, 1.0))

    def record(self, gates: Gates) -> dict[str, float]:
        """Return expected costs and multipliers for the history."""
        with torch.no_grad():
            smooth = self._costs(gates.probabilities())
        found = {}
        for name in self.member.limits.given():
            ratio = self._penalty.corrections.get(name, 1.0)
            found[f"expected_{name}"] = float(smooth[name]) * ratio
            found[f"multiplier_{name}"] = self._penalty.multipliers.get(name, 0.0)
        return found

    def slopes(self, gates: Gates, choice: Choice, name: str) -> list[Tensor]:
        """Return the derivative of a cost by each decision's gates [options], at a choice."""
        certain = {key: each.requires_grad_() for key, each in gates.one_hot(choice).items()}
        with torch.enable_grad():
            cost = self._costs(certain)[name]
        found = torch.autograd.grad(cost, list(certain.values()), allow_unused=True)
        return [
            torch.zeros_like(gate) if slope is None else slope
            for gate, slope in zip(certain.values(), found, strict=True)
        ]

    def state(self) -> State:
        return self._penalty.state()

    def restore(self, state: State) -> None:
        self._penalty.restore(state)

    def _costs(self, gates: Sample) -> dict[str, Tensor]:
        space, board = self.member.space, self.member.board
        return expected(space, gates, target=board.target).by_limit(board, space.kind)
