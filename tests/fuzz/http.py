"""Send the server, and let endpoints answer, HTTP that is nearly right.

Requests and answers are put together from parts that are well-formed, odd or damaged; a case is a
function of the seed and its number. The known attacks go first. Fails on a traceback, a server that
no longer answers, a case of more than 5 s, or more than 1 GB.
"""

import asyncio
import gzip
import json
import logging
import os
import random
import resource
import socket
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from micronas.errors import ConfigError
from micronas.judge.endpoint import EndpointSettings, JudgeEndpoint, Lost, Reply
from micronas.judge.store import Store, writing
from testing.odd_endpoint import Exchange, OddEndpoint
from testing.odd_endpoint import serving as serving_odd
from testing.soak import HOSTILE
from tests.router.serving import serving

_WORKERS = 4
_LONGEST = 5.0
_LARGEST = 2**30
_KEY = "sk-fuzz-0123456789abcdef"
_PATH = "/v1/chat/completions"


class Alarm(logging.Handler):
    """Remember what must not be logged: a traceback, a bug, or the key."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.exc_info or "a bug" in text or _KEY in text:
            self.found.append(text)


class World:
    """A server before an endpoint that answers in whatever bytes it is given."""

    def __init__(self, client: httpx.Client, url: str, store: Store, alarm: Alarm) -> None:
        self.before = peak()
        self.client, self.url, self.store, self.alarm = client, url, store, alarm
        self.answer: list[bytes] = []

    async def given(self, exchange: Exchange) -> None:
        for part in self.answer:
            await exchange.write(part)
            await asyncio.sleep(0)

    def attack(self, data: list[bytes], patience: float) -> None:
        """Send bytes on a connection of their own; what comes back is HTTP, or nothing."""
        received = b""
        place = (self.client.base_url.host, self.client.base_url.port or 80)
        with socket.create_connection(place) as wire:
            wire.settimeout(patience)
            with suppress(OSError):  # hung up on, or left while the server waits for more
                for part in data:
                    wire.sendall(part)
                while part := wire.recv(2**16):
                    received += part
        assert received == b"" or received.startswith(b"HTTP/1.1 "), received[:100]
        assert not received.startswith(b"HTTP/1.1 5") or b'"code":"' in received, received[:300]

    def relay(self, stream: bool) -> None:
        """Ask the expert; the client gets a whole answer or one error, and no key."""
        body = {"model": "odd", "messages": [{"role": "user", "content": "x"}], "stream": stream}
        response = self.client.post(_PATH, json=body)
        assert _KEY not in response.text
        if response.headers["content-type"] == "application/json":
            strict = json.loads(response.text, parse_constant=_refuse)
            assert "choices" in strict or set(strict["error"]) == {
                *("message", "type", "param", "code")
            }
            return
        events = [each for each in response.text.split("\n\n") if each]
        values = [json.loads(e[6:], parse_constant=_refuse) for e in events if e != "data: [DONE]"]
        failed = sum("error" in value for value in values)
        assert failed + (events[-1:] == ["data: [DONE]"]) == 1, response.text[-300:]

    def judge(self) -> None:
        """Ask as a judge does; what was answered can be stored and found again."""
        settings = EndpointSettings(
            model="m", base_url=self.url, timeout=1.0, api_key_env="FUZZ_KEY"
        )

        async def once() -> Reply | Lost:
            async with JudgeEndpoint(settings) as endpoint:
                return await endpoint.send([{"role": "user", "content": "x"}])

        try:
            reply: Reply | Lost | str = asyncio.run(once())
        except ConfigError as error:
            reply = str(error)
        assert _KEY not in str(reply)
        if isinstance(reply, str):
            assert "\n" not in reply
            return
        if isinstance(reply, Lost):
            assert reply.wait is None or 0 <= reply.wait <= 120
            return
        attempt = self.store.send(str(time.monotonic()), 0.0)
        self.store.receive(attempt, "key", reply)
        assert reply.prompt_tokens >= 0
        assert 0 <= reply.completion_tokens <= 10**7


def _refuse(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


@contextmanager
def world() -> Iterator[World]:
    alarm = Alarm()
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "micronas.router", "asyncio")]
    endpoint = OddEndpoint()
    os.environ["FUZZ_KEY"] = _KEY
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(writing(folder / "run.sqlite"))
        url = stack.enter_context(serving_odd(endpoint))
        way = {"base_url": url, "model": "m", "api_key_env": "FUZZ_KEY"}
        client = stack.enter_context(
            serving(
                log_level="warning",
                experts=[{"name": "odd", "active": 1, "endpoint": way}],
                retries=0,
                failures=10**9,
                deadline=1.5,
                timeouts={"first_byte": 1.0, "idle": 1.0},
                largest_body="300 KB",
            )
        )
        logging.getLogger("uvicorn").handlers.clear()  # a line for each request that is no HTTP
        for logger in loggers:
            logger.addHandler(alarm)
            stack.callback(logger.removeHandler, alarm)
        found = World(client, url, store, alarm)
        endpoint.more["given"] = found.given
        endpoint.wish = lambda *_: ("1", "given")
        yield found


def run(seconds: float, seed: int) -> None:
    """Fuzz for so long, after the known attacks; failures name the attack, or seed and case."""
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(_WORKERS) as pool:
        works = [pool.submit(_work, end, seed, place) for place in range(_WORKERS)]
        cases = sum(work.result() for work in works)
    print(f"http: {cases} cases of seed {seed}")


def _work(end: float, seed: int, place: int) -> int:
    """Run each fourth known attack and case in a world of its own; return how many cases."""
    with world() as found:
        for name, data in list(HOSTILE.items())[place::_WORKERS]:
            _checked(found, name, partial(found.attack, [data], 1.0))
        number = place
        while time.monotonic() < end:
            _checked(found, f"seed {seed} case {number}", partial(case, found, seed, number))
            number += _WORKERS
    return number // _WORKERS


def case(found: World, seed: int, number: int) -> None:
    """Run one case."""
    rng = random.Random(f"{seed} {number}")
    if rng.random() < 0.5:
        return found.attack(_in_parts(rng, request(rng)), rng.choice((0.05, 0.05, 0.2, 2.0)))
    found.answer = _in_parts(rng, answer(rng))
    if rng.random() < 0.3:
        return found.judge()
    return found.relay(rng.random() < 0.5)


def peak() -> int:
    """Return the most bytes this process ever held, which other tests may have driven up."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _checked(found: World, name: str, action: Callable[[], None]) -> None:
    start = time.monotonic()
    try:
        action()
        assert found.client.get("/healthz").status_code == 200
        assert not found.alarm.found, found.alarm.found[0]
        taken = time.monotonic() - start
        assert taken < _LONGEST, f"it took {taken:.1f} s"
        grown = peak() - found.before
        assert grown < _LARGEST, f"{grown / 1e6:.0f} MB more are in use"
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error


