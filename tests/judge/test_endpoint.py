import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from micronas.errors import ConfigError, DataError
from micronas.judge.endpoint import EndpointSettings, JudgeEndpoint, Lost, Reply
from micronas.judge.run import run
from micronas.language.endpoints import Price, estimate_tokens
from tests.judge.judge_server import Judge, serve
from tests.judge.runs import answers_for, prompts_for, run_once, settings_for
from tests.upstreams import after, upstream

MESSAGES = [{"role": "user", "content": "12345678"}]
GOOD = {"choices": [{"message": {"content": "yes"}}], "usage": None}


@contextmanager
def answering(
    status: int, body: bytes, headers: dict[str, str] | None = None, delay: float = 0.0
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve one canned answer; yields the base URL and the bodies received."""
    with upstream(
        "judge", after(delay, lambda call: call.send(status, body, **headers or {}))
    ) as at:
        yield f"{at.url}/", at.bodies


def send(url: str, **changes: Any) -> Reply | Lost:
    settings = EndpointSettings(model="judge-1", base_url=url, **changes)

    async def once() -> Reply | Lost:
        async with JudgeEndpoint(settings) as endpoint:
            return await endpoint.send(MESSAGES)

    return asyncio.run(once())


def test_reply_usage_and_price() -> None:
    body = {**GOOD, "usage": {"prompt_tokens": 1000, "completion_tokens": 200}}
    with answering(200, json.dumps(body).encode()) as (url, received):
        reply = send(url, price=Price(prompt=2.5, completion=10), options={"seed": 7})
    assert reply == Reply("yes", 1000, 200, pytest.approx(0.0045))
    assert received == [
        {
            "model": "judge-1",
            "temperature": 0.0,
            "max_tokens": 4096,
            "seed": 7,
            "messages": MESSAGES,
            "path": "/v1/chat/completions",
        }
    ]


def test_options_replace_parameters_and_null_leaves_one_out() -> None:
    options = {"temperature": 1, "max_tokens": None, "max_completion_tokens": 9000}
    settings = EndpointSettings(model="m", options=options)
    assert settings.parameters() == {"model": "m", "temperature": 1, "max_completion_tokens": 9000}
    assert settings.most_tokens == 9000
    with pytest.raises(ConfigError, match="max_usd relies on it"):
        EndpointSettings(model="m", options={"max_tokens": None})


def test_tokens_are_estimated_where_the_server_counts_none() -> None:
    with answering(200, json.dumps(GOOD).encode()) as (url, _):
        assert send(url, price=Price(prompt=1e6)) == Reply("yes", 2, 1, 2.0)
    assert estimate_tokens("") == 0
    assert estimate_tokens("\u65e5\u672c") == 2  # six bytes


def test_null_content_is_an_empty_text() -> None:
    with answering(200, b'{"choices": [{"message": {"content": null}}]}') as (url, _):
        reply = send(url)
    assert reply.text == ""


@pytest.mark.parametrize(
    ("status", "header", "wait"), [(429, "7", 7), (429, "100000", 120), (503, "soon", None)]
)
def test_a_wait_that_the_server_asks_for_is_bounded(
    status: int, header: str, wait: float | None
) -> None:
    with answering(status, b"", {"Retry_After": header}) as (url, _):
        assert send(url) == Lost(f"HTTP {status}", perhaps_paid=False, wait=wait)


def test_pauses_double_and_end() -> None:
    settings = EndpointSettings(model="m", base_url="http://127.0.0.1:1", tries=3, backoff=0.02)

    async def pauses() -> list[float]:
        times = []
        async with JudgeEndpoint(settings) as endpoint:
            for attempt in range(2):
                start = time.perf_counter()
                await endpoint.pause(attempt, Lost("HTTP 500", False, 0.03 * (1 - attempt)))
                times.append(time.perf_counter() - start)
            with pytest.raises(DataError, match="within 3 tries, but the last one ended in HTTP"):
                await endpoint.pause(2, Lost("HTTP 500", False))
        return times

    first, second = asyncio.run(pauses())
    assert first >= 0.029  # what the server asked for
    assert second >= 0.019


def test_timeout_may_have_been_paid_and_a_closed_port_not() -> None:
    with answering(200, json.dumps(GOOD).encode(), delay=0.5) as (url, _):
        lost = send(url, timeout=0.05)
    assert lost == Lost("no answer in time", perhaps_paid=True)
    assert send(url) == Lost("no connection", perhaps_paid=False)


def test_refusals_and_wrong_addresses_are_configuration_errors() -> None:
    with (
        answering(401, b'{"error":\n "bad key"}') as (url, received),
        pytest.raises(ConfigError, match=r"401.*bad key.*api_key_env"),
    ):
        send(url)
    assert len(received) == 1
    with pytest.raises(ConfigError, match="must be an http address"):
        send("localhost:80")


def test_a_dead_endpoint_ends_the_run_in_one_line(tmp_path: Path) -> None:
    with serve(Judge()) as url:
        pass
    # others pause when the first one gives up, and are not waited for
    settings = settings_for(url, judge={"tries": 2, "backoff": 0.2})
    with pytest.raises(DataError, match=rf"^judge-1 at {url} .*2 tries.*no connection"):
        run(settings, prompts_for(3), answers_for(3, 1), tmp_path / "run.db")


def test_concurrency_is_bounded_and_used(tmp_path: Path) -> None:
    judge = Judge(delay=0.05)
    run_once(judge, tmp_path / "run.db", 6, 1, judge={"concurrency": 3})
    assert judge.most_flying == 3


def test_openais_key_goes_to_no_other_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-123")
    with serve(judge := Judge()) as url:
        run(settings_for(url), prompts_for(1), answers_for(1, 1), tmp_path / "run.db")
    assert judge.authorizations == {None}
    monkeypatch.delenv("OPENAI_API_KEY")
    for changes, variable in (
        ({}, "OPENAI_API_KEY"),
        ({"base_url": url, "api_key_env": "NO_KEY"}, "NO_KEY"),
    ):
        settings = EndpointSettings.model_validate({"model": "m", **changes})
        with pytest.raises(ConfigError, match=f"key of 'm' must be .* variable {variable}, which"):
            JudgeEndpoint(settings)
