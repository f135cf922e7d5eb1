"""Steps of a build, and what each left and dropped."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from micronas.judge.sources import Record

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


def drop(record: Record, reason: str) -> dict[str, Any]:
    """Return the line that says which prompt was dropped and why."""
    return {"id": record.id, "source": record.source, "line": record.line, "reason": reason}


def count(names: Iterable[str]) -> dict[str, int]:
    """Return how often each name occurs, in alphabetical order."""
    return dict(sorted(Counter(names).items()))
