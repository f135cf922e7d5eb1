"""Run a judge against an endpoint that answers in every odd form, and count what was paid."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micronas.judge.run import JudgeSettings, run
from micronas.judge.store import verdicts_of, writing
from testing.failing_judge import questions, verdict
from testing.odd_endpoint import LOST, READABLE, OddEndpoint, serving

KEY = "sk-odd-0123456789abcdef"
VARIABLE = "MICRONAS_ODD_KEY"
_MOST = 0.01
"""US dollars, more than a call may cost by its bytes and ``max_tokens``."""
_PATIENT = 5
"""Requests of one body after which the endpoint answers so that it can be read."""


@dataclass(frozen=True)
class OddRun:
    """What came of a run.

    Attributes
    ----------
    calls, requests
        Calls that got an answer, and requests that it took.
    paid_twice
        Calls that were sent again although an answer had been sent to its end.
    forms
        How often each form was sent.
    limit, usd_at_limit, most
        US dollars: what a first run was allowed, what it spent, and what a call cost or may cost at
        most.
    usd, verdicts
        Of both runs.
    leaks
        Files that hold the key.
    """

    calls: int
    requests: int
    paid_twice: int
    forms: Counter[str]
    limit: float
    usd_at_limit: float
    most: float
    usd: float
    verdicts: int
    leaks: tuple[str, ...]


def odd_run(folder: Path, calls: int, *, timeout: float = 20.0) -> OddRun:
    """Judge one model on half as many prompts as calls: to a limit of money first, then to the end.

    Parameters
    ----------
    folder
        Where the store is written; all files in it are searched for the key.
    timeout
        Seconds a call may take; the endpoint makes many wait for longer.
    """
    forms: Counter[str] = Counter()

    def wish(body: dict[str, Any], before: int) -> tuple[str, str]:
        name = hashlib.sha256(repr(body["messages"]).encode()).hexdigest()
        kinds = [*READABLE, *LOST] if before < _PATIENT else [*READABLE]
        drawn = hashlib.sha256(f"{name} {before}".encode()).digest()
        form = kinds[int.from_bytes(drawn[:4], "big") % len(kinds)]
        forms[form] += 1
        return name, form

    endpoint = OddEndpoint(wish, verdict)
    os.environ[VARIABLE] = KEY
    work = (*questions(calls // 2, " \ud83d"), folder / "run.sqlite")
    with serving(endpoint) as url:
        judge = {
            "model": "judge",
            "base_url": url,
            "api_key_env": VARIABLE,
            "price": {"prompt": 2.0, "completion": 10.0},
            "concurrency": 16,
            "timeout": timeout,
            "tries": 100,
            "backoff": 0.001,
            "max_tokens": 200,
        }
        settings = {"judge": judge, "baseline": "base"}
        # what a call costs is not known before; this allows for about half of them
        limit = calls / 2 * 0.003
        short = run(JudgeSettings.model_validate({**settings, "max_usd": limit}), *work)
        rest = run(JudgeSettings.model_validate(settings), *work)
        # nothing is left to ask for
        assert run(JudgeSettings.model_validate(settings), *work).calls == 0
    assert short.stopped
    with writing(work[-1]) as open_store:
        dearest = open_store.spending().dearest
    return OddRun(
        calls=short.calls + rest.calls,
        requests=sum(endpoint.asked.values()),
        paid_twice=sum(times - 1 for times in endpoint.answered.values()),
        forms=forms,
        limit=limit,
        usd_at_limit=short.usd,
        most=max(dearest, _MOST),
        usd=rest.usd,
        verdicts=sum(row.verdict is not None for row in verdicts_of(work[-1])),
        leaks=tuple(p.name for p in sorted(folder.iterdir()) if KEY.encode() in p.read_bytes()),
    )
