"""An OpenAI-compatible endpoint on 127.0.0.1 that answers in odd forms, one for each wish.

The form is named in the last message, as `<id form>`; the text of an answer holds the id. Forms
that give an answer which can be read are `READABLE`: whoever asks has paid and must get it. The
others are `LOST`, or `REFUSED` for good.
"""

import asyncio
import gzip
import hashlib
import json
import re
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

_WISH = re.compile(r"<([\w-]+) (\w+)>")
_TICK = 0.02
_PAUSE = 0.001


@dataclass
class Exchange:
    """One request and the way back."""

    writer: asyncio.StreamWriter
    body: dict[str, Any]
    headers: dict[str, str]
    text: str
    last: bool
    """Whether the connection ends with this response."""

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send(self, body: bytes, status: str = "200 OK", *headers: str) -> None:
        """Send a whole response; a header of the same name replaces the usual one."""
        usual = [f"Content-Length: {len(body)}", "Content-Type: application/json"]
        usual += ["Connection: close"] if self.last else []
        names = {each.partition(":")[0] for each in headers}
        lines = [*(each for each in usual if each.partition(":")[0] not in names), *headers]
        head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *lines))
        await self.write(head.encode("latin-1") + b"\r\n" + body)

    async def answer(self, content: object = None, usage: str | None = None, **more: Any) -> None:
        """Send an answer in full, as a stream if one is wanted; `usage` is JSON as written."""
        said = self.text if content is None else content
        counted = b"" if usage is None else b',"usage":' + usage.encode()
        if not self.stream:
            await self.send(whole(said, **more)[:-1] + counted + b"}")
            return
        last = piece({}, "stop", **more)[:-1] + counted + b"}"
        await self.start_stream()
        for data in (piece({"role": "assistant"}), piece({"content": said}), last, b"[DONE]"):
            await self.write(b"data: " + data + b"\n\n")

    async def start_stream(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        await self.write(head)

    async def flood(self, head: bytes, part: bytes) -> None:
        """Send without end, as fast as the other side reads and other connections allow."""
        await self.write(head)
        many = part * (2**16 // len(part))
        while True:
            await self.write(many)
            await asyncio.sleep(_PAUSE)


def whole(content: object, **more: Any) -> bytes:
    """Return an answer of one choice as JSON."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **more}
    return json.dumps({"id": "c", "object": "chat.completion", "choices": [choice]}).encode()


def piece(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """Return a piece of a stream as JSON."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    return json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode()


@cache
def bomb(unpacked: int = 2**26) -> bytes:
    """Return gzip data a thousandth as long as the zeros that it unpacks to."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(unpacked >> 20)) + packer.flush()


Form = Callable[[Exchange], Awaitable[None]]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def counting(prompt: str, completion: str = "7") -> Form:
    """Answer with counts of tokens as written."""
    usage = f'{{"prompt_tokens": {prompt}, "completion_tokens": {completion}}}'
    return lambda exchange: exchange.answer(usage=usage)


def refusing(status: str, *headers: str, body: bytes = b"no") -> Form:
    """Answer with a status."""
    return lambda exchange: exchange.send(body, status, *headers)


def flooding(head: bytes, part: bytes) -> Form:
    """Send without end."""
    return lambda exchange: exchange.flood(head, part)


def whole_as(body: Callable[[str], bytes], *head: str) -> Form:
    """Answer with an odd body, status or headers; a stream is as any other."""

    async def form(exchange: Exchange) -> None:
        if exchange.stream:
            return await exchange.answer()
        await exchange.send(body(exchange.text), *head)

    return form


async def _in_crumbs(exchange: Exchange) -> None:
    if exchange.stream:
        return await exchange.answer()
    await exchange.write(CHUNKED)
    for byte in whole(exchange.text):
        await exchange.write(b"1\r\n%c\r\n" % byte)
    await exchange.write(b"0\r\n\r\n")


async def _late(exchange: Exchange) -> None:
    await asyncio.sleep(10 * _TICK)
    await exchange.answer()


async def _cut(exchange: Exchange) -> None:
    if exchange.stream:
        await exchange.write(STREAM + b"data: " + piece({"content": "half an "}) + b"\n\n")
    else:
        await exchange.send(whole(exchange.text)[:20], "200 OK", "Content-Length: 1000")


async def _drips(exchange: Exchange) -> None:
    """One byte at a time, for ever: no pause is long, the whole is."""
    await exchange.write(STREAM if exchange.stream else CHUNKED)
    while True:
        await exchange.write(b": \n" if exchange.stream else b"1\r\n \r\n")
        await asyncio.sleep(_TICK)


async def _hangs_up(_: Exchange) -> None:
    return


async def _echoes_key(exchange: Exchange) -> None:
    await exchange.answer(f"{exchange.text} I was given {exchange.headers.get('authorization')}")


async def _refuses_with_key(exchange: Exchange) -> None:
    said = json.dumps({"error": {"message": f"wrong: {exchange.headers}"}}).encode()
    await exchange.send(said, "401 Unauthorized")


_YEAR = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"

READABLE: dict[str, Form] = {
    "plain": lambda exchange: exchange.answer(),
    "half_emoji": lambda exchange: exchange.answer(f"{exchange.text} \ud83d"),
    "usage_infinite": counting("1e999"),
    "usage_nan": counting("NaN", "-Infinity"),
    "usage_2_70": counting(str(2**70)),
    "usage_400_digits": counting("9" * 400, "9" * 400),
    "usage_5000_digits": counting("9" * 5000),
    "usage_negative": counting("-1000000000", "-1000000000"),
    "usage_zero": counting("0", "0"),
    "usage_words": counting('"many"', "[]"),
    "usage_list": lambda exchange: exchange.answer(usage="[1, 2]"),
    "usage_null": lambda exchange: exchange.answer(usage="null"),
    "parts": lambda exchange: exchange.answer([{"type": "text", "text": exchange.text}]),
    "odd_numbers": lambda exchange: exchange.answer(
        logprobs=[float("nan"), float("-inf"), 10**299]
    ),
    "packed": whole_as(lambda text: gzip.compress(whole(text)), "200 OK", "Content-Encoding: gzip"),
    "broken_text": whole_as(lambda text: whole(f"{text} XX").replace(b"XX", b"\xf0\x9f\x98")),
    "marked": whole_as(lambda text: b"\xef\xbb\xbf" + whole(text)),
    "created": whole_as(whole, "201 Created"),
    "in_crumbs": _in_crumbs,
    "late": _late,
    "echoes_key": _echoes_key,
}

LOST: dict[str, Form] = {
    "cut": _cut,
    "hangs_up": _hangs_up,
    "drips": _drips,
    "empty": refusing("200 OK", body=b""),
    "page": refusing("200 OK", body=b"<html>"),
    "list": refusing("200 OK", body=b"[]"),
    "deep": refusing("200 OK", body=b"[" * 100_000),
    "number": refusing("200 OK", body=b'{"choices": [{"message": {"content": 5}}]}'),
    "limit": refusing("429 Too Many Requests", "Retry-After: 0"),
    "limit_for_ever": refusing("503 Service Unavailable", f"Retry-After: {_YEAR}"),
    "limit_digits": refusing("503 Service Unavailable", f"Retry-After: 0.{'0' * 9000}"),
    "limit_words": refusing("500 Oops", "Retry-After: -inf"),
    "unknown_packing": refusing("200 OK", "Content-Encoding: br"),
    "broken_packing": refusing("200 OK", "Content-Encoding: gzip"),
    "no_http": flooding(b"\x00\xff no HTTP at all", b"\x00"),
    "two_lengths": refusing("200 OK", "Content-Length: 3", "Content-Length: 4"),
    "bomb": lambda exchange: exchange.send(bomb(), "200 OK", "Content-Encoding: gzip"),
    "endless": flooding(CHUNKED, b"4000\r\n" + b" " * 2**14 + b"\r\n"),
    "endless_header": flooding(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 2**14),
    "endless_headers": flooding(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 2**10),
    "endless_continue": flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "endless_silence": flooding(STREAM, b"data: " + piece({"role": "assistant"}) + b"\n\n"),
    "endless_event": flooding(STREAM, b"data: x\ndata:\n"),
    "endless_line": flooding(STREAM, b"data: xxxxxx"),
}
"""Streams are floods of events here, whole answers floods of bytes."""

REFUSED: dict[str, Form] = {"refuses_with_key": _refuses_with_key}
"""What asking again does not change."""


@dataclass
class OddEndpoint:
    """What an endpoint says, and what it did.

    Attributes
    ----------
    wish
        Returns the id and the form of a request from its body and how many there were before of
        the same body.
    say
        Returns the text of an answer from the body and the id.
    more
        Further forms, by name.
    asked
        Requests by the hash of their body.
    answered
        Answers that can be read and were sent to their end, by id.
    """

    wish: Callable[[dict[str, Any], int], tuple[str, str]] = lambda body, _: wish_of(body)
    say: Callable[[dict[str, Any], str], str] = lambda _, name: f"answer to <{name}>"
    more: dict[str, Form] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
        headers = {
            name.lower(): value.strip() for name, _, value in (h.partition(":") for h in head)
        }
        data = await reader.readexactly(int(headers["content-length"]))
        body = json.loads(data)
        content = hashlib.sha256(data).hexdigest()
        name, form = self.wish(body, self.asked[content])
        self.asked[content] += 1
        last = form not in READABLE or bool(body.get("stream"))
        exchange = Exchange(writer, body, headers, self.say(body, name), last)
        await {**READABLE, **LOST, **REFUSED, **self.more}[form](exchange)
        if form in READABLE:
            self.answered[name] += 1
        return not last


def wish_of(body: dict[str, Any]) -> tuple[str, str]:
    """Return id and form from the last message; a plain answer where none is wished for."""
    found = _WISH.search(str(body["messages"][-1]["content"])[-100:])
    return (found[1], found[2]) if found else ("", "plain")


@contextmanager
def serving(endpoint: OddEndpoint) -> Iterator[str]:
    """Serve in a thread; yields the address, up to and including ``/v1``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(endpoint.connected, "127.0.0.1", 0, limit=2**24)

    async def stop() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
