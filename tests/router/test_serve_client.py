"""The command in front of upstreams of every kind."""

import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from micronas.errors import ConfigError
from micronas.router.policy import Router
from micronas.router.serve.app import create_app
from micronas.router.serve.protocol import ascii_text
from micronas.router.serve.settings import ServeSettings
from tests.command import command
from tests.router.serving import (
    asks,
    chat,
    closed,
    figures,
    running,
    said,
    streamed,
    until,
    with_key,
    world,
)
from tests.router.world import table
from tests.upstreams import (
    Call,
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


def outcome(client: httpx.Client, name: str, model: str, stream: bool) -> tuple[str, str]:
    """Ask, and return the whole answer, or what there is of it, and the code of the error."""
    response = chat(client, f"request <{name}>", model=model, stream=stream)
    if response.status_code != 200:
        return "", response.json()["error"]["code"]
    text, errors, ended = streamed(response) if stream else (said(response), [], True)
    assert ended != bool(errors)
    if ended:
        assert response.headers["x-micronas-expert"] == "answers"
    return text, "".join(str(each["code"]) for each in errors)


@pytest.mark.parametrize(
    ("count", "at_once"),
    [pytest.param(100, 32, marks=pytest.mark.long), pytest.param(1000, 64, marks=pytest.mark.slow)],
)
def test_every_request_ends_in_one_answer_or_one_error(
    tmp_path: Path, count: int, at_once: int
) -> None:
    models = [*["micronas-router"] * 5, *KINDS]
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
        with running(tmp_path, **settings) as server, with_key(server.url, "own") as client:

            def ask(number: int) -> tuple[str, str]:
                model, turn = models[number % len(models)], number // len(models)
                return outcome(client, f"r{number}", model, turn % 2 == 0)

            with ThreadPoolExecutor(at_once) as threads:
                outcomes = list(threads.map(ask, range(count)))
            metrics = figures(client)
        answered = sum(not error for _, error in outcomes)
        until(lambda: sum(servers[-1].finished.values()) == answered)
    finished: Counter[str] = sum((server.finished for server in servers), Counter())
    errors: dict[str, set[str]] = {model: set() for model in models}
    for number, (text, error) in enumerate(outcomes):
        errors[models[number % len(models)]].add(error)
        # one clear error, and nobody worked to the end for nothing
        assert finished[f"r{number}"] == (not error)
        if error:
            assert text in ("", "half an ")
        else:
            assert text == f"answers answers <r{number}> in full"
    # whoever asks for a broken expert gets its error, whoever asks for the good one an answer
    assert set().union(*(errors[name] for name in KINDS if name != "answers")) <= {
        *("rate_limit", "no_answer", "cooling_down", "broken_answer")
    }
    assert errors["answers"] == {""}
    # a routed request fails only if its stream was cut after the first byte
    assert {""} <= errors["micronas-router"] <= {"", "broken_answer"}
    assert all(server.requests for server in servers)
    ended = [each for each in metrics if each.startswith("micronas_router_requests_total{")]
    assert sum(float(metrics[each]) for each in ended) == count


@pytest.mark.long
def test_a_fitted_router_is_served(router: Router, tmp_path: Path) -> None:
    router.save(tmp_path / "fitted")
    prompts = table(6, seed=9).prompts
    with world() as experts:
        with (
            running(tmp_path, experts=experts, router="fitted") as server,
            with_key(server.url, "own") as client,
        ):
            for prompt, decision in zip(prompts, router.route(prompts), strict=True):
                headers = chat(client, prompt).headers
                assert headers["x-micronas-expert"] == decision.expert
                assert headers["x-micronas-category"] == decision.category
                assert headers["x-micronas-uncertainty"] == f"{decision.uncertainty:.3f}"
                assert headers["x-micronas-reason"] == ascii_text(decision.reason)
        some = ServeSettings.model_validate({"experts": experts[:1], "router": tmp_path / "fitted"})
        with pytest.raises(ConfigError, match="must be served, but it sends"):
            create_app(some)


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


@pytest.mark.long
def test_ctrl_c_lets_requests_end_and_leaves_no_traceback(tmp_path: Path) -> None:
    body = asks("x", model="slow", stream=True)
    with (
        upstream("slow", slowly) as slow,
        running(tmp_path, experts=[slow.expert()]) as server,
        httpx.stream("POST", f"{server.url}/chat/completions", json=body, timeout=30) as response,
    ):
        received = response.iter_text()
        text = next(received)
        server.process.send_signal(signal.SIGINT)
        assert (text + "".join(received)).endswith("data: [DONE]\n\n")
        assert server.process.wait(30) == 0
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
