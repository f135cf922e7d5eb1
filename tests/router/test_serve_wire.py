"""What a client sends, or leaves out, and how long it may take."""

import json
import logging
import socket
import time

import pytest

from micronas.router.serve import wire
from micronas.router.serve.app import create_app
from micronas.router.serve.server import configured
from micronas.router.serve.settings import ServeSettings
from micronas.settings import nearest
from tests.router.serving import (
    HEAD,
    asks,
    behind,
    chat,
    closed,
    connected,
    raw,
    said,
    serving,
    until,
)
from tests.upstreams import Call, answers, upstream

BODY = json.dumps(asks("<1>", model="a")).encode()
OWN = [closed("a")]


@pytest.mark.parametrize(
    "flood",
    [
        b"X: " + b"x" * 50_000_000,
        b"a: b\r\n" * 2_000_000,
        b"x" * 20_000_000,
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"t: u\r\n" * 1_000_000,
        b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 20_000_000,
    ],
    ids=["one header", "many headers", "no header", "trailers", "an extension"],
)
def test_a_flood_of_headers_is_refused_and_keeps_nobody_waiting(flood: bytes) -> None:
    with behind(answers) as (a, client):
        # of this whole process: while the server works on a head, it answers nobody else
        start = time.process_time()
        answer = raw(client, HEAD + flood, seconds=30)
        assert time.process_time() - start < 1.5
        assert answer == b"" or answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        assert client.get("/healthz").status_code == 200
        assert a.requests == 0


def test_an_endless_line_is_refused() -> None:
    with serving(experts=OWN) as client:
        answer = raw(client, b"GET /" + b"x" * 90_000)
        assert b" 431 " in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "http"
        assert b" 400 " in raw(client, b"\x16\x03\x01 this is no HTTP\r\n\r\n")


def test_a_hundred_headers_and_bodies_in_crumbs_are_served() -> None:
    crumbs = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    more = b"".join(b"x-%d: y\r\n" % number for number in range(90))
    with behind(answers) as (a, client):
        head = HEAD + more + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert b"a answers <1> in full" in raw(client, head + crumbs)
        # a large body is no head, however often it comes
        for number in range(3):
            assert said(chat(client, f"<{number}>" + "x" * 300_000))
        assert a.requests == 4


def drips(own: socket.socket) -> bytes:
    """Send a byte at a time until the server hangs up; return what it said."""
    own.settimeout(0.02)
    end, seen = time.monotonic() + 20, b""
    while time.monotonic() < end:
        try:
            own.sendall(b" ")
            part = own.recv(4096)
            if not part:
                return seen
            seen += part
        except TimeoutError:
            continue
        except ConnectionError:
            return seen
    raise AssertionError("the server did not hang up")


def test_slow_bodies_end_with_the_deadline() -> None:
    with behind(answers, deadline=0.5) as (a, client):
        with connected(client) as own:
            own.sendall(HEAD + b'Content-Length: 5000\r\n\r\n{"model": ')
            drips(own)
        slow = raw(client, HEAD + b"Content-Length: 9\r\n\r\n{")
        assert slow.startswith(b"HTTP/1.1 408 ")
        assert a.requests == 0


def test_the_deadline_counts_from_the_head_of_a_request() -> None:
    def late(call: Call) -> bool:
        time.sleep(0.8)
        return answers(call)

    with behind(late, deadline=1.2) as (_, client), connected(client) as own:
        own.settimeout(10)
        own.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY))
        time.sleep(0.7)
        own.sendall(BODY)
        assert own.recv(4096).startswith(b"HTTP/1.1 504 ")


def test_a_client_that_leaves_in_its_body_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO),
        upstream("a", answers) as a,
        serving(experts=[a.expert()], log_level="warning") as client,
    ):
        with connected(client) as own:
            own.sendall(HEAD + b'Content-Length: 500\r\n\r\n{"model"')
            time.sleep(0.1)
        until(lambda: "left within its request" in caplog.text)
        until(lambda: 'end="gone",expert=""} 1.0' in client.get("/metrics").text)
    assert "Traceback" not in caplog.text
    assert "a bug" not in caplog.text
    assert [each.levelname for each in caplog.records if "left" in each.message] == ["INFO"]
    assert all(each.levelno < logging.ERROR for each in caplog.records)


@pytest.mark.parametrize("head", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc", HEAD + b"X"])
def test_a_head_that_does_not_end_is_hung_up_on(
    head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_PATIENCE", 0.3)
    with serving(experts=OWN) as client, connected(client) as own:
        own.settimeout(20)
        own.sendall(head)
        assert own.recv(4096) == b""


def test_a_body_that_nobody_reads_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_PATIENCE", 0.3)
    with serving(experts=OWN) as client, connected(client) as own:
        own.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n")
        assert b'{"status":"ok"' in drips(own)


def test_a_name_of_megabytes_blocks_nobody() -> None:
    start = time.process_time()
    assert nearest("x" * 3_900_000, ["micronas-router", "a"]).startswith("choose one of")
    assert nearest("micronas-ruoter", ["micronas-router"]) == "did you mean 'micronas-router'?"
    assert time.process_time() - start < 0.3
    with behind(answers) as (a, client):
        start = time.process_time()
        refused = chat(client, "x", model="aa" * 1_900_000)
        assert time.process_time() - start < 1
        assert refused.status_code == 404
        assert len(refused.content) < 2000
        assert a.requests == 0


def test_the_server_keeps_connections_for_longer_than_clients_do() -> None:
    """A request that meets the end of its connection is lost; httpx keeps 5 s, aiohttp 15."""
    settings = ServeSettings.model_validate({"experts": OWN})
    assert configured(create_app(settings), settings).timeout_keep_alive > 15


@pytest.mark.parametrize(
    "odd",
    [
        b"Content-Length: 5, 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"X\x00: 1",
    ],
)
def test_every_header_may_be_odd(odd: bytes) -> None:
    with serving(experts=OWN) as client:
        assert raw(client, HEAD + odd + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
