"""Steps of a build, and what each left and dropped."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from micronas.judge.sources import Record
from micronas.progress import Progress, nobody

Say = Callable[[str], None]


@dataclass(frozen=True)
class StepResult:
    """Result of a step."""

    kept: list[Record]
    dropped: list[dict[str, Any]] = field(default_factory=list)
    """Id, source, line and reason of each prompt that goes no further."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Entries of the manifest about the step."""
    review: list[dict[str, Any]] = field(default_factory=list)
    """Rows for a human to decide."""


class Steps:
    """The steps of one build, in order.

    Parameters
    ----------
    say
        Called with one line per step.
    progress
        Told how many of `total` steps are done.
    """

    def __init__(self, say: Say, progress: Progress = nobody, *, total: int = 1) -> None:
        self._say, self._progress, self._total = say, progress, total
        progress("build", 0, total, {})
        self.counts: dict[str, dict[str, Any]] = {}
        """Prompts kept, prompts dropped by reason, and facts of each step."""
        self.dropped: list[dict[str, Any]] = []
        """Prompts that any step dropped."""

    def add(self, name: str, outcome: StepResult) -> StepResult:
        """Note what a step left, and return it."""
        dropped = count(each["reason"] for each in outcome.dropped)
        self.counts[name] = {"kept": len(outcome.kept), "dropped": dropped, **outcome.facts}
        self.dropped += [{**each, "step": name} for each in outcome.dropped]
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
        self._say(f"{name}: {len(outcome.kept)} kept, dropped: {reasons or 'none'}")
        self._progress("build", len(self.counts), self._total, {})
        return outcome


def drop(record: Record, reason: str) -> dict[str, Any]:
    """Return the line that says which prompt was dropped and why."""
    return {"id": record.id, "source": record.source, "line": record.line, "reason": reason}


def count(names: Iterable[str]) -> dict[str, int]:
    """Return how often each name occurs, in alphabetical order."""
    return dict(sorted(Counter(names).items()))
