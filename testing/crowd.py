"""A crowd of streaming clients, upstreams that fail, streams closed early: what is lost or unpaid.

Everything an upstream sends is numbered in tokens of four bytes, after the name of the request it
is for, so that each stream is checked to its last token and every token has somebody who pays.
"""

import asyncio
import json
import multiprocessing
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from testing.odd_endpoint import Exchange, OddEndpoint, piece, serving
from testing.served import served

NAMES = [f"k{number}" for number in range(10)]
FEW_TOKENS, FEW_USD = "k1", "k2"
"""Clients whose tokens a minute, and whose dollars a day, run out."""
USD = 2.0
"""US dollars a million tokens of an answer."""
_NAME = re.compile(r"<(k\d+)-(\d+)>")
_SHORTEST, _LONGEST, _PAUSE = 60, 200, 0.03
_EVENT = re.compile(rb"^data: (.*)$", re.MULTILINE)


@dataclass
class Crowd:
    """What came of it.

    Attributes
    ----------
    ended
        Requests by how they ended.
    wrong
        Streams that lost, doubled or mixed up what was sent, and requests that nothing answered.
    sent, booked
        Tokens of answers by client: what upstreams sent, and what the server charged.
    minutes
        Minutes of the whole.
    limit
        Tokens that one limited client has a minute, and the dollars of which another has a day.
    """

    limit: float

    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    booked: Counter[str] = field(default_factory=Counter)
    minutes: float = 0.0

    @property
    def error(self) -> float:
        """How far what was booked in all is off what was sent, as a share of it."""
        return self.booked.total() / self.sent.total() - 1

    @property
    def excess(self) -> dict[str, float]:
        """Tokens that limited clients were sent beyond their limit, over one longest request."""
        allowed = {FEW_TOKENS: self.limit * (1 + self.minutes), FEW_USD: self.limit}
        return {key: (self.sent[key] - most) / (_LONGEST + 1) for key, most in allowed.items()}


def crowd(folder: Path, clients: int, seconds: float, *, limit: float, seed: int = 0) -> Crowd:
    """Let clients stream for some time; half of the streams are closed early."""
    found = Crowd(limit)
    os.environ |= {_variable(key): _secret(key) for key in NAMES}
    with (
        _upstreams(found) as urls,
        served(folder, _settings(urls, clients, limit)) as server,
    ):
        started = time.monotonic()
        asyncio.run(_ask(server.url, found, clients, seconds, seed))
        found.minutes = (time.monotonic() - started) / 60
    return found


async def _ask(url: str, found: Crowd, clients: int, seconds: float, seed: int) -> None:
    end = time.monotonic() + seconds
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def stay(client: int) -> None:
            draw = random.Random(f"{seed} {client}")
            key, number = f"k{client % len(NAMES)}", 0
            while time.monotonic() < end:
                name = f"<{key}-{client + clients * number}>"
                try:
                    ended = await _stream(session, url, key, name, draw)
                except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                    ended = f"wrong: {type(error).__name__}"
                found.ended[ended.partition(":")[0]] += 1
                if ended.startswith("wrong"):
                    found.wrong.append(f"{name} {ended}")
                number += 1
                await asyncio.sleep(1.0 if ended == "limited" else 0.0)

        await asyncio.gather(*map(stay, range(clients)))
        await asyncio.sleep(2.0)
        admin = {"Authorization": f"Bearer {_secret('k0')}"}
        async with session.get(f"{url}/usage", headers=admin) as answer:
            for row in (await answer.json())["data"]:
                found.booked[row["key"]] += row["completion_tokens"]


