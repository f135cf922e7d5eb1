"""The server under test: in a thread of the test, or as a person starts it."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from micronas.router.decision import Routing
from micronas.router.serve.app import create_app
from micronas.router.serve.server import configured, listen
from micronas.router.serve.settings import ServeSettings
from testing.served import Running, served
from tests.router.world import EXPERTS
from tests.upstreams import Behaviour, Server, answers, upstreams

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)
QUICK = {"backoff": 0.01, "patience": 5, "deadline": 20}


@contextmanager
def serving(
    routing: Routing | None = None, *, log_level: str = "critical", **settings: Any
) -> Iterator[httpx.Client]:
    """Serve in a thread; yields a client whose addresses start at the server."""
    chosen = ServeSettings.model_validate({**QUICK, **settings})
    app = create_app(chosen, routing)
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(configured(app, chosen, log_level=log_level))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=address, timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def behind(
    behaviours: Behaviour | dict[str, Behaviour], routing: Routing | None = None, **settings: Any
) -> Iterator[tuple[Any, httpx.Client]]:
    """Serve in front of upstreams by name, or of one, "a", whose expert has the keys `expert`."""
    more = settings.pop("expert", {})
    several = isinstance(behaviours, dict)
    with (
        upstreams(**behaviours if several else {"a": behaviours}) as servers,
        serving(routing, experts=[each.expert(**more) for each in servers], **settings) as client,
    ):
        yield servers if several else servers[0], client


@contextmanager
def world(behaviour: Behaviour = answers, **more: Any) -> Iterator[list[dict[str, Any]]]:
    """Run the experts of `tests.router.world`; yields them as a configuration has them."""
    with upstreams(**{each.name: behaviour for each in EXPERTS}) as servers:
        yield [
            server.expert(active=expert.active, **more)
            for server, expert in zip(servers, EXPERTS, strict=True)
        ]


def running(
    folder: Path, *, under: Sequence[str] = (), **settings: Any
) -> AbstractContextManager[Running]:
    """Start ``micronas router serve`` on a free port; its log is in the folder."""
    return served(folder, {**QUICK, **settings}, under=under)


def closed(name: str) -> dict[str, Any]:
    """An expert at a port where nobody answers."""
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    return {"name": name, "active": "1B", "endpoint": endpoint}


def asks(text: str, **more: Any) -> dict[str, Any]:
    """The body of a request in which a user says a text to the router."""
    return {"model": "micronas-router", "messages": [{"role": "user", "content": text}], **more}


def chat(client: httpx.Client, text: str, **more: Any) -> httpx.Response:
    """Send one user's message to the router."""
    return client.post("/v1/chat/completions", json=asks(text, **more))


def at_once(client: httpx.Client, count: int, **more: Any) -> list[httpx.Response]:
    """Send so many numbered requests at the same time."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda number: chat(client, f"<{number}>", **more), range(count)))


def with_key(address: httpx.URL | str, key: str) -> httpx.Client:
    """A client of a server, by its address or that of its API, which sends a key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=str(address).removesuffix("/v1"), headers=headers, timeout=30)


def connected(client: httpx.Client) -> socket.socket:
    """A connection of one's own to the server of a client."""
    return socket.create_connection((client.base_url.host, client.base_url.port or 80))


def leave(client: httpx.Client, server: Server, *, requests: int = 1, **more: Any) -> None:
    """Ask an expert, and hang up as soon as it has so many requests."""
    body = json.dumps(asks("x", model=server.name, **more)).encode()
    with connected(client) as wire:
        wire.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: server.requests >= requests)


def raw(client: httpx.Client, data: bytes, *, seconds: float = 10.0) -> bytes:
    """Send bytes on a connection of their own; return all that comes until the server hangs up."""
    received = b""
    with connected(client) as wire:
        wire.settimeout(seconds)
        try:
            wire.sendall(data)
            while part := wire.recv(2**16):
                received += part
        except ConnectionError:
            pass  # refused before all was sent
    return received


def figures(client: httpx.Client) -> dict[str, str]:
    """The server's metrics by name and labels."""
    return dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines())


def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def streamed(response: httpx.Response) -> tuple[str, list[dict[str, object]], bool]:
    """The text of a stream, its errors, and whether it ended with its mark."""
    data = re.findall(r"^data: (.*)$", response.text, re.MULTILINE)
    values = [json.loads(each) for each in data if each != "[DONE]"]
    choices = [choice for value in values for choice in value.get("choices", [])]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    errors = [value["error"] for value in values if "error" in value]
    return text, errors, data[-1:] == ["[DONE]"]


def said(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])