def request(rng: random.Random) -> bytes:
    """Return a request that is nearly right."""
    body = _damaged(rng, _chat(rng).encode("utf-8", "surrogatepass"))
    host = _one(rng, "localhost", "127.0.0.1:80", "evil.example", "", "[::1]", "\xff")
    kind = _one(rng, *["application/json"] * 6, "text/plain", "", "application/json;")
    headers = [("Host", host), ("Content-Type", kind)]
    for _ in range(rng.choice((0, 0, 0, 1, 3, 120))):
        headers.append((_header_name(rng), _header_value(rng)))
    head, framed = _framed(rng, headers, body)
    method = _one(rng, *["POST"] * 8, "GET", "OPTIONS", "HEAD", "PUT", "CONNECT", "BREW", "P\x00ST")
    target = _one(
        rng, *[_PATH] * 8, "/healthz", "/v1/models", "/metrics", "*", "http://evil.example/x",
        "//", "/%ff%00", "/" + "x" * 70_000, "", "host:80", "/v1/chat/completions?" + "a" * 100,
    )  # fmt: skip
    version = _one(rng, *["HTTP/1.1"] * 9, "HTTP/1.0", "HTTP/2.0", "HTTP/9", "")
    return _lines(f"{method} {target} {version}", head) + framed


def answer(rng: random.Random) -> bytes:
    """Return a response that is nearly right: a whole answer, a stream, or a refusal."""
    status = _one(
        rng, *["200 OK"] * 9, "100 Continue", "101 X", "204 No", "304 Not", "302 Found", "400 Bad",
        "401 No", "404 No", "413 Large", "422 No", "429 Slow", "500 Oops", "503 Busy", "999 X", "x",
    )  # fmt: skip
    kind = _one(rng, "application/json", "text/event-stream", "text/html", "")
    stream = rng.random() < 0.5
    text = "".join(_event(rng) for _ in range(rng.randint(0, 8))) if stream else _answer(rng)
    body = _damaged(rng, text.encode("utf-8", "surrogatepass"))
    headers = [("Content-Type", kind)]
    if rng.random() < 0.3:
        headers.append(("Retry-After", _header_value(rng)))
    packing = _one(rng, *[""] * 6, "gzip", "deflate", "br", "x-gzip", "gzip, gzip", "identity")
    if packing:
        headers.append(("Content-Encoding", packing))
        packed = zlib.compress(body) if packing == "deflate" else gzip.compress(body)
        body = _damaged(rng, packed) if rng.random() < 0.8 else body
    if rng.random() < 0.1:
        name = _one(rng, "Set-Cookie", "Location", "X", "Connection", "Upgrade", "Trailer")
        headers += [(name, _header_value(rng))] * rng.choice((1, 2, 200))
    head, framed = _framed(rng, headers, body)
    version = _one(rng, *["HTTP/1.1"] * 9, "HTTP/1.0", "HTTP/3.0", "ICY")
    return _lines(f"{version} {status}", head) + framed


