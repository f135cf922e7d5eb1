"""Penalties on expected costs, with multipliers that the search adapts: no lambda to tune.

For each limited cost the loss grows by multiplier * log(expected / target). Multipliers start at
zero and climb while the cost is above its target (dual ascent); the target starts at the cost of
the largest network and falls geometrically to the budget. A multiplier that starts at one collapses
the gates within an epoch, since the task's gradient on gates is tiny at first.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from micronas.checkpoint import State

RATE = 20.0
"""Change of a multiplier over a whole search, per unit of log excess."""
SLACK = -0.2
"""Least multiplier of the binding cost once the target is the budget, so that the budget is
used."""
ANNEALED = 0.6
"""Share of the search over which targets fall to the budget."""
AIM = 0.97
"""Target of the expected cost, as a share of the budget: samples scatter around it."""


@dataclass
class Penalty:
    """The adaptive penalty of one search.

    `limits` has the budget of each cost by name, `start` the cost of the largest network; there are
    `steps` steps in the whole search.
    """

    limits: dict[str, float]
    start: dict[str, float]
    steps: int
    multipliers: dict[str, float] = field(default_factory=dict)
    corrections: dict[str, float] = field(default_factory=dict)
    """Measured ratio of exact to expected cost, by name."""

    def targets(self, progress: float) -> dict[str, float]:
        """Return the target of each cost after this share of the search."""
        share = min(progress / ANNEALED, 1.0)
        return {
            name: max(AIM * limit, self.start[name] ** (1 - share) * (AIM * limit) ** share)
            if self.start[name] > limit
            else AIM * limit
            for name, limit in self.limits.items()
        }

    def loss(self, expected: dict[str, Tensor], progress: float) -> Tensor:
        """Return the penalty for expected costs (scalars with gradient), and move the
        multipliers."""
        targets = self.targets(progress)
        total = torch.zeros((), dtype=torch.float64)
        excess = {}
        for name in self.limits:
            corrected = expected[name] * self.corrections.get(name, 1.0)
            value = (corrected / targets[name]).log()
            total = total + self.multipliers.get(name, 0.0) * value
            excess[name] = float(value.detach())
        binding = max(excess, key=lambda name: excess[name])
        for name, above in excess.items():
            floor = SLACK if name == binding and progress >= ANNEALED else 0.0
            moved = self.multipliers.get(name, 0.0) + RATE / self.steps * above
            self.multipliers[name] = max(moved, floor)
        return total

    def observe(self, exact: dict[str, float], stand_in: dict[str, Tensor]) -> None:
        """Update the corrections from one sampled network's exact and expected costs."""
        for name in self.limits:
            ratio = exact[name] / float(stand_in[name])
            self.corrections[name] = 0.9 * self.corrections.get(name, ratio) + 0.1 * ratio

    def state(self) -> State:
        return {"multipliers": dict(self.multipliers), "corrections": dict(self.corrections)}

    def restore(self, state: State) -> None:
        self.multipliers = dict(state["multipliers"])
        self.corrections = dict(state["corrections"])
