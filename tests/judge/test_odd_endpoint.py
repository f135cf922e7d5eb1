"""A judge run in front of an endpoint that is broken, or lies, in every way there is a name for."""

import time
from pathlib import Path

import pytest

from micronas.errors import ConfigError
from micronas.judge.endpoint import Reply
from micronas.judge.rows import Answer
from micronas.judge.run import run
from micronas.judge.store import answers_of, verdicts_of, writing
from testing.odd_endpoint import (
    LOST,
    READABLE,
    Exchange,
    Form,
    OddEndpoint,
    refusing,
    serving,
)
from testing.odd_judge import odd_run
from tests.judge.runs import MOST, prompts_for, settings_for
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


@pytest.mark.parametrize("form", READABLE)
def test_what_was_paid_for_is_kept_and_not_paid_again(form: str, tmp_path: Path) -> None:
    endpoint, path = always(form), tmp_path / "run.db"
    with serving(endpoint) as url:
        first = run(settings_for(url, attempts=1), prompts_for(1), answers(), path)
        again = run(settings_for(url, attempts=1), prompts_for(1), answers(), path)
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


def test_an_echoed_key_is_written_nowhere(
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
            run(settings_for(url, "JUDGE_KEY"), prompts_for(1), answers(), tmp_path / "run.db")
        assert "[JUDGE_KEY]" in str(refused.value)
        assert "0123456789" not in str(refused.value)
        assert str(refused.value).isprintable()
    with serving(always("echoes_key")) as url:
        run(
            settings_for(url, "JUDGE_KEY", attempts=1),
            prompts_for(1),
            answers(),
            tmp_path / "run.db",
        )
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
    with writing(path) as store:
        store.receive(store.send("key", 0.0), "key", Reply("cut \ud83d", 1, 1, 0.0))
        assert store.reply("key") == Reply("cut \ufffd", 1, 1, 0.0)


@pytest.mark.parametrize(
    "calls", [pytest.param(24, marks=pytest.mark.long), pytest.param(2000, marks=pytest.mark.slow)]
)
def test_a_run_over_every_odd_form_pays_for_nothing_twice(calls: int, tmp_path: Path) -> None:
    found = odd_run(tmp_path, calls, timeout=10.0 if calls == 24 else 20.0)
    assert (found.calls, found.verdicts, found.paid_twice) == (calls, calls, 0)
    assert found.requests > calls
    assert found.limit - found.most <= found.usd_at_limit <= found.limit * (1 + 1e-9)
    assert found.leaks == ()
