"""Networks that fit, and the results of their trial trainings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from micronas.hardware.costs import Costs
from micronas.nas.comparison import Comparison, Lead, lead_over
from micronas.space.decisions import Choice
from micronas.space.open_space import Picks
from micronas.space.searchable import Architecture, Searchable


@dataclass(frozen=True)
class Candidate:
    """A network that fits, and its results so far."""

    origin: str
    """``search``, ``uniform`` or ``textbook``."""
    choice: Choice
    space: Searchable
    """Space of the choice; in a space of several families, the member."""
    costs: Costs
    label: str
    """Name, unique within a search."""
    family: str = ""
    """Family, in a space of several; see `OpenSpace.member`."""
    picks: Picks = ()
    """Option chosen at each `any` of that family."""
    trial_loss: float | None = None
    """Ranking loss on the ranking part after the longest trial; less is better."""
    trial_score: float | None = None
    """Measure of the objective after that trial; in classification the accuracy, 0 to 1."""
    trial_epochs: int = 0
    """Epochs of that trial, summed over its trainings where it had more than one of each fold."""
    comparisons: tuple[Comparison, ...] = field(default=(), repr=False)
    """Comparisons with other networks, oldest first."""

    @cached_property
    def architecture(self) -> Architecture:
        return self.space.architecture(self.choice)

    @property
    def decisions(self) -> dict[str, str]:
        """Option of each decision, by the decision's name."""
        chosen = zip(self.space.decisions, self.choice, strict=True)
        return {each.name: each.labels[index] for each, index in chosen}

    def __str__(self) -> str:
        return self.label


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort by epochs of trial, most first, then by loss: the first is the winner."""
    return sorted(candidates, key=lambda each: (-each.trial_epochs, each.trial_loss or 0.0))


def ahead_of_other_origin(candidates: Sequence[Candidate]) -> Lead | None:
    """Return the winner's lead over the best of the other origins after as many epochs; None where
    there is no other origin."""
    winner = candidates[0]
    others = (each.comparisons for each in candidates if each.origin != winner.origin)
    return lead_over(winner.comparisons, others)
