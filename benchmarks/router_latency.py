"""Time requests to an upstream directly and through the router, or through two editions of it.

    python -m benchmarks.router_latency [SCORES MODELS] [--rounds N]
        [--against TREE [--python PYTHON]]

A server on 127.0.0.1 answers after 0 or 50 ms; `micronas router serve` stands before it in a
process of its own. Eight or 64 clients ask at a time, in rounds: a block of requests to the
upstream and one through each server, in an order drawn anew; the first round does not count.
Whole answers are timed to their end, streams to their first byte. The client keeps one connection
a worker and does little but write and read: what it needed itself would be taken for the router's,
as all processes share the machine.
Without SCORES and MODELS, which are those of `router_heldout`, every prompt goes to one expert;
with them each edition fits its own router, and prompts are embedded and classified. TREE is a
checkout of another edition, and PYTHON one that has what it requires. Its ratios are geometric
means over rounds of the figures of this one over its own in the same round, with 95 % intervals of
a bootstrap over rounds: other work on the machine meets both.
"""

import argparse
import asyncio
import contextlib
import csv
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvicorn
import uvloop
import yaml
from numpy.typing import NDArray

from micronas.language.intervals import intervals
from micronas.text import table

LOADS = (8, 64)
DELAYS = (0, 50)
BLOCK = 256
HERE = Path(__file__).parents[1]
Floats = NDArray[np.float64]
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


