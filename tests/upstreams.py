"""OpenAI-compatible servers on 127.0.0.1 that answer, refuse, hang, cut and talk nonsense."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_ID = re.compile(r"<([\w-]+)>")


class Call:
    """One request, as a behaviour sees it."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], name: str) -> None:
        self.handler, self.body, self.name = handler, body, name
        self.stream = bool(body.get("stream"))
        found = _ID.search(str((body.get("messages") or [{"content": ""}])[-1]["content"]))
        self.id = found[1] if found else ""

    @property
    def text(self) -> str:
        return f"{self.name} answers <{self.id}> in full"

    def start(self, status: int, headers: dict[str, str]) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()

    def send(self, status: int, body: bytes, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.start(status, {"Content-Length": str(len(body)), **named})
        self.write(body)

    def start_stream(self) -> None:
        self.handler.close_connection = True
        self.start(200, {"Content-Type": "text/event-stream", "Connection": "close"})

    def write(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()

    def piece(self, content: str | None, finish: str | None = None, **more: Any) -> None:
        delta = {} if content is None else {"content": content}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        self.write(event({**value, "choices": [choice], **more}))

    def answer(self, *words: str, pause: float = 0.0, **told: Any) -> bool:
        """Answer in full, as a stream of words if one is wanted; `told` may be the usage."""
        if not self.stream:
            self.send(200, whole("".join(words), **told))
            return True
        self.start_stream()
        for word in words:
            self.piece(word)
            time.sleep(pause)
        self.piece(None, "stop")
        if told:
            self.write(event({"id": "c", "choices": [], **told}))
        self.write(b"data: [DONE]\n\n")
        return True

    def wait_until_gone(self) -> None:
        while self.handler.connection.recv(1024):
            pass


def event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def whole(text: str, **more: Any) -> bytes:
    choice = dict(index=0, message={"role": "assistant", "content": text}, finish_reason="stop")
    value = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps({**value, "choices": [choice], **more}).encode()


Behaviour = Callable[[Call], bool | None]
"""What a server does; returns whether it answered in full."""


def answers(call: Call) -> bool:
    return call.answer(*re.findall(r"\S+\s*", call.text))


def slowly(call: Call) -> bool:
    """Three words, one in a fifth of a second."""
    return call.answer("one ", "two ", "three", pause=0.2)


def limited(call: Call) -> None:
    call.send(429, b"slow down", Retry_After="0.01")


def broken(call: Call) -> None:
    call.send(500, b"<html>oops</html>")


def hangs(call: Call) -> None:
    call.wait_until_gone()


def cuts(call: Call) -> None:
    """Stops in the middle: of the words of a stream, of the bytes of a whole answer."""
    call.handler.close_connection = True
    if call.stream:
        call.start_stream()
        call.piece("half an ")
    else:
        body = whole(call.text)
        call.start(200, {"Content-Length": str(len(body))})
        call.write(body[:20])


def after(delay: float, behaviour: Behaviour) -> Behaviour:
    def late(call: Call) -> bool | None:
        time.sleep(delay)
        return behaviour(call)

    return late


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One after the other, the last one for ever."""
    lock, left = threading.Lock(), list(behaviours)

    def next_one(call: Call) -> bool | None:
        with lock:
            behaviour = left.pop(0) if len(left) > 1 else left[0]
        return behaviour(call)

    return next_one


@dataclass
class Server:
    """A running upstream and what it saw."""

    name: str
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)
    finished: Counter[str] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)
    """Set after the end of any call."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def requests(self) -> int:
        return len(self.bodies)

    def expert(self, **more: Any) -> dict[str, Any]:
        """The server as an expert of a configuration."""
        endpoint = {"base_url": self.url, "model": f"{self.name}-model", **more.pop("endpoint", {})}
        return {"name": self.name, "active": "7B", "endpoint": endpoint, **more}


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


@contextmanager
def upstream(name: str, behaviour: Behaviour) -> Iterator[Server]:
    """Run one server."""
    server = Server(name)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.bodies.append({**body, "path": self.path})
                server.authorizations.add(self.headers.get("Authorization"))
            call = Call(self, body, name)
            try:
                finished = behaviour(call)
            except OSError:
                finished = False  # the client has left
                self.close_connection = True
            if finished:
                with server.lock:
                    server.finished[call.id] += 1
            server.ended.set()

        def log_message(self, *_: object) -> None:
            pass

    http = _Http(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@contextmanager
def upstreams(**behaviours: Behaviour) -> Iterator[list[Server]]:
    """Run several servers, by name."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(upstream(name, behaviour)) for name, behaviour in behaviours.items()
        ]
