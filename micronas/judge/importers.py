"""Verdicts that other tools have stored, as rows of a store.

A verdict without a readable label becomes an invalid row: it is counted, not dropped.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.files import regular
from micronas.judge.rows import Answer, Order, StoredPrompt, VerdictRow
from micronas.judge.store import writing
from micronas.judge.verdict import Verdict, Winner, parse_label
from micronas.language.endpoints import estimate_tokens
from micronas.language.rows import read_rows

SHARE: dict[Winner, float] = {"A": 1.0, "B": 0.0, "tie": 0.5}


def _won(verdict: Verdict | None, order: Order) -> float | None:
    """Return the model's share of the point, from a verdict by places."""
    if verdict is None:
        return None
    share = SHARE[verdict.winner]
    return 1 - share if order == "second" else share


@dataclass(frozen=True)
class Imported:
    """Content of another tool's file."""

    verdicts: list[VerdictRow]
    answers: list[Answer]
    prompts: list[StoredPrompt]

    def save(self, path: Path) -> None:
        """Add everything to a store."""
        with writing(path) as store:
            store.put_prompts(self.prompts)
            store.put_answers(self.answers)
            store.put_verdicts(self.verdicts)
            # the baseline's own file compares it with itself
            store.drop("a model against itself", "model = baseline")

    def fought(self) -> list[VerdictRow]:
        """Return the verdicts on two different models."""
        return [row for row in self.verdicts if row.model != row.baseline]


def arena_hard(path: Path, *, baseline: str | None = None) -> Imported:
    """Read a JSON lines file of judgments of arena-hard-auto, v0.1 or v2.

    In the first game of a row the baseline is shown as A, in the second the model.

    Parameters
    ----------
    baseline
        The model compared with; needed for v0.1, whose rows do not name it (``gpt-4-0314``).

    Raises
    ------
    DataError
        If a row is not as arena-hard-auto writes it; the message names file and line.
    """
    verdicts: list[VerdictRow] = []
    prompts: dict[str, StoredPrompt] = {}
    orders: tuple[Order, Order] = ("second", "first")
    for number, row in read_rows(path):
        try:
            prompt = str(row["uid"] if "uid" in row else row["question_id"])
            other = row.get("baseline") or baseline
            if other is None:
                raise DataError(
                    f"rows of arena-hard v0.1 do not name their baseline, as in {path}; give it"
                )
            prompts[prompt] = StoredPrompt(prompt, "", str(row.get("category") or ""))
            for order, played in zip(orders, row["games"], strict=False):
                game = played or {}
                verdict = parse_label(str(game.get("score") or ""))
                raw = game.get("judgment") or ""
                verdicts.append(
                    VerdictRow(
                        prompt_id=prompt,
                        model=str(row["model"]),
                        baseline=str(other),
                        order=order,
                        judge=str(row["judge"]),
                        verdict=verdict.winner if verdict else None,
                        outcome=_won(verdict, order),
                        strength=verdict.strength if verdict else 1,
                        raw=raw if isinstance(raw, str) else json.dumps(raw),
                    )
                )
        except (LookupError, TypeError, AttributeError) as error:
            raise unexpected("arena-hard-auto", path, number, error) from error
    return Imported(verdicts, [], list(prompts.values()))


def alpaca_eval(path: Path) -> Imported:
    """Read the annotations of AlpacaEval (``annotations.json``).

    A preference runs from 1 (the baseline) to 2 (the model), 0 is a draw, and one without number
    is invalid. AlpacaEval shows the answers in one random order that it does not store.

    Raises
    ------
    DataError
        If an entry is not as AlpacaEval writes it.
    """
    rows = json_list(path)
    verdicts: list[VerdictRow] = []
    answers: dict[tuple[str, str], Answer] = {}
    prompts: dict[str, StoredPrompt] = {}
    for number, row in enumerate(rows, 1):
        try:
            prompt = hashlib.sha256(row["instruction"].encode()).hexdigest()[:16]
            prompts[prompt] = StoredPrompt(prompt, row["instruction"], row.get("dataset") or "")
            baseline, model = str(row["generator_1"]), str(row["generator_2"])
            for name, text in ((model, row["output_2"]), (baseline, row["output_1"])):
                answers[prompt, name] = Answer(prompt, name, text, estimate_tokens(text))
            preference = row["preference"]
            outcome = None
            if preference is not None and not math.isnan(float(preference)):
                outcome = 0.5 if float(preference) == 0 else float(preference) - 1
            raw = row.get("raw_completion") or ""
            verdicts.append(
                VerdictRow(
                    prompt_id=prompt,
                    model=model,
                    baseline=baseline,
                    order="unknown",
                    judge=str(row["annotator"]),
                    verdict=None,
                    outcome=outcome,
                    raw=raw if isinstance(raw, str) else json.dumps(raw),
                    usd=float(row.get("price_per_example") or 0.0),
                )
            )
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise unexpected("AlpacaEval", path, number, error) from error
    return Imported(verdicts, list(answers.values()), list(prompts.values()))


