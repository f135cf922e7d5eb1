"""How an expert is reached, and how bytes leave for a client."""

import asyncio
import socket
from typing import Any

import pytest

from micronas.errors import ConfigError
from micronas.language.endpoints import proxy_for
from micronas.router.serve import wire as wire_module
from micronas.router.serve.wire import Gathering
from tests.router.serving import chat, said, serving
from tests.upstreams import Call, answers, upstream

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_environment_names_the_proxy_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://api.example.com:8443/v1"
    assert proxy_for(address) is None
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    assert proxy_for(address) == "http://all:1"
    monkeypatch.setenv("HTTPS_PROXY", "secure:2")
    assert proxy_for(address) == "http://secure:2"
    assert proxy_for("http://api.example.com/v1") == "http://all:1"
    monkeypatch.setenv("NO_PROXY", "localhost,example.com")
    assert proxy_for(address) is None
    assert proxy_for("https://example.org/v1") == "http://secure:2"


def test_a_proxy_of_another_kind_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:s3cret@proxy:1080")
    with pytest.raises(ConfigError, match=r"proxy for api\.example\.com") as caught:
        proxy_for("https://api.example.com/v1")
    assert "s3cret" not in str(caught.value)


def test_an_expert_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def passes_on(call: Call) -> bool:
        given.append(call.handler.headers["Proxy-Authorization"])
        return answers(call)

    with upstream("proxy", passes_on) as proxy:
        address = proxy.url.removesuffix("/v1").replace("//", "//me:word@")
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        endpoint = {"base_url": "http://far.invalid/v1"}
        with serving(experts=[proxy.expert(endpoint=endpoint)]) as client:
            assert said(chat(client, "<1>")) == "proxy answers <1> in full"
    assert proxy.bodies[0]["path"] == "http://far.invalid/v1/chat/completions"
    assert given == ["Basic bWU6d29yZA=="]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_who_cannot_be_reached_is_no_connection(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with upstream("plain", answers) as plain:
        # nobody listens at the one, the other speaks no TLS
        urls = {"http": f"http://127.0.0.1:{port}/v1", "https": plain.url.replace("http", "https")}
        expert = plain.expert(endpoint={"base_url": urls[scheme]})
        with serving(experts=[expert]) as client:
            response = chat(client, "<1>")
    assert response.status_code == 502
    assert response.json()["error"]["message"] == "no expert answered (plain: no connection)"


class Wire:
    """A transport that remembers."""

    def __init__(self, *unsent: int) -> None:
        self.written: list[bytes] = []
        self.closed = self.aborted = False
        self.unsent = list(unsent)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unsent.pop(0) if len(self.unsent) > 1 else sum(self.unsent)


def test_what_is_written_in_one_turn_leaves_at_once() -> None:
    async def writes() -> None:
        wire: Any = Wire()
        transport = Gathering(wire)
        transport.write(b"head ")
        transport.write(b"first ")
        assert wire.written == []
        await asyncio.sleep(0)
        assert wire.written == [b"head first "]
        transport.write(b"second ")
        await asyncio.sleep(0)
        transport.write(b"last")
        transport.close()
        assert wire.written == [b"head first ", b"second ", b"last"]
        assert transport.is_closing()
        transport.write(b"too late")
        await asyncio.sleep(0)
        assert wire.written[3:] == []

    asyncio.run(writes())


@pytest.mark.parametrize(
    ("unsent", "given_up"), [((900, 500, 100, 0), False), ((900, 500), True), ((0,), False)]
)
def test_a_client_that_takes_nothing_more_is_given_up(
    unsent: tuple[int, ...], given_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "_PATIENCE", 0.01)

    async def closes() -> bool:
        wire: Any = Wire(*unsent)
        transport = Gathering(wire)
        transport.close()
        await asyncio.sleep(0.2)
        return bool(wire.aborted)

    assert asyncio.run(closes()) == given_up
