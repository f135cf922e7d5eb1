"""The report of a judge run: the data of its page, read from the store."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from micronas._version import VERSION
from micronas.errors import DataError
from micronas.files import write_atomically
from micronas.judge.battles import Battles
from micronas.judge.categories import by_categories, category_prior
from micronas.judge.checks import PositionBias, null_models, position_bias
from micronas.judge.leaderboard import Leaderboard, Statistics, leaderboard
from micronas.judge.quality import separability
from micronas.judge.rows import NULL_PREFIX, Answer, StoredPrompt, VerdictRow
from micronas.judge.store import answers_of, battles_of, prompts_of, verdicts_of
from micronas.language.intervals import paired_intervals
from micronas.page import page_of

_PARTS = Path(__file__).parent / "page"
_INVALID_SHOWN = 100
_JUDGES_SHOWN = 10


def write_report(
    store: Path,
    path: Path,
    *,
    title: str = "Judge report",
    statistics: Statistics | None = None,
    judge: str | None = None,
    strong_weight: float = 3.0,
    texts: int | None = None,
) -> None:
    """Write the report of a judge run as one HTML file that loads nothing.

    Parameters
    ----------
    store
        SQLite file of the run.
    judge, strong_weight
        As for `battles_of`.
    texts
        Number of prompts whose texts go into the file, which grows with them; by default all.

    Raises
    ------
    DataError
        If the run has no valid verdict or is the report's path, or a model has no finite score and
        there is no prior.
    """
    if path.resolve() == store.resolve():
        raise DataError(f"a report must not replace its run, but both are {path}; name another")
    wanted = statistics or Statistics()
    battles = battles_of(store, judge=judge, strong_weight=strong_weight)
    board = leaderboard(battles, wanted)
    rows = [row for row in verdicts_of(store) if judge in (None, row.judge)]
    judged = [row for row in rows if not row.model.startswith(NULL_PREFIX)]
    prompts = {prompt.id: prompt for prompt in prompts_of(store)}
    answers = [answer for answer in answers_of(store) if answer.model in board.models]
    rules = [
        ["Weight of a much better verdict", f"{strong_weight:g}"],
        ["Prior, drawn battles a model", f"{wanted.prior:g}"],
        ["Bootstrap", f"{len(board.samples)} rounds over prompts, seed {wanted.seed}"],
    ]
    data = {
        "baseline": board.baseline,
        "summary": _summary(rows, board),
        "intervals": f"{100 * wanted.level:g} % intervals from {len(board.samples)} bootstrap "
        "rounds over prompts",
        "board": board.rows(),
        "separability": _separability(board, wanted.level),
        **_categories(battles, board, wanted),
        **_position(judged),
        **_lengths(answers, judged, board),
        "invalid": _invalid(judged),
        **_texts(prompts, answers, judged, board.models, texts),
        "provenance": [*_provenance(rows, prompts.values()), *rules],
    }
    write_atomically(path, page_of(title, data, parts=_PARTS))


def _summary(rows: Sequence[VerdictRow], board: Leaderboard) -> str:
    usd = sum(row.usd for row in _asked(rows))
    judged = [row.prompt_id for row in rows if not row.model.startswith(NULL_PREFIX)]
    paid = f" for {usd:.2f} US dollars" if usd else ""
    return f"{len(board.models)} models, {len(set(judged))} prompts, {len(judged)} verdicts{paid}"


def _asked(rows: Sequence[VerdictRow]) -> list[VerdictRow]:
    """Return the verdicts that were paid for: models with one answer share a question."""
    once = {(row.judge, row.prompt_hash or place): row for place, row in enumerate(rows)}
    return list(once.values())


def _separability(board: Leaderboard, level: float) -> dict[str, Any]:
    lower, upper = paired_intervals(board.samples, level)
    share = separability(lower, upper)
    models = range(len(board.models))
    cells = [
        [
            None
            if row == column
            else {
                "difference": float(board.rates[row] - board.rates[column]),
                "low": float(lower[row, column]),
                "high": float(upper[row, column]),
                "separated": bool(lower[row, column] > 0 or upper[row, column] < 0),
            }
            for column in models
        ]
        for row in models
    ]
    return {
        "cells": cells,
        "pairs": share.pairs,
        "separated": int(share.points),
        "rule": f"the {100 * level:g} % interval of the difference, on the same drawn prompts, "
        "excludes zero",
    }


def _categories(battles: Battles, board: Leaderboard, statistics: Statistics) -> dict[str, Any]:
    cells: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in by_categories(battles, statistics):
        cells[row["category"]][row["model"]] = row
    rows = [
        {
            "name": name,
            "prompts": next(iter(of_model.values()))["prompts"],
            "cells": [of_model.get(model) for model in board.models],
        }
        for name, of_model in cells.items()
    ]
    return {
        "categories": rows,
        "category_intervals": f"{100 * statistics.level:g} % intervals that hold for the whole "
        f"table at once; prior of {category_prior(statistics):g} drawn battles a model",
    }


def _position(judged: Sequence[VerdictRow]) -> dict[str, Any]:
    """Return the share of wins of the answer shown first, over all and by model."""
    placed = [row for row in judged if row.order != "unknown"]
    rows = []
    for model in sorted({row.model for row in placed}):
        mine = [row for row in placed if row.model == model]
        shown = [
            row.outcome if row.order == "first" else 1 - row.outcome
            for row in mine
            if row.outcome is not None
        ]
        bias = _position_bias(mine)
        rows.append(
            {
                "model": model,
                "games": len(shown),
                "first": _share(point > 0.5 for point in shown),
                "second": _share(point < 0.5 for point in shown),
                "tie": _share(point == 0.5 for point in shown),
                "agree": bias.consistent if bias else None,
            }
        )
    bias = _position_bias(placed)
    note = ""
    if bias:
        note = (
            f" Here the first place won {100 * bias.first_share:.1f} % of the points of "
            f"{bias.pairs} pairs (p = {bias.p_value:.2g}): "
            f"{'a bias' if bias.biased else 'no sign of a bias'}; {100 * bias.consistent:.1f} % of "
            "the pairs get the same verdict in both orders."
        )
    return {"position": rows, "position_note": note}


def _share(hits: Iterable[bool]) -> float | None:
    every = list(hits)
    return sum(every) / len(every) if every else None


def _position_bias(rows: Sequence[VerdictRow]) -> PositionBias | None:
    try:
        return position_bias(rows)
    except DataError:
        return None  # one order only, as in imported verdicts


def _lengths(
    answers: Sequence[Answer], judged: Sequence[VerdictRow], board: Leaderboard
) -> dict[str, Any]:
    """Return the mean answer length of each model, and the share of wins of the longer answer."""
    tokens = {(answer.prompt_id, answer.model): answer.tokens for answer in answers}
    longer: dict[str, list[bool]] = defaultdict(list)
    for row in judged:
        left = tokens.get((row.prompt_id, row.model))
        right = tokens.get((row.prompt_id, row.baseline))
        if left is None or right is None or left == right:
            continue
        if row.outcome is None or row.outcome == 0.5:
            continue
        longer[row.model].append((left > right) == (row.outcome > 0.5))
    rows = []
    for place, model in enumerate(board.models):
        sizes = [answer.tokens for answer in answers if answer.model == model]
        won = longer[model]
        rows.append(
            {
                "model": model,
                "rate": float(board.rates[place]),
                "tokens": sum(sizes) / len(sizes) if sizes else None,
                "longer": _share(won),
            }
        )
    return {"lengths": rows}


def _invalid(judged: Sequence[VerdictRow]) -> dict[str, Any]:
    invalid = [row for row in judged if row.outcome is None]
    shown = [
        {
            "prompt": row.prompt_id,
            "model": row.model,
            "order": row.order,
            "judge": row.judge,
            "raw": row.raw,
        }
        for row in invalid[:_INVALID_SHOWN]
    ]
    return {"count": len(invalid), "games": len(judged), "rows": shown}


def _texts(
    prompts: Mapping[str, StoredPrompt],
    answers: Sequence[Answer],
    judged: Sequence[VerdictRow],
    models: Sequence[str],
    texts: int | None,
) -> dict[str, Any]:
    """Return prompts with their answers and verdicts; the last ones without texts."""
    said = {(answer.prompt_id, answer.model): answer.text for answer in answers}
    games: dict[str, list[VerdictRow]] = defaultdict(list)
    for row in judged:
        games[row.prompt_id].append(row)
    ids = sorted(games)
    shown = set(ids if texts is None else ids[:texts])
    rows = [
        {
            "id": key,
            "category": prompts[key].category if key in prompts else "",
            "text": prompts[key].text if key in prompts and key in shown else None,
            "answers": {
                model: said[key, model] for model in models if key in shown and (key, model) in said
            },
            "games": [
                {
                    "model": row.model,
                    "baseline": row.baseline,
                    "order": row.order,
                    "judge": row.judge,
                    "outcome": row.outcome,
                    "strong": row.strength == 2,
                    "raw": row.raw if key in shown else None,
                }
                for row in games[key]
            ],
        }
        for key in ids
    ]
    note = f" Texts of {len(shown)} prompts of {len(ids)} are in this file."
    return {"prompts": rows, "texts_note": note if len(shown) < len(ids) else ""}


def _provenance(rows: Sequence[VerdictRow], prompts: Iterable[StoredPrompt]) -> list[list[str]]:
    """Return the basis of the numbers, as pairs of a name and a text."""
    judges = sorted({(row.judge, row.parameters) for row in rows})
    named = [["Judge", f"{judge} {parameters}"] for judge, parameters in judges[:_JUDGES_SHOWN]]
    rest = len(judges) - len(named)
    asked = _asked(rows)
    constant = [[f"Constant answer {each.model}", str(each)] for each in null_models(rows)]
    return [
        ["micronas", VERSION],
        *named,
        *([["Judge", f"and {rest} others"]] if rest else []),
        ["Prompts, SHA-256", _digest(prompt.text for prompt in prompts)],
        ["Judge's messages, SHA-256", _digest(row.prompt_hash for row in rows)],
        ["Judge's texts, SHA-256", _digest(row.raw for row in rows)],
        [
            "Tokens in and out",
            f"{sum(row.prompt_tokens for row in asked)}, "
            f"{sum(row.completion_tokens for row in asked)}",
        ],
        *constant,
    ]


def _digest(texts: Iterable[str]) -> str:
    """Return the SHA-256 of the SHA-256 of each text, in order."""
    whole = hashlib.sha256()
    for text in texts:
        whole.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return whole.hexdigest()
