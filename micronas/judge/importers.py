"""Import verdicts of other tools as rows of a store.

A verdict without a readable label becomes an invalid row, which is counted, not dropped.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.files import regular
from micronas.judge.checks import check_names
from micronas.judge.rows import Answer, Order, StoredPrompt, VerdictRow, won
from micronas.judge.store import writing
from micronas.judge.verdict import parse_label
from micronas.language.endpoints import estimate_tokens
from micronas.language.rows import read_rows


@dataclass(frozen=True)
class Imported:
    """Contents of another tool's file."""

    verdicts: list[VerdictRow]
    answers: list[Answer]
    prompts: list[StoredPrompt]

    def save(self, path: Path) -> int:
        """Add everything to a store; return the number of verdicts deleted with changed texts."""
        with writing(path) as store:
            deleted = store.put_prompts(self.prompts) + store.put_answers(self.answers)
            store.put_verdicts(self.verdicts)
            # the baseline's own file compares it with itself
            store.drop("a model against itself", "model = baseline")
        return deleted

    def add(
        self, pair: tuple[str, str, str], order: Order, judge: str, label: object, raw: object = ""
    ) -> None:
        """Add a verdict by its label, invalid if the label is not readable."""
        found = None if label is None else parse_label(str(label))
        winner, strength = (found.winner, found.strength) if found else (None, 1)
        row = VerdictRow(*pair, order, str(judge), winner, won(winner, order), strength, _text(raw))
        self.verdicts.append(row)

    def fought(self) -> list[VerdictRow]:
        """Return the verdicts on two different models."""
        return [row for row in self.verdicts if row.model != row.baseline]


def arena_hard(path: Path, *, baseline: str | None = None) -> Imported:
    """Read a JSON lines file of judgments of arena-hard-auto, v0.1 or v2.

    In the first game of a row the baseline is shown as A, in the second the model.

    Parameters
    ----------
    baseline
        Baseline model; needed for v0.1, whose rows do not name it (``gpt-4-0314``).

    Raises
    ------
    DataError
        If a row is not in the format of arena-hard-auto; the message names file and line.
    """
    orders: tuple[Order, Order] = ("second", "first")

    def take(row: Any, found: Imported) -> None:
        prompt = str(row["uid"] if "uid" in row else row["question_id"])
        other = row.get("baseline") or baseline
        if other is None:
            raise DataError(
                f"rows of arena-hard v0.1 do not name their baseline, as in {path}; give it"
            )
        found.prompts.append(StoredPrompt(prompt, "", str(row.get("category") or "")))
        pair = (prompt, str(row["model"]), str(other))
        for order, played in zip(orders, row["games"], strict=False):
            game = played or {}
            found.add(pair, order, row["judge"], game.get("score"), game.get("judgment"))

    return imported("arena-hard-auto", path, read_rows(path), take)


def alpaca_eval(path: Path) -> Imported:
    """Read the annotations of AlpacaEval (``annotations.json``).

    A preference runs from 1 (the baseline) to 2 (the model), 0 is a draw, and one without a number
    is invalid. AlpacaEval shows answers in a random order, which it does not store. Raises
    DataError if an entry is not in the format of AlpacaEval.
    """

    def take(row: Any, found: Imported) -> None:
        prompt = hashlib.sha256(row["instruction"].encode()).hexdigest()[:16]
        found.prompts.append(StoredPrompt(prompt, row["instruction"], row.get("dataset") or ""))
        baseline, model = str(row["generator_1"]), str(row["generator_2"])
        for name, text in ((model, row["output_2"]), (baseline, row["output_1"])):
            found.answers.append(Answer(prompt, name, text, estimate_tokens(text)))
        preference = row["preference"]
        outcome = None
        if preference is not None and not math.isnan(float(preference)):
            if not (float(preference) == 0 or 1 <= float(preference) <= 2):
                raise ValueError(f"preference must be 0 or 1 to 2, but got {preference!r}")
            outcome = 0.5 if float(preference) == 0 else float(preference) - 1
        judge, usd = str(row["annotator"]), float(row.get("price_per_example") or 0.0)
        raw = _text(row.get("raw_completion"))
        pair = (prompt, model, baseline)
        found.verdicts.append(VerdictRow(*pair, "unknown", judge, None, outcome, raw=raw, usd=usd))

    return imported("AlpacaEval", path, json_list(path), take)


