"""Rows of a judge run: prompts, answers, verdicts; and a reader of files of answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from micronas.errors import DataError
from micronas.judge.verdict import Winner
from micronas.language.answers import MOST_TOKENS
from micronas.language.endpoints import estimate_tokens
from micronas.language.rows import read_rows
from micronas.settings import nearest

Order = Literal["first", "second", "unknown"]
NULL_PREFIX = "null:"
_TEXTS = ("prompt_id", "model", "text")


@dataclass(frozen=True)
class StoredPrompt:
    """A prompt in a run."""

    id: str
    text: str
    category: str = ""
    language: str = ""


@dataclass(frozen=True)
class Answer:
    """A model's answer to a prompt, with its length in tokens."""

    prompt_id: str
    model: str
    text: str
    tokens: int


@dataclass(frozen=True)
class VerdictRow:
    """One verdict of one judge."""

    prompt_id: str
    model: str
    baseline: str
    order: Order
    """Position of the model's answer: ``first`` (as A), ``second`` or ``unknown``."""
    judge: str
    verdict: Winner | None
    """``A``, ``B`` or ``tie`` by position; None if the judge gave none (or it is unknown)."""
    outcome: float | None
    """Share of the point won by the model against the baseline; None if the verdict is invalid."""
    strength: int = 1
    """2 for "much better", 1 otherwise."""
    raw: str = ""
    """The judge's last text."""
    prompt_hash: str = ""
    parameters: str = "{}"
    """JSON of what the verdict depends on besides the messages, whose SHA-256 is `prompt_hash`."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    attempts: int = 1
    """Number of texts for this verdict, with retries for unreadable ones; counts are their sums."""


def check_judges(rows: Iterable[VerdictRow], names: Iterable[str], where: object) -> None:
    """Raise DataError for a judge that has no verdict, unless nobody has."""
    judges = {row.judge for row in rows}
    for name in names:
        if judges and name not in judges:
            hint = nearest(name, judges)
            raise DataError(f"{where} holds no verdict of the judge {name!r}; {hint}")


def won(winner: Winner | None, order: Order) -> float | None:
    """Return the model's share of the point, from a verdict by places."""
    if winner is None or winner == "tie":
        return None if winner is None else 0.5
    return float((winner == "A") == (order != "second"))


@dataclass(frozen=True)
class Spending:
    """Totals of a store's requests; ``dearest`` is the dearest single one, in US dollars.

    ``answered`` requests brought a text, ``lost`` ones did not (refused, cut, or in flight when a
    run was killed). ``usd`` includes lost ones that may have been charged for.
    """

    answered: int
    lost: int
    usd: float
    dearest: float


def read_answers(path: Path) -> list[Answer]:
    """Read answers from JSON lines with ``prompt_id``, ``model``, ``text``, optional ``tokens``.

    Raises DataError if a line, which is named, is no such object or a model's second answer to a
    prompt.
    """
    answers = []
    lines: dict[tuple[str, str], int] = {}
    for number, row in read_rows(path):
        try:
            texts = [str(row[key]) for key in _TEXTS if isinstance(row.get(key), str)]
            if len(texts) < len(_TEXTS):
                raise TypeError(f"it has {row!r:.120}")
            tokens = row.get("tokens")
            tokens = estimate_tokens(texts[2]) if tokens in (None, "") else int(tokens)
            if not 0 <= tokens <= MOST_TOKENS:
                raise ValueError(f"tokens must be 0 to {MOST_TOKENS}")
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"an answer must have the texts prompt_id, model and text, but line {number} of "
                f"{path} has not ({error})"
            ) from error
        before = lines.setdefault((texts[0], texts[1]), number)
        if before != number:
            raise DataError(
                f"a model must have one answer to a prompt, but {path} has two of {texts[1]!r} to "
                f"{texts[0]!r}, on lines {before} and {number}; keep one"
            )
        answers.append(Answer(texts[0], texts[1], texts[2], tokens))
    return answers
