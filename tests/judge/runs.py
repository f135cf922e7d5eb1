"""Prompts, answers, settings and endpoints for runs."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from micronas.files import text_hash
from micronas.judge.manifest import Prompt
from micronas.judge.rows import Answer, VerdictRow
from micronas.judge.run import JudgeSettings, Summary, run
from testing.odd_endpoint import OddEndpoint, refusing
from tests.judge.judge_server import COMPLETION_PRICE, PROMPT_PRICE, Judge, chance, serve

MOST = 0.005
"""US dollars; more than a call in these tests may cost."""


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


def settings_for(
    url: str, key: str | None = None, *, judge: dict[str, Any] | None = None, **changes: Any
) -> JudgeSettings:
    """Settings of a run, and of the judge at the address; those that are given come first."""
    usual = {
        "model": "judge-1",
        "base_url": url,
        "api_key_env": key,
        "max_tokens": 100,
        "price": {"prompt": PROMPT_PRICE, "completion": COMPLETION_PRICE},
        "backoff": 0.01,
        "timeout": 20,
    }
    judge = {**usual, **(judge or {})}
    return JudgeSettings.model_validate(
        {"judge": judge, "baseline": "m0", "rubric": {"own_answer": False}, **changes}
    )


def run_once(
    server: Judge, path: Path, prompts: int, models: int, plant: str = "", **changes: Any
) -> Summary:
    with serve(server) as url:
        return run(
            settings_for(url, **changes),
            prompts_for(prompts),
            answers_for(prompts, models, plant),
            path,
        )


def filtering(question: str) -> OddEndpoint:
    """An endpoint that refuses a question for its content, and what judges answers to it."""

    def wish(body: dict[str, Any], before: int) -> tuple[str, str]:
        text = body["messages"][-1]["content"]
        return text, "refusal" if f"{question}\n" in f"{text}\n" else "plain"

    refusal = refusing("400 Bad Request", body=b'{"error": {"message": "content filter"}}')
    return OddEndpoint(wish, more={"refusal": refusal})


def dropped_of(path: Path) -> list[tuple[VerdictRow, str]]:
    """The verdicts that were set aside, with the reason."""
    with closing(sqlite3.connect(path)) as sql:
        rows = sql.execute("SELECT * FROM dropped ORDER BY prompt_id, model, baseline").fetchall()
    return [(VerdictRow(*row[:-1]), row[-1]) for row in rows]
