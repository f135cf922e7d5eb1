"""The ``openai`` client against the command, in front of upstreams of every kind."""

import asyncio
import re
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from micronas.errors import ConfigError
from micronas.router.embedding import Embedding
from micronas.router.fit import FitSettings, fit
from micronas.router.mapping import ParameterBudget
from micronas.router.serve.app import create_app
from micronas.router.serve.protocol import ascii_text
from micronas.router.serve.settings import ServeSettings
from tests.command import command
from tests.router import lazy_openai as openai
from tests.router.serving import Running, asks, chat, closed, running, until, world
from tests.router.world import EXPERTS, table
from tests.upstreams import (
    Call,
    Server,
    answers,
    broken,
    cuts,
    hangs,
    limited,
    slowly,
    upstream,
    upstreams,
)

KINDS = {"limits": limited, "breaks": broken, "hangs": hangs, "cuts": cuts, "answers": answers}


@dataclass
class Outcome:
    """How one request ended for its client."""

    id: str
    model: str
    stream: bool
    text: str = ""
    expert: str = ""
    error: str = ""
    ends: int = 0


async def ask(client: Any, outcome: Outcome) -> Outcome:
    messages: list[Any] = [{"role": "user", "content": f"request <{outcome.id}>"}]
    try:
        raw = await client.chat.completions.with_raw_response.create(
            model=outcome.model, messages=messages, stream=outcome.stream
        )
        outcome.expert = raw.headers["x-micronas-expert"]
        answer: Any = raw.parse()
        if outcome.stream:
            async for piece in answer:
                for choice in piece.choices:
                    outcome.text += choice.delta.content or ""
                    outcome.ends += choice.finish_reason is not None
        else:
            outcome.text = answer.choices[0].message.content
            outcome.ends = len(answer.choices)
    except openai.APIError as error:
        outcome.error = f"{error.message} {error.code}"
    return outcome


async def storm(url: str, models: list[str], count: int, at_once: int) -> list[Outcome]:
    gate = asyncio.Semaphore(at_once)
    client = openai.AsyncOpenAI(base_url=url, api_key="key-of-client", max_retries=0, timeout=60)

    async def one(number: int) -> Outcome:
        model = models[number % len(models)]
        stream = number // len(models) % 2 == 0
        async with gate:
            return await ask(client, Outcome(f"r{number}", model, stream))

    async with client:
        return await asyncio.gather(*(one(number) for number in range(count)))


def check(outcomes: list[Outcome], servers: list[Server], count: int) -> None:
    assert len({outcome.id for outcome in outcomes}) == count
    finished: Counter[str] = sum((server.finished for server in servers), Counter())
    for outcome in outcomes:
        if outcome.error:
            # one clear error, and nobody worked to the end for nothing
            assert outcome.ends == 0
            assert outcome.error.rsplit(" ", 1)[1] in (
                "rate_limit",
                "no_answer",
                "cooling_down",
                "broken_answer",
            )
            assert outcome.text in ("", "half an ")
            assert finished[outcome.id] == 0
        else:
            assert outcome.text == f"answers answers <{outcome.id}> in full"
            assert (outcome.ends, outcome.expert, finished[outcome.id]) == (1, "answers", 1)


@pytest.mark.parametrize(
    ("count", "at_once"),
    [pytest.param(100, 32, marks=pytest.mark.long), pytest.param(1000, 64, marks=pytest.mark.slow)],
)
def test_every_request_ends_in_one_answer_or_one_error(
    tmp_path: Path, count: int, at_once: int
) -> None:
    with upstreams(**KINDS) as servers:
        settings = {
            "experts": [server.expert() for server in servers],
            "fixed": "limits",
            "timeouts": {"first_byte": 1.0 if count == 100 else 3.0},
            "failures": 5,
            "cool_down": 0.2,
            "deadline": 60,
            "patience": 60,
            "concurrency": at_once,
        }
        with running(tmp_path, **settings) as server:
            routed = ["micronas-router"] * 5
            outcomes = asyncio.run(storm(server.url, [*routed, *KINDS], count, at_once))
            figures = httpx.get(server.url.replace("/v1", "/metrics")).text
        answered = sum(not outcome.error for outcome in outcomes)
        until(lambda: sum(servers[-1].finished.values()) == answered)
        check(outcomes, servers, count)

        by_model = {
            model: [outcome for outcome in outcomes if outcome.model == model]
            for model in ("micronas-router", *KINDS)
        }
        # whoever asks for a broken expert gets its error, whoever asks for the good one an answer
        for model in ("limits", "breaks", "hangs", "cuts"):
            assert all(outcome.error for outcome in by_model[model])
        assert not any(outcome.error for outcome in by_model["answers"])
        # a routed request fails only if its stream was cut after the first byte
        assert all(
            "broken_answer" in each.error for each in by_model["micronas-router"] if each.error
        )
        assert any(not each.error for each in by_model["micronas-router"])
        assert all(server.requests for server in servers)
        ends = re.findall(r"^micronas_router_requests_total\{.*\} (\S+)$", figures, re.MULTILINE)
        assert sum(map(float, ends)) == count


