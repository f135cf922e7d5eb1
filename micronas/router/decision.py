"""A router's decision on a prompt: the category, the expert, its cost and the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

GENERAL = "general"
"""Category of prompts that fit no other one."""


@dataclass(frozen=True)
class RoutingDecision:
    """The expert of one prompt, with the reasons."""

    category: str
    """Category used for routing, `GENERAL` if the router is unsure."""
    probability: float
    """Calibrated probability of the likeliest category."""
    uncertainty: float
    """Entropy of the categories' probabilities relative to its maximum, 0 to 1."""
    expert: str
    """Name of the category's expert."""
    active: float
    """Active parameters of that expert."""
    expected_score: float | None
    """Shrunken mean score of the expert on the category; None without scores."""
    reason: str
    """One sentence for a person."""


class Routing(Protocol):
    """Protocol of objects that send prompts to experts."""

    def route(self, prompts: Sequence[str]) -> list[RoutingDecision]:
        """Return one decision per prompt."""
        ...
