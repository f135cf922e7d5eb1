"""Decision nodes: one categorical distribution per decision, sampled by Gumbel-softmax.

Equation 1 of MicroNets (arXiv 2010.11267): y = sum_k z_k f_k(x), with z one-hot. The paper does
not say how z is relaxed; straight-through Gumbel-softmax is our choice (Jang et al. 2017).
"""

import torch
from torch import Tensor, nn

from micronas.errors import ConfigError
from micronas.space.decisions import Choice, Decision
from micronas.space.searchable import Searchable

Sample = dict[str, Tensor]
"""Weights of the options of each decision, by its name; each sums to 1."""


class Gates(nn.Module):
    """The logits of all decisions of a search space."""

    def __init__(self, decisions: tuple[Decision, ...]) -> None:
        super().__init__()
        self.decisions = decisions
        self.logits = nn.ParameterList(torch.zeros(len(each.options)) for each in decisions)

    @classmethod
    def of(cls, space: Searchable) -> "Gates":
        """Return the gates of a space.

        Raises ConfigError if masks cannot mix its networks, or there is nothing to choose.
        """
        if not space.decisions:
            raise ConfigError(
                f"gates must have a decision, but {space.title!r} leaves nothing to choose; train "
                "it by `micronas train`, or give a width or kernel as a list"
            )
        if not space.has_one_size:
            raise ConfigError(
                f"gates must mix maps of one size, but kernels and depths change those of "
                f"{space.title!r}, which streams; take search.strategy=halving or single_stage"
            )
        return cls(space.decisions)

    def probabilities(self) -> Sample:
        """Return the softmax of the logits in float64, differentiable.

        Only in float64 do costs common to all options of a decision cancel out in its gradient.
        """
        return {
            decision.name: logits.double().softmax(0)
            for decision, logits in zip(self.decisions, self.logits, strict=True)
        }

    def sample(
        self, temperature: float, generator: torch.Generator, *, hard: bool = True
    ) -> Sample:
        """Draw every decision.

        A low `temperature` of the Gumbel-softmax comes close to one-hot. `hard` is one-hot in
        value, with the gradient of the soft sample (straight-through); otherwise it is the soft
        sample.
        """
        sample = {}
        for decision, logits in zip(self.decisions, self.logits, strict=True):
            uniform = torch.rand(len(logits), generator=generator).clamp(1e-9, 1 - 1e-7)
            soft = ((logits - (-uniform.log()).log()) / temperature).softmax(0)
            if hard:
                one_hot = torch.zeros_like(soft).scatter_(0, soft.argmax(keepdim=True), 1.0)
                soft = one_hot + (soft - soft.detach())
            sample[decision.name] = soft
        return sample

    def one_hot(self, choice: Choice) -> Sample:
        """Return the sample that is certain of a choice."""
        return {
            decision.name: nn.functional.one_hot(torch.tensor(index), len(decision.options)).float()
            for decision, index in zip(self.decisions, choice, strict=True)
        }

    def draw(self, generator: torch.Generator) -> Choice:
        """Draw a choice from the distribution, without gradient."""
        with torch.no_grad():
            return tuple(
                int(torch.multinomial(logits.softmax(0), 1, generator=generator))
                for logits in self.logits
            )

    def most_likely(self) -> Choice:
        """Return the option with the largest logit of every decision."""
        return tuple(int(logits.argmax()) for logits in self.logits)

    @staticmethod
    def choice_of(sample: Sample) -> Choice:
        """Return the choice that a one-hot sample stands for."""
        return tuple(int(weights.argmax()) for weights in sample.values())


def is_one_hot(sample: Sample) -> bool:
    """Return whether one option of each decision weighs 1 and the others exactly 0."""
    return all(
        int(weights.count_nonzero()) == 1 and float(weights.detach().max()) == 1.0
        for weights in sample.values()
    )
