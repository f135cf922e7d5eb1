"""A router's decision on a prompt: the category, the expert, its cost and the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

GENERAL = "general"
"""Category of prompts that fit no other one."""


@dataclass(frozen=True)
class RoutingDecision:
    """Where one prompt goes.

    Attributes
    ----------
    category
        The category it is sent on as, `GENERAL` where the router is unsure.
    probability
        Calibrated probability of the likeliest category.
    uncertainty
        Entropy of the categories' probabilities over its maximum, 0 to 1.
    expert
        Name of the expert the category is mapped to.
    active
        Active parameters of that expert.
    expected_score
        Mean score of the expert on the category, shrunken; None where no scores are known.
    reason
        One sentence for a person.
    """

    category: str
    probability: float
    uncertainty: float
    expert: str
    active: float
    expected_score: float | None
    reason: str


class Routing(Protocol):
    """Anything that sends prompts to experts."""

    def route(self, prompts: Sequence[str]) -> list[RoutingDecision]:
        """Return one decision a prompt."""
        ...
