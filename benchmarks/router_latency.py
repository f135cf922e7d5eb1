"""Time requests to an upstream directly and through the router.

    python -m benchmarks.router_latency [ROUTER]

A server on 127.0.0.1 answers after 0 or 50 ms; `micronas router serve` stands before it in a
process of its own. Eight clients ask at a time, in alternating blocks of 200 requests; the first
pair of blocks does not count. Whole answers are timed to their end, streams to their first byte.
The client keeps one connection a worker and does little but write and read: what it needed itself
would be taken for the router's, as all three processes share the machine.
Without a router's folder every prompt goes to one expert; with one, prompts are embedded and
classified. With 0 ms all processes compete for the CPU all the time.
"""

import asyncio
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvicorn
import uvloop
import yaml

from micronas.text import table

AT_ONCE, BLOCK, BLOCKS = 8, 200, 7
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"words of an answer "},"finish_reason":%s}]}\n\n'
)
WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"words of an answer"},"finish_reason":"stop"}]}'
)
PROMPTS = (
    "Please add the numbers 12 and 30, and show how you did it.",
    "Write a short poem about a river that flows through a town.",
    "Which of these two functions is faster, and why? def f(x): return x * x",
    "Translate to French: the train leaves at noon.",
)


async def upstream(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer after as many milliseconds as the request's path says."""
    if scope["type"] != "http":
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    await asyncio.sleep(int(scope["path"].split("/")[1]) / 1000)
    stream = b'"stream":true' in body
    kind = b"text/event-stream" if stream else b"application/json"
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}
    await send(start)
    parts = [CHUNK % b"null"] * 4 + [CHUNK % b'"stop"', b"data: [DONE]\n\n"] if stream else [WHOLE]
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def run_upstream(listener: socket.socket) -> None:
    config = uvicorn.Config(upstream, log_level="critical", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def configuration(url: str, router: str | None) -> dict[str, Any]:
    """One upstream under the names of all experts the router knows."""
    experts = [("expert", 7e9)]
    if router is not None:
        from micronas.router.policy import Router

        fitted = Router.load(Path(router))
        experts = list(zip(fitted.experts, fitted.evidence.active.tolist(), strict=True))
    endpoint = {"base_url": url, "model": "m"}
    listed = [{"name": name, "active": active, "endpoint": endpoint} for name, active in experts]
    path = None if router is None else str(Path(router).resolve())
    return {"experts": listed, "router": path, "port": 0}


class Connection(asyncio.Protocol):
    """A client's end of a connection that is kept."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    async def post(self, url: str, body: bytes) -> tuple[float, float]:
        """Return the times of the first byte of the answer's body, and of its end."""
        parts = urlsplit(url)
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        )
        self.parser = httptools.HttpResponseParser(self)
        self.first = 0.0
        self.end: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.transport.write(head.encode() + b"\r\n\r\n" + body)
        end = await self.end
        assert self.parser.get_status_code() == 200
        return self.first, end

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, _: bytes) -> None:
        self.first = self.first or time.perf_counter()

    def on_message_complete(self) -> None:
        self.end.set_result(time.perf_counter())

    def connection_lost(self, error: Exception | None) -> None:
        if not self.end.done():
            self.end.set_exception(error or ConnectionError("the server hung up"))


async def block(url: str, stream: bool) -> list[float]:
    """Milliseconds of one block of requests."""
    left = iter(range(BLOCK))
    taken: list[float] = []
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()

    async def worker() -> None:
        _, connection = await loop.create_connection(Connection, parts.hostname, parts.port)
        for number in left:
            messages = [{"role": "user", "content": f"{PROMPTS[number % len(PROMPTS)]} {number}"}]
            body = {"model": "micronas-router", "messages": messages, "stream": stream}
            data = json.dumps(body, separators=(",", ":")).encode()
            start = time.perf_counter()
            first, end = await connection.post(f"{url}/chat/completions", data)
            taken.append(1000 * ((first if stream else end) - start))
        connection.transport.close()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return taken


async def compare(direct: str, routed: str, stream: bool) -> tuple[list[float], list[float]]:
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(BLOCKS + 1):
        for url, kept in zip((direct, routed), taken, strict=True):
            milliseconds = await block(url, stream)
            kept += milliseconds if number else []
    return taken


def cpu(process: int) -> float:
    """Seconds of CPU a process has used (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, port: int, delay: int, router: str | None) -> list[list[str]]:
    """Rows of the table for one delay of the upstream."""
    direct = f"http://127.0.0.1:{port}/{delay}/v1"
    config = folder / "serve.yaml"
    config.write_text(yaml.safe_dump(configuration(direct, router)))
    command = [sys.executable, "-m", "micronas", "router", "serve", str(config)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found, "the server does not start; run it by hand"
        rows = []
        for stream in (False, True):
            before = cpu(server.pid)
            alone, through = uvloop.run(compare(direct, found[0], stream))
            worked = 1000 * (cpu(server.pid) - before) / (BLOCK * (BLOCKS + 1))
            (a50, a95), (b50, b95) = (np.percentile(each, (50, 95)) for each in (alone, through))
            figures = (a50, a95, b50, b95, b50 - a50, b95 - a95, worked)
            what = "first byte of a stream" if stream else "whole answer"
            rows.append([f"{delay} ms", what, *(f"{each:.1f}" for each in figures)])
        server.terminate()
    return rows


def main() -> None:
    router = sys.argv[1] if len(sys.argv) > 1 else None
    header = ["upstream", "until", "direct p50", "p95", "routed p50", "p95", "added p50", "p95"]
    header.append("router's CPU a request")
    rows: list[list[str]] = []
    with (
        socket.create_server(("127.0.0.1", 0), backlog=256) as listener,
        tempfile.TemporaryDirectory() as folder,
    ):
        port = listener.getsockname()[1]
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        process = multiprocessing.get_context("fork").Process(target=run_upstream, args=(listener,))
        process.start()
        try:
            for delay in (0, 50):
                rows += measure(Path(folder), port, delay, router)
        finally:
            process.terminate()
            process.join()
    print(f"{AT_ONCE} at a time, {BLOCK * BLOCKS} requests a figure, milliseconds")
    print(table(header, rows))


if __name__ == "__main__":
    main()
