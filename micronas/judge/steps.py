"""Steps of a build: each keeps what it left and is repeated only when something before changed."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from micronas.files import write_atomically
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


class Steps:
    """The steps of one build, in order.

    Parameters
    ----------
    folder
        Where each step keeps its outcome.
    say
        Called with one line per step.
    """

    def __init__(self, folder: Path, say: Say) -> None:
        self._folder, self._say = folder, say
        self._key = ""
        self.counts: dict[str, dict[str, Any]] = {}
        """Prompts kept, prompts dropped by reason, and facts of each step."""
        self.dropped: list[dict[str, Any]] = []
        """Prompts that any step dropped."""

    def run(self, name: str, inputs: list[Any], make: Callable[[], StepResult]) -> StepResult:
        """Return what the step left the last time; do it if its inputs or a step before changed.

        Parameters
        ----------
        inputs
            Everything besides the steps before that the outcome depends on, as JSON values.
        """
        text = json.dumps([name, self._key, inputs], sort_keys=True)
        self._key = hashlib.sha256(text.encode()).hexdigest()
        path = self._folder / f"{name}.json"
        outcome = _load(path, self._key)
        again = " (kept from before)" if outcome else ""
        if outcome is None:
            outcome = make()
            body = json.dumps(asdict(outcome), ensure_ascii=False, sort_keys=True)
            write_atomically(path, f"{_stamp(self._key, body)}\n{body}\n".encode())
        dropped = count(each["reason"] for each in outcome.dropped)
        self.counts[name] = {"kept": len(outcome.kept), "dropped": dropped, **outcome.facts}
        self.dropped += [{**each, "step": name} for each in outcome.dropped]
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
        self._say(f"{name}: {len(outcome.kept)} kept, dropped: {reasons or 'none'}{again}")
        return outcome


def drop(record: Record, reason: str) -> dict[str, Any]:
    """Return the line that says which prompt was dropped and why."""
    return {"id": record.id, "source": record.source, "line": record.line, "reason": reason}


def count(names: Iterable[str]) -> dict[str, int]:
    """Return how often each name occurs, in alphabetical order."""
    return dict(sorted(Counter(names).items()))


def _load(path: Path, key: str) -> StepResult | None:
    """Return an outcome if its file is whole and was made from the same inputs."""
    try:
        stamp, _, body = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    body = body.removesuffix("\n")
    if _stamp(key, body) != stamp:
        return None
    values = json.loads(body)
    return StepResult(**{**values, "kept": [Record(**each) for each in values["kept"]]})


def _stamp(key: str, body: str) -> str:
    return hashlib.sha256(f"{key}{body}".encode()).hexdigest()
