"""What the server refuses, waits for, gives up and leaves alone."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from micronas.errors import ConfigError
from micronas.router.serve.app import create_app
from micronas.router.serve.server import listen
from micronas.router.serve.settings import ServeSettings
from tests.router.serving import (
    at_once,
    behind,
    chat,
    closed,
    leave,
    said,
    serving,
    streamed,
    until,
)
from tests.upstreams import Behaviour, Call, answers, broken, in_turn, upstream

JSON = {"Content-Type": "application/json"}


def test_no_stream_outlives_its_deadline() -> None:
    def drips(call: Call) -> None:
        call.start_stream()
        for _ in range(100):
            call.piece("drip ")
            time.sleep(0.1)

    with behind(drips, deadline=0.7) as (_, client):
        text, errors, ended = streamed(chat(client, "<1>", stream=True))
    assert text.startswith("drip drip")
    assert (errors[0]["code"], ended) == ("deadline", False)


def test_an_expert_that_fails_in_a_row_is_left_alone_for_a_while() -> None:
    with behind(
        dict(a=in_turn(*[broken] * 3, answers), b=answers),
        fixed="a",
        retries=0,
        failures=3,
        cool_down=4,
    ) as ((a, _), client):
        for number in range(6):
            assert said(chat(client, f"<{number}>")) == f"b answers <{number}> in full"
        assert a.requests == 3
        assert 0 < client.get("/healthz").json()["cooling"]["a"] <= 4
        busy = chat(client, "<6>", model="a")
        assert busy.status_code == 503
        assert busy.json()["error"]["code"] == "cooling_down"
        assert 1 <= int(busy.headers["retry-after"]) <= 5
        until(lambda: client.get("/healthz").json()["cooling"] == {})
        assert said(chat(client, "<7>")) == "a answers <7> in full"


def test_retry_after_is_waited_for_within_bounds() -> None:
    def at_limit(wait: str) -> Behaviour:
        return lambda call: call.send(429, b"", Retry_After=wait)

    with behind(
        dict(a=in_turn(at_limit("0.4"), answers, at_limit("3600")), b=answers),
        fixed="a",
        longest_wait=1,
        cool_down=7,
    ) as ((a, b), client):
        start = time.monotonic()
        assert said(chat(client, "<1>", model="a")) == "a answers <1> in full"
        assert 0.4 <= time.monotonic() - start < 5
        # where another can answer, neither a moment nor an hour is waited for
        assert said(chat(client, "<2>")) == "b answers <2> in full"
        assert (a.requests, b.requests) == (3, 1)
        assert 60 < client.get("/healthz").json()["cooling"]["a"] <= 70


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_takes_the_call_with_it(stream: bool) -> None:
    def begins(call: Call) -> None:
        if call.stream:
            call.start_stream()
            call.piece("so ")
        call.wait_until_gone()

    with behind(begins) as (a, client):
        leave(client, a, stream=stream)
        assert a.ended.wait(5)
        assert a.requests == 1
        until(lambda: 'end="gone"' in client.get("/metrics").text)
        assert "micronas_router_working 0.0" in client.get("/metrics").text


def test_over_the_bound_requests_wait() -> None:
    lock, inside, most = threading.Lock(), 0, 0

    def counted(call: Call) -> bool:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.1)
        with lock:
            inside -= 1
        return answers(call)

    with behind(counted, concurrency=2, patience=30) as (_, client):
        responses = at_once(client, 8)
        assert [said(each) for each in responses] == [f"a answers <{n}> in full" for n in range(8)]
        assert most == 2


def test_requests_that_waited_too_long_are_refused() -> None:
    release = threading.Event()

    def held(call: Call) -> bool:
        release.wait(30)
        return answers(call)

    with behind(held, concurrency=2, patience=0.3) as (a, client), ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(at_once, client, 6)
        until(lambda: 'end="503",expert=""} 4.0' in client.get("/metrics").text)
        release.set()
        responses = waiting.result()
        assert sorted(each.status_code for each in responses) == [200] * 2 + [503] * 4
        refused = [each for each in responses if each.status_code == 503]
        assert {each.json()["error"]["code"] for each in refused} == {"busy"}
        assert {each.headers["retry-after"] for each in refused} == {"1"}
        assert a.requests == 2


def test_wrong_requests_are_errors_in_the_form_of_the_api() -> None:
    with behind(answers, largest_body="1 KB") as (a, client):
        path = "/v1/chat/completions"
        for response, status, code in (
            (client.post(path, content=b"{not json", headers=JSON), 400, "invalid_request"),
            (client.post(path, json={"model": "a", "messages": []}), 400, "invalid_request"),
            (chat(client, "x", model="aa\r\nX-Evil: 1"), 404, "model_not_found"),
            (chat(client, "x" * 2000), 413, "too_large"),
            (client.get(path), 405, "http"),
            (client.post(path.removeprefix("/v1"), json={}), 404, "http"),
        ):
            assert response.status_code == status
            error = response.json()["error"]
            assert error["code"] == code
            assert set(error) == {"message", "type", "param", "code"}
            assert "x-evil" not in response.headers
        assert error["message"].startswith("Not Found: POST /chat/completions; the base_url")
        assert a.requests == 0


def test_connections_do_not_wait_for_acknowledgements() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_large_requests_models_health_and_metrics() -> None:
    with behind(answers) as (_, client):
        assert said(chat(client, "<1>" + 3_900_000 * "x")) == "a answers <1> in full"
        names = [each["id"] for each in client.get("/v1/models").json()["data"]]
        assert names == ["micronas-router", "a"]
        assert client.get("/healthz").json() == {"status": "ok", "cooling": {}}
        assert client.get("/metrics").headers["content-type"].startswith("text/plain")


def test_clients_need_a_key_where_keys_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream("a", answers) as a:
        monkeypatch.setenv("CLIENT_KEYS", "key-one, key-two")
        with serving(experts=[a.expert()], keys_env="CLIENT_KEYS") as client:
            for key in ("", "Bearer key", "Bearer key-one, key-two", "Bearer \u00e9"):
                client.headers["Authorization"] = key
                assert chat(client, "<1>").status_code == 401
                assert client.get("/v1/models").status_code == 401
            assert client.get("/healthz").status_code == 200
            for key in ("key-one", "key-two"):
                client.headers["Authorization"] = f"Bearer {key}"
                assert chat(client, "<1>").status_code == 200
        assert a.authorizations == {None}  # a client's key is not passed on


def test_what_is_not_set_is_an_error_before_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    keyed = closed("a")
    keyed["endpoint"]["api_key_env"] = "A_KEY"
    for settings, message in (
        ({"experts": [keyed]}, "'a' must be in the environment variable A_KEY"),
        ({"experts": [closed("a")], "keys_env": "A_KEY"}, "variable A_KEY, which is not set"),
        ({"experts": [closed("a"), closed("b")]}, "2 experts need router"),
    ):
        with pytest.raises(ConfigError, match=message):
            create_app(ServeSettings.model_validate(settings))