@pytest.mark.long
def test_a_fitted_router_is_served(tmp_path: Path) -> None:
    settings = FitSettings(embedding=Embedding(kind="ngrams"))
    fitted = fit(table(240), EXPERTS, settings=settings, budget=ParameterBudget(active=12e9))
    fitted.save(tmp_path / "fitted")
    prompts = table(6, seed=9).prompts
    with world() as experts:
        with (
            running(tmp_path, experts=experts, router="fitted") as server,
            httpx.Client(base_url=server.url.removesuffix("/v1")) as client,
        ):
            for prompt, decision in zip(prompts, fitted.route(prompts), strict=True):
                response = chat(client, prompt)
                assert response.headers["x-micronas-expert"] == decision.expert
                assert response.headers["x-micronas-category"] == decision.category
                assert response.headers["x-micronas-uncertainty"] == f"{decision.uncertainty:.3f}"
                assert response.headers["x-micronas-reason"] == ascii_text(decision.reason)
        used = {row["expert"] for row in fitted.mapping()}
        rest = [each for each in experts if each["name"] not in used] or experts[:1]
        unserved = ServeSettings.model_validate({"experts": rest, "router": tmp_path / "fitted"})
        with pytest.raises(ConfigError, match="must be served, but it sends"):
            create_app(unserved)


@pytest.mark.long
def test_keys_are_in_no_log_and_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream-secret")
    monkeypatch.setenv("CLIENT_KEYS", "key-of-client")

    def tells(call: Call) -> None:
        given = call.handler.headers["Authorization"]
        status = 401 if "401" in str(call.body["messages"]) else 400
        call.send(status, f'{{"error": {{"message": "you sent {given}"}}}}'.encode())

    with upstream("tells", tells) as server:
        settings = {
            "experts": [server.expert(endpoint={"api_key_env": "UPSTREAM_KEY"})],
            "keys_env": "CLIENT_KEYS",
        }
        with running(tmp_path, **settings) as run:
            seen = ""
            with httpx.Client(base_url=run.url.removesuffix("/v1")) as client:
                assert chat(client, "no key").status_code == 401
                client.headers["Authorization"] = "Bearer key-of-client"
                for text in ("<1>", "<401>"):
                    response = chat(client, text)
                    seen += response.text + str(response.headers)
                seen += client.get("/metrics").text + client.get("/v1/models").text
                seen += client.get("/openapi.json").text
            assert run.interrupt() == 0
        seen += run.log.read_text()
        assert server.authorizations == {"Bearer sk-upstream-secret"}
        assert "you sent Bearer [UPSTREAM_KEY]" in seen
        assert "sk-upstream-secret" not in seen
        assert "key-of-client" not in seen
        assert seen.count("expert=tells") == 2  # each request has a line
        assert "<1>" not in seen  # and no prompt is in it


def interrupted(server: Running, body: dict[str, Any]) -> tuple[str, int]:
    """Press Ctrl-C once a stream has begun; returns the stream and the exit code."""
    with httpx.stream("POST", f"{server.url}/chat/completions", json=body, timeout=30) as response:
        received = response.iter_text()
        text = next(received)
        server.process.send_signal(signal.SIGINT)
        text += "".join(received)
    return text, server.process.wait(30)


@pytest.mark.long
def test_ctrl_c_lets_requests_end_and_leaves_no_traceback(tmp_path: Path) -> None:
    body = asks("x", model="slow", stream=True)
    with upstream("slow", slowly) as slow, running(tmp_path, experts=[slow.expert()]) as server:
        text, code = interrupted(server, body)
        assert text.endswith("data: [DONE]\n\n")
        assert code == 0
        assert "Traceback" not in server.log.read_text()


@pytest.mark.long
def test_ctrl_c_does_not_wait_for_an_expert_for_ever(tmp_path: Path) -> None:
    body = asks("x", model="sleeper")
    with (
        upstream("sleeper", hangs) as sleeper,
        running(tmp_path, experts=[sleeper.expert()], grace=1) as server,
        ThreadPoolExecutor(1) as thread,
    ):
        metrics = server.url.replace("/v1", "/metrics")
        call = thread.submit(httpx.post, f"{server.url}/chat/completions", json=body, timeout=30)
        until(lambda: "micronas_router_working 1.0" in httpx.get(metrics).text)
        assert server.interrupt() == 0
        response = call.result()
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "stopping"
        assert "Traceback" not in server.log.read_text()


def test_mistakes_at_the_command_line_are_one_line_and_exit_2(tmp_path: Path) -> None:
    expert = closed("a")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for settings, message in (
            ({"experts": [expert], "port": port}, f"cannot listen at 127.0.0.1 port {port}"),
            ({"experts": [expert], "router": "nowhere"}, "nowhere"),
        ):
            path = tmp_path / "serve.yaml"
            path.write_text(yaml.safe_dump(settings))
            done = command("router", "serve", path)
            assert done.returncode == 2
            *_, last = done.stderr.splitlines()
            assert message in last
