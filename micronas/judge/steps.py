"""Results of the steps of a build."""

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
    """Id, source, line and reason of each dropped prompt."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Entries of the manifest on the step."""
    review: list[dict[str, Any]] = field(default_factory=list)
    """Rows for review by hand."""


def drop(record: Record, reason: str) -> dict[str, Any]:
    """Return the row of a dropped prompt with its reason."""
    return {"id": record.id, "source": record.source, "line": record.line, "reason": reason}


def count(names: Iterable[str]) -> dict[str, int]:
    """Return the count of each name, in alphabetical order."""
    return dict(sorted(Counter(names).items()))