async def _stream(
    session: aiohttp.ClientSession, url: str, key: str, name: str, draw: random.Random
) -> str:
    """Read one stream, or the beginning of it, and say how it ended."""
    leaves = draw.randrange(1, _SHORTEST) if draw.random() < 0.5 else None
    body = {
        "model": "micronas-router",
        "messages": [{"role": "user", "content": f"{name} {draw.randrange(_SHORTEST, _LONGEST)}"}],
        "stream": True,
        "max_tokens": _LONGEST,
    }
    headers = {"Authorization": f"Bearer {_secret(key)}"}
    async with session.post(f"{url}/chat/completions", json=body, headers=headers) as answer:
        if answer.status != 200:
            status = {429: "limited", 502: "failed", 503: "failed"}.get(answer.status)
            return status or f"wrong: HTTP {answer.status}"
        said, tokens = b"", 0
        async for part in answer.content.iter_any():
            said += part
            tokens = said.count(b"data: ")
            if leaves is not None and tokens > leaves:
                return _checked(said[: said.rfind(b"\n") + 1], name, "left")
    if b'"error"' in said:
        return _checked(said, name, "limited" if b"key_limit" in said else "failed")
    return _checked(said, name, "answered") if b"[DONE]" in said else "wrong: no end"


def _checked(said: bytes, name: str, ended: str) -> str:
    """Say that every token came once, in order and for this request, or what is wrong."""
    values = [json.loads(each) for each in _EVENT.findall(said) if each not in (b"[DONE]", b"")]
    choices = [choice for value in values for choice in value.get("choices", [])]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    first, *rest = text.split() or [name]
    right = first == name and rest == [f"{number:03d}" for number in range(len(rest))]
    if ended == "answered":
        right &= bool(choices) and choices[-1]["finish_reason"] == "stop"
    return ended if right else f"wrong: {text[:100]}"


def _variable(key: str) -> str:
    return f"CROWD_{key.upper()}"


def _secret(key: str) -> str:
    return f"sk-crowd-{key}-0123456789"


@contextmanager
def _upstreams(found: Crowd) -> Iterator[list[str]]:
    """Serve two upstreams in a process of their own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
        here.send("end")
        found.sent.update(here.recv())
    finally:
        process.kill()
        process.join()


def _serve(pipe: Any) -> None:
    sent: Counter[str] = Counter()
    draw = random.Random(0)

    async def talk(exchange: Exchange) -> None:
        asked = exchange.body["messages"][-1]["content"]
        key, count = _NAME.findall(asked)[0][0], int(asked.split()[-1])
        fails = draw.random()
        if fails < 0.05:
            await exchange.send(b"oops", "500 Internal Server Error")
            return
        stops = draw.randrange(count) if fails < 0.1 else count + 1
        await exchange.start_stream()
        name = asked.split()[0]
        said = 0
        for word in (f"{name} ", *(f"{number:03d} " for number in range(count))):
            if stops == 0:
                return
            stops -= 1
            await exchange.write(b"data: " + piece({"content": word}) + b"\n\n")
            said += len(word)
            sent[key] += len(word)
            await asyncio.sleep(_PAUSE)
        told = {"prompt_tokens": len(asked) // 4, "completion_tokens": said // 4}
        last = json.dumps({"object": "chat.completion.chunk", "choices": [], "usage": told})
        for data in (piece({}, "stop"), last.encode(), b"[DONE]"):
            await exchange.write(b"data: " + data + b"\n\n")

    endpoint = OddEndpoint(lambda body, _: ("", "talk"), more={"talk": talk})
    with serving(endpoint) as first, serving(endpoint) as second:
        pipe.send([first, second])
        pipe.recv()
        pipe.send({key: round(size / 4) for key, size in sent.items()})


def _settings(urls: list[str], clients: int, limit: float) -> dict[str, Any]:
    own = {FEW_TOKENS: {"tokens_per_minute": limit}, FEW_USD: {"usd_per_day": limit * USD / 1e6}}
    return {
        "experts": [
            {
                "name": f"expert{number}",
                "active": "1B",
                "price": {"completion": USD},
                "endpoint": {"base_url": url, "model": "m"},
            }
            for number, url in enumerate(urls)
        ],
        "fixed": "expert0",
        "retries": 1,
        "failures": 10**9,
        "concurrency": 2 * clients,
        "deadline": 110,
        "clients": [
            {
                "name": key,
                "key_env": _variable(key),
                "admin": key == "k0",
                **({"limits": own[key]} if key in own else {}),
            }
            for key in NAMES
        ],
    }
