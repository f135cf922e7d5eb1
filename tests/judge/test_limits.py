"""A judge run before an endpoint that bills what it likes, counts wrongly, or refuses prompts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from micronas.errors import ConfigError
from micronas.judge.run import Summary, run
from micronas.judge.store import verdicts_of
from testing.failing_judge import USD, failing_run
from testing.odd_endpoint import Exchange, OddEndpoint, counting, serving
from tests.judge.runs import answers_for, filtering, prompts_for, settings_for
from tests.judge.test_endpoint import send


def spend(path: Path, tokens: int, limit: float, **judge: Any) -> Summary:
    """Judge 40 prompts where each call is billed at $10 a million tokens."""
    form = counting("400", str(tokens))
    endpoint = OddEndpoint(lambda body, _: (str(body), "dear"), more={"dear": form})
    with serving(endpoint) as url:
        settings = settings_for(url, judge=judge, attempts=1, max_usd=limit)
        return run(settings, prompts_for(40), answers_for(40, 1), path)


@pytest.mark.parametrize("concurrency", [8, 64])
@pytest.mark.parametrize("tokens", [20_000, 1_000_000])
def test_bills_beyond_max_tokens_exceed_the_limit_by_one_call_at_most(
    tmp_path: Path, concurrency: int, tokens: int
) -> None:
    price = tokens * 10 / 1e6 + 400 * 2 / 1e6
    summary = spend(tmp_path / "run.db", tokens, 1.0, concurrency=concurrency)
    assert summary.stopped
    # the first call shows what one costs; no other leaves before
    assert summary.usd <= max(1.0, price + 1e-9)
    assert summary.calls == max(1, int(1.0 / price))


@pytest.mark.parametrize("concurrency", [8, 64])
@pytest.mark.parametrize(("tokens", "limit"), [(20_000, 1.0), (1_000_000, 1.0), (1_000_000, 25.0)])
def test_a_stated_bound_keeps_the_limit(
    tmp_path: Path, concurrency: int, tokens: int, limit: float
) -> None:
    told = {"concurrency": concurrency, "billed_tokens": tokens}
    summary = spend(tmp_path / "run.db", tokens, limit, **told)
    assert summary.stopped
    assert summary.usd <= limit
    assert summary.calls == int((limit - 0.004) / (tokens / 1e5))


def test_counts_that_are_too_low_are_replaced() -> None:
    words = "lorem ipsum " * 200

    async def few(exchange: Exchange) -> None:
        await exchange.answer(words, '{"prompt_tokens": 2, "completion_tokens": 20}')

    async def rows(exchange: Exchange) -> None:
        await exchange.answer("-" * 2400, '{"prompt_tokens": 2, "completion_tokens": 20}')

    for form, count in ((few, 600), (rows, 20)):
        with serving(OddEndpoint(lambda *_: ("", "own"), more={"own": form})) as url:
            reply = send(url)
        assert reply.completion_tokens == count  # type: ignore[union-attr]


def test_a_refused_prompt_is_a_missing_verdict(tmp_path: Path) -> None:
    endpoint, work = filtering("question 3"), (prompts_for(20), answers_for(20, 1))
    with serving(endpoint) as url:
        first, again = (
            run(settings_for(url, attempts=1), *work, tmp_path / "run.db") for _ in range(2)
        )
    assert (first.wanted, first.judged, first.refused) == (40, 38, 2)
    assert first.first_refusal == "p0003: HTTP 400 (content filter)"
    # a refusal stands for some minutes, so that a run that is started often comes to its end
    assert (again.calls, again.refused) == (0, 2)
    assert sum(endpoint.asked.values()) == 40
    assert set(endpoint.answered.values()) == {1}
    assert len(verdicts_of(tmp_path / "run.db")) == 38


def test_an_endpoint_that_refuses_everything_is_an_error(tmp_path: Path) -> None:
    endpoint = filtering("")
    for prompts in (2, 40):
        work = prompts_for(prompts), answers_for(prompts, 1), tmp_path / "run.db"
        with serving(endpoint) as url, pytest.raises(ConfigError, match="refuses all"):
            run(settings_for(url, attempts=1), *work)
    assert sum(endpoint.asked.values()) < 30


def test_an_error_keeps_what_is_in_flight(tmp_path: Path) -> None:
    """One call ends the run; the seven beside it are answered later, and kept."""

    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(0.5)
        await exchange.answer()
        endpoint.answered[str(exchange.body)] += 1

    def wish(body: dict[str, Any], before: int) -> tuple[str, str]:
        text = body["messages"][1]["content"]
        return text, "refuses_with_key" if "question 3\n" in text and not closed else "own"

    closed: list[bool] = []
    endpoint = OddEndpoint(wish, more={"own": late})
    work = (prompts_for(8), answers_for(8, 1), tmp_path / "run.db")
    with serving(endpoint) as url:
        with pytest.raises(ConfigError, match="HTTP 401"):
            run(settings_for(url, attempts=1), *work)
        kept = sum(endpoint.answered.values())
        closed.append(True)
        rest = run(settings_for(url, attempts=1), *work)
    assert kept >= 6
    assert rest.calls == 16 - kept
    assert set(endpoint.answered.values()) == {1}


@pytest.mark.long
def test_a_limit_holds_and_nothing_is_paid_twice_on_a_disk_that_fails(tmp_path: Path) -> None:
    """A small turn of `benchmarks/judge_limits.py`."""
    found = failing_run(tmp_path, 20, limit=5 * USD + 1, every=20)
    assert found.starts > 2
    assert all("run the same command again" in error for error in found.errors), found.errors
    assert found.sent_at_limit <= found.limit
    assert (found.paid_twice, found.refused, found.verdicts) == (0, 2, 38)
    # what no write could say to be free is charged
    assert found.usd >= found.answered * USD