@dataclass(frozen=True)
class Edition:
    """A checkout, and the router that its own code fitted; None for one expert alone."""

    tree: Path
    python: str = sys.executable
    router: Path | None = None

    def run(self, *arguments: str) -> list[str]:
        """Return the command line of this edition's ``micronas router``."""
        start = f"import sys; sys.path.insert(0, {str(self.tree)!r}); from micronas.cli import main"
        return [self.python, "-c", f"{start}; main()", "router", *arguments]

    def fitted(self, folder: Path, scores: Path, experts: Sequence[Any]) -> "Edition":
        config = folder / f"router_{len(list(folder.iterdir()))}.yaml"
        said = {
            "scores": str(scores.resolve()),
            "category": "task",
            "experts": [dict(each) for each in experts],
            "embedding": {"kind": "wordllama"},
            "budget": {"active": "20B"},
        }
        config.write_text(yaml.safe_dump(said))
        out = config.with_suffix("")
        command = self.run("fit", str(config), "--out", str(out))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        return replace(self, router=out)

    @contextlib.contextmanager
    def serving(self, url: str, experts: Sequence[Any], folder: Path) -> Iterator["Server"]:
        """Serve one upstream under the names of all experts."""
        endpoint = {"base_url": url, "model": "m"}
        settings = {
            "experts": [{**each, "endpoint": endpoint} for each in experts],
            "router": None if self.router is None else str(self.router),
            "port": 0,
        }
        config = folder / "serve.yaml"
        config.write_text(yaml.safe_dump(settings))
        log = folder / f"serve_{len(list(folder.iterdir()))}.log"
        with (
            open(log, "w") as errors,
            subprocess.Popen(
                self.run("serve", str(config)),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                found = re.search(r"http://\S+", process.stdout.readline())
                assert found, f"the server of {self.tree} does not start: {log.read_text()}"
                yield Server(found[0], process.pid)
            finally:
                process.terminate()


@dataclass(frozen=True)
class Server:
    """An address, and the process behind it; None for the upstream."""

    url: str
    process: int | None = None

    def cpu(self) -> float:
        """Milliseconds of CPU the process has used (Linux: ten at a time)."""
        if self.process is None:
            return 0.0
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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


async def block(url: str, stream: bool, at_once: int) -> list[float]:
    """Milliseconds of one block of requests."""
    left = iter(range(BLOCK))
    taken: list[float] = []
    parts = urlsplit(url)
    place = parts.hostname or "", parts.port or 0
    loop = asyncio.get_running_loop()

    async def worker() -> None:
        _, connection = await loop.create_connection(Connection, *place)
        for number in left:
            messages = [{"role": "user", "content": f"{PROMPTS[number % len(PROMPTS)]} {number}"}]
            body = {"model": "micronas-router", "messages": messages, "stream": stream}
            data = json.dumps(body, separators=(",", ":")).encode()
            start = time.perf_counter()
            first, end = await connection.post(f"{url}/chat/completions", data)
            taken.append(1000 * ((first if stream else end) - start))
        connection.transport.close()

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return taken


def measured(servers: Sequence[Server], stream: bool, at_once: int, rounds: int) -> Floats:
    """Return p50, p95 and CPU a request of each round and server [rounds, servers, 3]."""
    rng = np.random.default_rng(0)
    found = np.empty((rounds + 1, len(servers), 3))
    for number in range(rounds + 1):
        for place in rng.permutation(len(servers)).tolist():
            server = servers[place]
            before = server.cpu()
            taken = uvloop.run(block(server.url, stream, at_once))
            used = (server.cpu() - before) / BLOCK
            found[number, place] = *np.percentile(taken, (50, 95)), used
    return found[1:]


def ratio(ours: Floats, theirs: Floats) -> str:
    """Geometric mean of the ratios of rounds, with its interval."""
    logs = np.log(np.maximum(ours, 1e-3) / np.maximum(theirs, 1e-3))
    rng = np.random.default_rng(0)
    low, high = intervals(rng.choice(logs, (2000, len(logs))).mean(axis=1))
    return f"{np.exp(logs.mean()):.2f} ({np.exp(low):.2f} to {np.exp(high):.2f})"


def rows_of(found: Floats) -> Iterator[list[str]]:
    """One row a server: medians over rounds, and this edition over the other."""
    direct = found[:, 0]
    for place in range(1, found.shape[1]):
        own = found[:, place]
        added = own[:, :2] - direct[:, :2]
        figures = (*np.median(own[:, :2], axis=0), *np.median(added, axis=0), own[:, 2].mean())
        ours = found[:, 1]
        compared = ["", ""]
        if place > 1:
            compared[0] = ratio(ours[:, 1] - direct[:, 1], added[:, 1])
            compared[1] = f"{ours[:, 2].mean() / own[:, 2].mean():.2f}"
        name = "this" if place == 1 else "other"
        yield [name, *(f"{each:.2f}" for each in figures), *compared]


def read_experts(models: str) -> list[dict[str, Any]]:
    with Path(models).open(encoding="utf-8", newline="") as file:
        return [
            {"name": row["model"], "active": f"{row['params_billion']}B"}
            for row in csv.DictReader(file)
        ]


@contextlib.contextmanager
def upstream_process() -> Iterator[str]:
    """Run the upstream; yields its address, without the delay."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        process = multiprocessing.get_context("fork").Process(target=run_upstream, args=(listener,))
        process.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.terminate()
            process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", nargs="*", metavar="SCORES MODELS")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    experts: list[dict[str, Any]] = [{"name": "expert", "active": "7B"}]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        editions = [Edition(HERE)]
        if arguments.against:
            editions.append(Edition(arguments.against.resolve(), arguments.python))
        if arguments.table:
            scores, models = arguments.table
            experts = read_experts(models)
            editions = [each.fitted(folder, Path(scores), experts) for each in editions]
        url = stack.enter_context(upstream_process())
        lines = []
        for delay in DELAYS:
            direct = f"{url}/{delay}/v1"
            with contextlib.ExitStack() as running:
                servers = [Server(direct)]
                for each in editions:
                    servers.append(running.enter_context(each.serving(direct, experts, folder)))
                for at_once in LOADS:
                    for stream in (False, True):
                        found = measured(servers, stream, at_once, arguments.rounds)
                        what = "first byte" if stream else "whole answer"
                        case = [f"{at_once}", f"{delay} ms", what]
                        for row in rows_of(found):
                            lines.append([*case, *row])
                            print(*lines[-1], sep="  ", file=sys.stderr, flush=True)
    header = ["at once", "upstream", "until", "edition", "p50", "p95", "added p50", "p95"]
    header += ["CPU a request", "this / other: added p95", "CPU"]
    print(f"{arguments.rounds} rounds of {BLOCK} requests, milliseconds")
    print(table(header, lines))


if __name__ == "__main__":
    main()