def llmfao(path: Path) -> Imported:
    """Read the votes of LLMFAO (CSV: prompt, worker, winner, left, right); workers are judges.

    Raises DataError if a row is not of this form.
    """
    labels = {"left": "A>B", "right": "B>A", "tie": "A=B"}

    def take(row: Any, found: Imported) -> None:
        pair = (row["prompt"], row["left"], row["right"])
        if row["winner"] not in labels:
            raise ValueError(f"winner must be left, right or tie, but got {row['winner']!r:.60}")
        found.prompts.append(StoredPrompt(row["prompt"], ""))
        found.add(pair, "first", row["worker"], labels[row["winner"]])

    return imported("LLMFAO", path, read_rows(path), take)


def judgebench(path: Path) -> Imported:
    """Read JudgeBench's data, or its output for one judge: JSON lines of pairs, with games or not.

    The answers belong to models ``A`` and ``B``; the right one is a verdict of the judge ``label``.
    In the second game the answers are exchanged. `micronas.judge.checks.accuracy` gives
    JudgeBench's figure, for a judge of these games or one that judges the pairs anew (``baseline:
    B``). Raises DataError if a row is not in the format of JudgeBench.
    """
    # a failed judgment does not name its judge, but the file does
    _, named, stem = path.stem.partition("judge_model=")
    orders: tuple[Order, Order] = ("first", "second")

    def take(row: Any, found: Imported) -> None:
        prompt = str(row["pair_id"])
        found.prompts.append(StoredPrompt(prompt, row["question"], row.get("source") or ""))
        for name in "AB":
            text = row[f"response_{name}"]
            found.answers.append(Answer(prompt, name, text, estimate_tokens(text)))
        if row["label"] not in ("A>B", "B>A"):
            raise ValueError(f"label must be A>B or B>A, but got {row['label']!r}")
        pair = (prompt, "A", "B")
        found.add(pair, "first", "label", row["label"])
        for order, game in zip(orders, row.get("judgments") or (), strict=False):
            played, judge = game or {}, stem if named else str(row["judge_name"])
            found.add(pair, order, judge, played.get("decision"), played.get("judgment"))

    return imported("JudgeBench", path, read_rows(path), take)


def rewardbench2(path: Path) -> Imported:
    """Read RewardBench 2's data: JSON lines of a prompt, its right answer and wrong ones.

    The right answer belongs to the model ``chosen``, the wrong ones to ``rejected 1`` and so on;
    the loss of each is a verdict of the judge ``label``. Judge them anew with ``baseline: chosen``:
    RewardBench 2 counts the prompts on which the right answer wins against all, which is ``whole``
    of `micronas.judge.checks.accuracy`. The subset Ties has many right answers, whose scores are
    compared with each other: it is left out. Raises DataError if a row is not as RewardBench 2 has
    it.
    """

    def take(row: Any, found: Imported) -> None:
        if row["subset"] == "Ties":
            return
        (chosen,), rejected, prompt = row["chosen"], row["rejected"], str(row["id"])
        if not isinstance(rejected, list) or not rejected:
            raise ValueError(f"rejected must be a list of answers, but got {rejected!r:.60}")
        if not all(isinstance(each, str) for each in (row["prompt"], chosen, *rejected)):
            raise TypeError("prompt and answers must be texts")
        found.prompts.append(StoredPrompt(prompt, row["prompt"], row["subset"]))
        found.answers.append(Answer(prompt, "chosen", chosen, estimate_tokens(chosen)))
        for place, text in enumerate(rejected, 1):
            name = f"rejected {place}"
            found.answers.append(Answer(prompt, name, text, estimate_tokens(text)))
            found.add((prompt, name, "chosen"), "first", "label", "B>A")

    return imported("RewardBench 2", path, read_rows(path), take)


def imported(
    tool: str,
    path: Path,
    rows: Iterable[tuple[int, Any]],
    take: Callable[[Any, Imported], None],
) -> Imported:
    """Return what `take` adds of each row.

    Raises DataError, which names the row, if one is not in the tool's format.
    """
    found = Imported([], [], [])
    for number, row in rows:
        try:
            take(row, found)
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            kind = "it has no" if isinstance(error, KeyError) else f"{type(error).__name__}:"
            raise DataError(
                f"row {number} of {path} must be as {tool} writes it, but {kind} {error}; mend it, "
                "or name the tool that wrote it"
            ) from error
    check_names(path, (name for row in found.verdicts for name in (row.model, row.baseline)))
    return found


def _text(raw: object) -> str:
    return raw if isinstance(raw, str) else json.dumps(raw) if raw else ""


def json_list(path: Path) -> list[tuple[int, Any]]:
    """Read a JSON list with the number of each row; raise DataError for other contents."""
    try:
        rows = json.loads(regular(path).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} must be readable JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} must hold a JSON list, but holds {type(rows).__name__}")
    return list(enumerate(rows, 1))