def llmfao(path: Path) -> Imported:
    """Read the votes of LLMFAO (CSV: prompt, worker, winner, left, right); workers are judges.

    Raises
    ------
    DataError
        If a row is not of this form.
    """
    places: dict[str, Winner] = {"left": "A", "right": "B", "tie": "tie"}
    verdicts = []
    for number, row in read_rows(path):
        try:
            winner = places[row["winner"]]
            verdicts.append(
                VerdictRow(
                    prompt_id=row["prompt"],
                    model=row["left"],
                    baseline=row["right"],
                    order="first",
                    judge=row["worker"],
                    verdict=winner,
                    outcome=SHARE[winner],
                )
            )
        except LookupError as error:
            raise unexpected("LLMFAO", path, number, error) from error
    return Imported(
        verdicts, [], [StoredPrompt(p, "") for p in {row.prompt_id for row in verdicts}]
    )


def judgebench(path: Path) -> Imported:
    """Read the output of JudgeBench for one judge: JSON lines of pairs with one game or two.

    The answers are those of models ``A`` and ``B``; the right one is a verdict of the judge
    ``label``. In the second game the answers are exchanged. `micronas.judge.checks.accuracy`
    then gives JudgeBench's figure.

    Raises
    ------
    DataError
        If a row is not as JudgeBench writes it.
    """
    verdicts: list[VerdictRow] = []
    answers: list[Answer] = []
    prompts: list[StoredPrompt] = []
    # a judgment that failed does not name its judge, the file does
    _, named, stem = path.stem.partition("judge_model=")

    def add(prompt: str, judge: str, order: Order, decision: object, raw: object = "") -> None:
        found = None if decision is None else parse_label(str(decision))
        text = raw if isinstance(raw, str) else json.dumps(raw)
        winner = found.winner if found else None
        verdicts.append(
            VerdictRow(prompt, "A", "B", order, judge, winner, _won(found, order), raw=text)
        )

    for number, row in read_rows(path):
        try:
            prompt = str(row["pair_id"])
            prompts.append(StoredPrompt(prompt, row["question"], row.get("source") or ""))
            for name in "AB":
                text = row[f"response_{name}"]
                answers.append(Answer(prompt, name, text, estimate_tokens(text)))
            if row["label"] not in ("A>B", "B>A"):
                raise ValueError(f"label must be A>B or B>A, but got {row['label']!r}")
            add(prompt, "label", "first", row["label"])
            judge = stem if named else str(row["judge_name"])
            orders: tuple[Order, Order] = ("first", "second")
            for order, game in zip(orders, row["judgments"], strict=False):
                played = game or {}
                add(prompt, judge, order, played.get("decision"), played.get("judgment") or "")
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise unexpected("JudgeBench", path, number, error) from error
    return Imported(verdicts, answers, prompts)


def json_list(path: Path) -> list[Any]:
    """Read a JSON list; raise DataError if the file holds none."""
    try:
        rows = json.loads(_text(path))
    except ValueError as error:
        raise DataError(f"{path} must be JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} must hold a JSON list, but holds {type(rows).__name__}")
    return rows


def _text(path: Path) -> str:
    try:
        return regular(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} must be a readable text file: {error}") from error


def unexpected(tool: str, path: Path, number: int, error: Exception) -> DataError:
    """Return the error of a row that is not of its tool's form."""
    return DataError(
        f"row {number} of {path} must be as {tool} writes it, but {type(error).__name__}: {error}"
    )
