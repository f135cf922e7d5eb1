"""Send a server good requests among slow, cut, huge, odd and hostile ones, and follow each."""

import asyncio
import json
import multiprocessing
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from testing.odd_endpoint import LOST, READABLE, OddEndpoint, bomb, serving
from testing.served import Running, served

KINDS = ("slow", "cut", "huge", "odd", "hostile", *("good",) * 5)
_FLOODS = tuple(form for form in LOST if form.startswith("endless") or form == "bomb")
_ELSEWHERE = (*_FLOODS, "drips", "cut", "hangs_up", "number")
_FORMS = (*READABLE, *(form for form in LOST if form not in _ELSEWHERE))
_PLACE = "/v1/chat/completions"
_HEAD = f"POST {_PLACE} HTTP/1.1\r\nHost: localhost\r\n"
_TYPED = f"{_HEAD}Content-Type: application/json\r\n"
KEY = "sk-soak-0123456789"
VARIABLE = "MICRONAS_SOAK_KEY"

_TEXTS: dict[str, str] = {
    "header": f"{_TYPED}X: {'x' * 1_000_000}",
    "headers": _TYPED + "a: b\r\n" * 20_000,
    "trailers": f"{_TYPED}Transfer-Encoding: chunked\r\n\r\n0\r\n" + "t: u\r\n" * 20_000,
    "line": f"GET /{'x' * 200_000}",
    "no http": "\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "origin": f"{_TYPED}Origin: https://evil.example\r\nContent-Length: 0\r\n\r\n",
    "host": f"POST {_PLACE} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
    "type": f"{_HEAD}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}",
    "lengths": f"{_TYPED}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{{}}",
    "deep": f"{_TYPED}Content-Length: 100000\r\n\r\n{'[' * 100_000}",
    "number": f'{_TYPED}Content-Length: 11\r\n\r\n{{"x": 1e999',
    "digits": f"{_TYPED}Content-Length: 100000\r\n\r\n{'9' * 100_000}",
    "name": f'{_TYPED}Content-Length: 1000063\r\n\r\n{{"model": "{"m" * 1_000_000}", '
    '"messages": [{"role": "user", "content": ""}]}',
    "method": "BREW /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "path": "GET /../../etc/passwd%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
HOSTILE = {name: text.encode("latin-1") for name, text in _TEXTS.items()}
"""What nobody means well by; each is refused, or hung up on."""


@dataclass
class Soak:
    """What came of it.

    Attributes
    ----------
    ended
        Requests by kind and how they ended.
    wrong
        Requests that ended in another way than they must: lost, doubled, or a stranger's answer.
    memory
        Resident bytes of the server, at each tenth of the requests.
    log
        What the server wrote to stderr.
    """

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    log: str = ""


def soak(folder: Path, count: int, *, at_once: int = 64, seed: int = 0) -> Soak:
    """Run a server before the odd endpoint; half of the requests are good, a tenth of each kind."""
    os.environ[VARIABLE] = KEY
    found = Soak()
    with _endpoint(found) as url, _server(folder, url, at_once) as server:
        client = _Client(server.url, found)
        kinds = [KINDS[number % len(KINDS)] for number in range(count)]
        random.Random(seed).shuffle(kinds)

        asyncio.run(
            client.run(kinds, at_once, lambda: found.memory.append(_resident(server.process.pid)))
        )
    found.log = server.log.read_text(encoding="utf-8", errors="replace")
    return found


@contextmanager
def _endpoint(found: Soak) -> Iterator[str]:
    """Serve in a process of its own: what it takes must not be taken for the server's."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve_odd, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
        here.send("end")
        answered: Counter[str] = here.recv()
        found.wrong += [f"{name}: answered {n} times" for name, n in answered.items() if n > 1]
    finally:
        process.kill()
        process.join()


def _serve_odd(pipe: Any) -> None:
    bomb()  # made once, before anything is timed
    endpoint = OddEndpoint()
    with serving(endpoint) as url:
        pipe.send(url)
        pipe.recv()
        pipe.send(endpoint.answered)


@contextmanager
def _server(folder: Path, url: str, at_once: int) -> Iterator[Running]:
    way = {"base_url": url, "model": "m", "api_key_env": VARIABLE}
    settings = {
        "experts": [{"name": "odd", "active": "1B", "endpoint": way}],
        "retries": 0,
        "failures": 10**9,
        "concurrency": at_once,
        "deadline": 60,
        "patience": 60,
        "timeouts": {"connect": 30, "first_byte": 30, "idle": 30},
    }
    with served(folder, settings) as server:
        yield server


class _Client:
    def __init__(self, url: str, found: Soak) -> None:
        self._url, self._found = f"{url}/chat/completions", found
        parts = urlsplit(self._url)
        self._place = (str(parts.hostname), int(parts.port or 0))

    async def run(self, kinds: list[str], at_once: int, tenth: Callable[[], None]) -> None:
        """Send one request of each of the kinds, so many at a time."""
        waiting = iter(enumerate(kinds))
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=150)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:

            async def work() -> None:
                for number, kind in waiting:
                    name = f"r{number}"
                    try:
                        ended = await getattr(self, f"_{kind}")(name, number)
                    except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                        ended = f"wrong: {type(error).__name__}"
                    self._found.ended[kind, ended.partition(":")[0]] += 1
                    if ended.startswith("wrong"):
                        self._found.wrong.append(f"{kind} {name}: {ended}")
                    if 10 * (number + 1) % len(kinds) < 10:
                        tenth()

            await asyncio.gather(*(work() for _ in range(at_once)))

    async def _good(self, name: str, number: int) -> str:
        return await self._ask(name, "plain", stream=number % 2 == 0)

    async def _slow(self, name: str, number: int) -> str:
        match number // 10 % 4:
            case 0:
                return await self._ask(name, "drips", stream=number % 2 == 0)
            case 1:
                return await self._ask(name, "late", stream=number % 2 == 0)
            case 2:
                async with self._wire() as (reader, writer):
                    body = json.dumps(_body(name, "plain")).encode()
                    writer.write(f"{_TYPED}Content-Length: {len(body)}\r\n\r\n".encode())
                    for start in range(0, len(body), 10):
                        writer.write(body[start : start + 10])
                        await asyncio.sleep(0.05)
                    text = (await asyncio.wait_for(reader.read(2**16), 90)).decode()
                    return "answered" if f"answer to <{name}>" in text else f"wrong: {text:.80}"
            case _:
                async with self._session.post(self._url, json=_body(name, "plain", True)) as answer:
                    text = ""
                    while part := await answer.content.read(40):
                        text += part.decode()
                        await asyncio.sleep(0.02)
                    return _judged(name, "plain", answer.status, text)

    async def _cut(self, name: str, number: int) -> str:
        match number // 10 % 4:
            case 0 | 1:
                form = ("cut", "hangs_up")[number // 10 % 2]
                return await self._ask(name, form, stream=number % 2 == 0)
            case 2:
                async with self._wire() as (_, writer):
                    writer.write(f'{_TYPED}Content-Length: 5000\r\n\r\n{{"model"'.encode())
                    await writer.drain()
                    await asyncio.sleep(0.01)
                return "left"
            case _:
                async with self._wire() as (_, writer):
                    body = json.dumps(_body(name, "late")).encode()
                    writer.write(f"{_TYPED}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                    await writer.drain()
                    await asyncio.sleep(0.05)
                return "left"

    async def _huge(self, name: str, number: int) -> str:
        match number // 10 % 3:
            case 0:
                return await self._ask(name, "plain", stream=number % 2 == 0, text="x" * 1_000_000)
            case 1:
                body = b" " * 5_000_000
                kind = {"Content-Type": "application/json"}
                try:
                    async with self._session.post(self._url, data=body, headers=kind) as answer:
                        return "refused" if answer.status == 413 else f"wrong: {answer.status}"
                except aiohttp.ClientError:
                    return "refused"  # hung up on before it had sent all
            case _:
                form = _FLOODS[number // 30 % len(_FLOODS)]
                return await self._ask(name, form, stream=number % 2 == 0)

    async def _odd(self, name: str, number: int) -> str:
        return await self._ask(name, _FORMS[number // 10 % len(_FORMS)], stream=number % 2 == 0)

    async def _hostile(self, name: str, number: int) -> str:
        kinds = list(HOSTILE.values())
        async with self._wire() as (reader, writer):
            try:
                writer.write(kinds[number // 10 % len(kinds)])
                await writer.drain()
                answer = await asyncio.wait_for(reader.read(2**16), 90)
            except OSError:
                answer = b""
        status = answer[9:12].decode("latin-1")
        return "refused" if status in ("", *_REFUSALS) else f"wrong: {answer[:80]!r}"

    async def _ask(self, name: str, form: str, *, stream: bool, text: str = "") -> str:
        body = _body(name, form, stream, text)
        async with self._session.post(self._url, json=body) as answer:
            said = (await answer.read()).decode()
            return _judged(name, form, answer.status, said)

    @asynccontextmanager
    async def _wire(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(*self._place)
        try:
            yield reader, writer
        finally:
            writer.close()


_REFUSALS = ("400", "403", "404", "405", "408", "413", "415", "421", "431")


def _body(name: str, form: str, stream: bool = False, text: str = "") -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{text}<{name} {form}>"}]
    return {"model": "odd", "messages": messages, "stream": stream}


def _judged(name: str, form: str, status: int, said: str) -> str:
    """Say how a request ended: as its form must end, or wrong."""
    if KEY in said:
        return "wrong: the key is in it"
    others = set(re.findall(r"answer to <([\w-]+)>", said)) - {name}
    if others:
        return f"wrong: {others} in the answer"
    if form in READABLE:
        right = status == 200 and f"<{name}>" in said
        return "answered" if right else f"wrong: {form} {status} {said[:100]}"
    errors = said.count('"error":')
    ended = status in (429, 502, 503, 504) or (status == 200 and "[DONE]" not in said)
    right = ended and errors == 1
    return "failed in one error" if right else f"wrong: {form} {status} {said[:100]}"


def _resident(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