def _chat(rng: random.Random) -> str:
    messages = ", ".join(
        f'{{"role": {_or_odd(rng, chr(34) + "user" + chr(34))}, "content": {_text(rng)}}}'
        for _ in range(rng.choice((0, 1, 1, 1, 2, 50)))
    )
    return (
        f'{{"model": {_or_odd(rng, chr(34) + "odd" + chr(34))}, "messages": '
        f'{_or_odd(rng, f"[{messages}]")}, "stream": {_or_odd(rng, "false")}, '
        f'"x": {_odd(rng)}}}'
    )


def _answer(rng: random.Random) -> str:
    message = f'{{"role": "assistant", "content": {_or_odd(rng, _text(rng))}}}'
    choice = f'{{"index": {_or_odd(rng, "0")}, "message": {_or_odd(rng, message)}}}'
    usage = f'{{"prompt_tokens": {_odd(rng)}, "completion_tokens": {_odd(rng)}}}'
    refusal = f'{{"error": {{"message": {_text(rng)}, "code": {_odd(rng)}}}}}'
    whole = f'{{"choices": {_or_odd(rng, f"[{choice}]")}, "usage": {_or_odd(rng, usage)}}}'
    return _one(rng, whole, whole, whole, refusal, _odd(rng))


def _event(rng: random.Random) -> str:
    delta = f'{{"role": "assistant", "content": {_or_odd(rng, _text(rng))}}}'
    end = _one(rng, "null", '"stop"')
    choice = (
        f'{{"index": {_or_odd(rng, "0")}, "delta": {_or_odd(rng, delta)}, '
        f'"finish_reason": {_or_odd(rng, end)}}}'
    )
    usage = f'{{"prompt_tokens": {_odd(rng)}, "completion_tokens": {_odd(rng)}}}'
    piece = f'{{"choices": {_or_odd(rng, f"[{choice}]")}, "usage": {_or_odd(rng, usage)}}}'
    line = _one(
        rng, *[f"data: {piece}"] * 8, "data: [DONE]", ": ping", "data", "event: x", "\ufeff"
    )
    return line + _one(rng, *["\n\n"] * 8, "\r\n\r\n", "\r\r", "\n", "")


