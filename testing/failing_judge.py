"""Judge at an endpoint that bills what it likes and refuses prompts, on a disk that fails.

The run is a process of its own, one in fifty of whose writes below its folder is an I/O error.
It is started anew after each error, as a person would do it.
"""

import asyncio
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from micronas.errors import MicronasError
from micronas.files import text_hash
from micronas.judge.manifest import Prompt
from micronas.judge.rows import Answer
from micronas.judge.run import JudgeSettings, run
from micronas.judge.store import verdicts_of
from testing.faults import ONE_IN, arm, built
from testing.odd_endpoint import Exchange, OddEndpoint, refusing, serving

TOKENS = 1_000_000
"""Completion tokens that the endpoint reports for each answer."""
USD = 10.0
"""Price of one answer."""
_TAG = re.compile(r"<<([0-9a-f]{16}) PROMPT>>")
_LATE = 0.02
_REFUSAL = refusing("400 Bad Request", body=b'{"error": {"message": "content filter"}}')
_MOST_STARTS = 10_000


@dataclass
class FailingRun:
    """What came of it.

    Attributes
    ----------
    wanted, refused, verdicts
        Verdicts asked for, those the endpoint refused, and those in the store.
    answered, paid_twice
        Answers that the endpoint sent, and those of them to one question a second time.
    starts
        How often the run was started.
    errors
        The first words of what ended a start, counted.
    limit, usd_at_limit, sent_at_limit
        US dollars: what a first run was allowed, what it says it spent, and what the endpoint had
        billed until then.
    usd
        Of both runs, as the store has it.
    """

    wanted: int
    refused: int
    verdicts: int
    answered: int
    paid_twice: int
    starts: int
    errors: dict[str, int]
    limit: float
    usd_at_limit: float
    sent_at_limit: float
    usd: float


def verdict(body: dict[str, Any], name: str) -> str:
    """Say what a judge says whose verdict can be read."""
    found = _TAG.search(body["messages"][1]["content"])
    return f"Compared.\nVerdict {found[1] if found else ''}: [[A>B]]\n({name})"


def questions(count: int, sign: str = "") -> tuple[list[Prompt], list[Answer]]:
    """Make prompts, each ending in a sign, and answers of two models to them."""
    texts = [f"question {number}{sign}" for number in range(count)]
    prompts = [
        Prompt(f"p{number}", text, "math", "en", "made", "CC0-1.0", text_hash(text))
        for number, text in enumerate(texts)
    ]
    models = ("base", "model")
    return prompts, [
        Answer(p.id, name, f"{name} says {p.text}", 10) for p in prompts for name in models
    ]


def failing_run(
    folder: Path, prompts: int, *, limit: float, every: int = 50, at_once: int = 64
) -> FailingRun:
    """Judge one model on prompts, to a limit of money first, then to the end."""
    refused = prompts // 20
    billed: Counter[str] = Counter()

    async def dear(exchange: Exchange) -> None:
        await asyncio.sleep(_LATE)
        await exchange.answer(usage=f'{{"prompt_tokens": 100, "completion_tokens": {TOKENS}}}')
        billed[hashlib.sha256(repr(exchange.body["messages"]).encode()).hexdigest()] += 1

    def wish(body: dict[str, Any], before: int) -> tuple[str, str]:
        text = body["messages"][1]["content"]
        number = int(re.findall(r"question (\d+)\n", text)[0])
        return str(number), "refusal" if number % 20 == 7 and number < 20 * refused else "dear"

    endpoint = OddEndpoint(wish, verdict, more={"dear": dear, "refusal": _REFUSAL})
    work = folder / "work"
    work.mkdir()
    with serving(endpoint) as url:
        judge = {
            "model": "judge",
            "base_url": url,
            "price": {"completion": USD},
            "concurrency": at_once,
            "max_tokens": 200,
            "billed_tokens": TOKENS,
        }
        settings = {"judge": judge, "baseline": "base", "attempts": 1, "max_usd": limit}
        first = _process(folder, settings, prompts, every)
        sent_at_limit = USD * billed.total()
        second = _process(folder, {**settings, "max_usd": None}, prompts, every)
    return FailingRun(
        wanted=2 * prompts,
        refused=second["refused"],
        verdicts=sum(row.verdict is not None for row in verdicts_of(work / "run.sqlite")),
        answered=billed.total(),
        paid_twice=sum(times - 1 for times in billed.values()),
        starts=first["starts"] + second["starts"],
        errors=dict(Counter(first["errors"]) + Counter(second["errors"])),
        limit=limit,
        usd_at_limit=first["usd"],
        sent_at_limit=sent_at_limit,
        usd=second["usd"],
    )


def _process(folder: Path, settings: dict[str, Any], prompts: int, every: int) -> dict[str, Any]:
    told = json.dumps({"folder": str(folder / "work"), "settings": settings, "every": every})
    done = subprocess.run(
        [sys.executable, "-m", "testing.failing_judge", told, str(prompts)],
        cwd=Path(__file__).parents[1],
        env=built(folder),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(told: dict[str, Any], count: int) -> dict[str, Any]:
    """Start the run again and again until no error ends it."""
    folder = Path(told["folder"])
    settings = JudgeSettings.model_validate(told["settings"])
    work = (*questions(count), folder / "run.sqlite")
    arm(folder, told["every"], ONE_IN)
    errors: Counter[str] = Counter()
    for starts in range(1, _MOST_STARTS):
        try:
            summary = run(settings, *work)
        except (MicronasError, OSError) as error:
            errors[re.sub(r"\S*/\S*", "FILE", str(error))] += 1
            continue
        return {**asdict(summary), "starts": starts, "errors": errors}
    raise AssertionError(errors)


def main() -> None:
    """Run as the arguments say, and print what came of it as JSON."""
    told, count = sys.argv[1:]
    print(json.dumps(_run(json.loads(told), int(count))))


if __name__ == "__main__":
    main()
