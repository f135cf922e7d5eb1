"""Prompts and answers for runs."""

import sqlite3
from contextlib import closing
from pathlib import Path

from micronas.files import text_hash
from micronas.judge.manifest import Prompt
from micronas.judge.rows import Answer, VerdictRow
from tests.judge.judge_server import chance


def prompts_for(count: int) -> list[Prompt]:
    texts = [f"question {number}" for number in range(count)]
    kinds = ("math", "coding")
    return [
        Prompt(f"p{n:04d}", text, kinds[n % 2], "en", "made", "CC0-1.0", text_hash(text))
        for n, text in enumerate(texts)
    ]


def answers_for(prompts: int, models: int, plant: str = "") -> list[Answer]:
    """Answers of model m0 (the baseline) to m<models>, of equal quality on average."""
    return [
        Answer(f"p{n:04d}", f"m{m}", f"{plant}m{m}: quality {chance(n, m):.4f}{plant}", 10)
        for n in range(prompts)
        for m in range(models + 1)
    ]


def dropped_of(path: Path) -> list[tuple[VerdictRow, str]]:
    """The verdicts that were set aside, with the reason."""
    with closing(sqlite3.connect(path)) as sql:
        rows = sql.execute("SELECT * FROM dropped ORDER BY prompt_id, model, baseline").fetchall()
    return [(VerdictRow(*row[:-1]), row[-1]) for row in rows]