def _text(rng: random.Random) -> str:
    return _one(
        rng, '"hello"', '""', '"\\ud83d"', '"\\ude00 \\ud83d"', '"\\u0000"', f'"{_KEY}"',
        f'"{_KEY[:4]}\\u{ord(_KEY[4]):04x}{_KEY[5:]}"', '"\U0001f600"', '"' + "x" * 70_000 + '"',
        '[{"type": "text", "text": "part"}]', '[{"text": 5}, null]', '"\x1b[31m\\n\\r"',
    )  # fmt: skip


def _odd(rng: random.Random) -> str:
    return _one(
        rng, "0", "1", "7", "-1", "12.5", "1e999", "-1e999", "NaN", "Infinity", str(2**70),
        "9" * 400, "9" * 5000, "true", "null", '"many"', "[]", "{}", "[[[[]]]]", "[" * 2000, "",
        '{"a": 1, "a": 2}', "\ud83d", "1" + "0" * 18,
    )  # fmt: skip


def _or_odd(rng: random.Random, usual: str) -> str:
    return _odd(rng) if rng.random() < 0.08 else usual


def _header_name(rng: random.Random) -> str:
    return _one(
        rng, "X", "Origin", "Host", "Authorization", "Expect", "Connection", "Upgrade", "Cookie",
        "Content-Length", "Transfer-Encoding", "Content-Encoding", "X" * 300, "\x7f", "", " X",
    )  # fmt: skip


def _header_value(rng: random.Random) -> str:
    return _one(
        rng, "1", "-1", "1e9", "", "x", "chunked", "gzip", "100-continue", "close, upgrade",
        "websocket", "h2c", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "9" * 400,
        "Fri, 31 Dec 9999 23:59:59 -2359", "\xb2", "https://evil.example", "x" * 9000, "a\rb", "\0",
    )  # fmt: skip


Headers = list[tuple[str, str]]


def _framed(rng: random.Random, headers: Headers, body: bytes) -> tuple[Headers, bytes]:
    way = _one(rng, *["length"] * 4, *["chunked"] * 3, "wrong", "none", "both", "twice")
    length = ("Content-Length", str(len(body)))
    if way in ("length", "both", "twice"):
        headers = [*headers, length, *([("Content-Length", "3")] if way == "twice" else [])]
    if way == "wrong":
        size = _one(rng, str(len(body) + 5), str(max(len(body) - 5, 0)), "-1", "x", "9" * 30, "")
        headers = [*headers, ("Content-Length", size)]
    if way in ("chunked", "both"):
        headers = [*headers, ("Transfer-Encoding", "chunked")]
        parts = [body[start : start + 1000] for start in range(0, len(body), 1000)]
        extension = _one(rng, *[b""] * 5, b";a=b", b";" + b"x" * 5000)
        framed = b"".join(b"%x%s\r\n%s\r\n" % (len(p), extension, p) for p in parts)
        trailer = _one(rng, *[b""] * 5, b"T: u\r\n", b"T: u\r\n" * 300)
        return headers, framed + _one(rng, *[b"0\r\n" + trailer + b"\r\n"] * 5, b"", b"zz\r\n")
    return headers, body


def _lines(first: str, headers: Headers) -> bytes:
    text = "".join(f"{line}\r\n" for line in (first, *(f"{n}: {v}" for n, v in headers)))
    return text.encode("latin-1", "replace") + b"\r\n"


def _damaged(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.7 or not data:
        return data
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 1, 4, 100)))
    return data[:start] + _one(rng, b"", rng.randbytes(4), data[start:end] * 3) + data[end:]


def _in_parts(rng: random.Random, data: bytes) -> list[bytes]:
    if rng.random() < 0.6 or len(data) < 2:
        return [data]
    cuts = sorted(rng.randrange(len(data)) for _ in range(rng.choice((1, 3, 20))))
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def _one(rng: random.Random, *options: Any) -> Any:
    return rng.choice(options)
