"""A judge run in front of an endpoint that is broken, lies, bills what it likes or refuses."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from micronas.errors import ConfigError
from micronas.judge.rows import Answer
from micronas.judge.run import Summary, run
from micronas.judge.store import answers_of, verdicts_of
from testing.failing_judge import USD, failing_run
from testing.odd_endpoint import (
    LOST,
    READABLE,
    Exchange,
    Form,
    OddEndpoint,
    counting,
    refusing,
    serving,
)
from testing.odd_judge import odd_run
from tests.judge.runs import MOST, answers_for, filtering, prompts_for, settings_for
from tests.judge.test_endpoint import send

KEY = "sk-secret/0123456789"
CUT = {
    "no_choice": refusing("200 OK", body=b'{"choices": []}'),
    "half": refusing("200 OK", body=b'{"choices": [{"message": {"con'),
}
FLOODS = [*sorted(name for name in LOST if name.startswith("endless")), "drips"]


def always(form: str, **more: Form) -> OddEndpoint:
    return OddEndpoint(lambda body, _: (str(len(body["messages"])), form), more=more)


def answers() -> list[Answer]:
    return [Answer("p0000", model, f"{model} says so", 3) for model in ("m0", "m1")]


def judged(url: str, path: Path, key: str | None = None) -> Summary:
    return run(settings_for(url, key, attempts=1), prompts_for(1), answers(), path)


@pytest.mark.parametrize("form", READABLE)
def test_what_was_paid_for_is_kept_and_not_paid_again(form: str, tmp_path: Path) -> None:
    endpoint, path = always(form), tmp_path / "run.db"
    with serving(endpoint) as url:
        first, again = judged(url, path), judged(url, path)
    assert (first.calls, first.lost, again.calls) == (2, 0, 0)
    assert sum(endpoint.asked.values()) == 2
    assert all(row.raw.startswith("answer to <2>") for row in verdicts_of(path))
    assert 0 < first.usd < 0.02


@pytest.mark.parametrize("form", sorted({*LOST, *CUT} - {*FLOODS}))
def test_what_cannot_be_read_is_lost_in_one_line(form: str) -> None:
    with serving(always(form, **CUT)) as url:
        lost = send(url)
    assert lost.perhaps_paid != form.startswith("limit")
    assert "\n" not in lost.reason
    assert lost.wait in (None, 0.0)


@pytest.mark.parametrize("form", FLOODS)
def test_an_answer_without_end_is_left_in_time(form: str) -> None:
    start = time.monotonic()
    with serving(always(form)) as url:
        lost = send(url, timeout=0.7)
    assert lost.perhaps_paid
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("form", ["usage_negative", "usage_zero"])
def test_counts_that_cannot_be_do_not_disarm_the_limit(form: str, tmp_path: Path) -> None:
    limit = 0.03
    prompts = prompts_for(24)
    said = [Answer(p.id, m, f"{m} on {p.text}", 3) for p in prompts for m in ("m0", "m1")]
    with serving(OddEndpoint(lambda body, _: (str(hash(str(body))), form))) as url:
        settings = settings_for(url, max_usd=limit, attempts=1)
        summary = run(settings, prompts, said, tmp_path / "run.db")
    assert summary.stopped
    assert limit - MOST <= summary.usd <= limit * (1 + 1e-6)


def test_the_key_is_sent_and_its_echo_is_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)

    async def tells(exchange: Exchange) -> None:
        said = f"<p>{exchange.headers['authorization']}</p>\x1b[31m"
        await exchange.send(said.encode(), "403 Forbidden")

    for form in ("refuses_with_key", "tells"):
        with (
            serving(always(form, tells=tells)) as url,
            pytest.raises(ConfigError, match=r"HTTP 40[13]") as refused,
        ):
            judged(url, tmp_path / "run.db", "JUDGE_KEY")
        assert "[JUDGE_KEY]" in str(refused.value)
        assert "0123456789" not in str(refused.value)
        assert str(refused.value).isprintable()
    with serving(always("echoes_key")) as url:
        judged(url, tmp_path / "run.db", "JUDGE_KEY")
    assert all("Bearer [JUDGE_KEY]" in row.raw for row in verdicts_of(tmp_path / "run.db"))
    for file in tmp_path.iterdir():
        assert b"0123456789" not in file.read_bytes(), file
    assert "0123456789" not in "".join(capfd.readouterr())


def test_a_word_in_place_of_a_key_changes_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "answer")
    with serving(always("plain")) as url:
        reply = send(url, api_key_env="JUDGE_KEY")
    assert reply.text == "answer to <1>"


def test_halves_of_characters_in_what_is_judged_are_kept_as_one_sign(tmp_path: Path) -> None:
    said = [Answer("p0000", model, f"{model} \ud83d", 3) for model in ("m0", "m1")]
    path = tmp_path / "run.db"
    with serving(always("plain")) as url:
        first = run(settings_for(url, attempts=1), prompts_for(1), said, path)
        # the answers are the same ones, so that no verdict is dropped
        again = run(settings_for(url, attempts=1), prompts_for(1), said, path)
    assert (first.calls, again.calls, len(verdicts_of(path))) == (2, 0, 2)
    assert [each.text for each in answers_of(path)] == ["m0 \ufffd", "m1 \ufffd"]


@pytest.mark.parametrize(
    "calls", [pytest.param(24, marks=pytest.mark.long), pytest.param(2000, marks=pytest.mark.slow)]
)
def test_a_run_over_every_odd_form_pays_for_nothing_twice(calls: int, tmp_path: Path) -> None:
    found = odd_run(tmp_path, calls, timeout=10.0 if calls == 24 else 20.0)
    assert (found.calls, found.verdicts, found.paid_twice) == (calls, calls, 0)
    assert found.requests > calls
    assert found.limit - found.most <= found.usd_at_limit <= found.limit * (1 + 1e-9)
    assert found.leaks == ()


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
