"""A judge behind a real HTTP server on 127.0.0.1: deterministic, of known bias, and unreliable."""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PART = re.compile(r"<<([0-9a-f]{16}) (PROMPT|ANSWER A|ANSWER B)>>\n(.*?)\n<</\1 \2>>", re.DOTALL)
_QUALITY = re.compile(r"quality (\d+\.\d+)")
COMPLETION_TOKENS = 20
PROMPT_PRICE, COMPLETION_PRICE = 2.0, 10.0  # US dollars per million tokens


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts and nothing else."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


@dataclass
class Judge:
    """What the judge does; ``quality <number>`` in an answer is all it looks at.

    ``bias`` is added to the first answer's quality, ``noise`` is the width of uniform noise,
    ``failing`` the share of requests that fail once, ``silent`` the share of questions whose first
    text holds no verdict. An ``echo`` quotes both answers before and after its verdict.
    """

    bias: float = 0.0
    noise: float = 0.3
    failing: float = 0.0
    silent: float = 0.0
    echo: bool = False
    tagged: bool = True
    delay: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    authorizations: set[str | None] = field(default_factory=set)
    requests: int = 0
    replies: int = 0
    flying: int = 0
    most_flying: int = 0
    usd: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def text(self, messages: list[dict[str, str]]) -> str:
        parts = {name: text for _, name, text in _PART.findall(messages[1]["content"])}
        tag = _PART.findall(messages[1]["content"])[0][0]
        first, second = (
            float(match[1]) if (match := _QUALITY.search(parts[name])) else -1.0
            for name in ("ANSWER A", "ANSWER B")
        )
        place = (parts["PROMPT"], first, second)
        if len(messages) == 2 and chance("silent", place) < self.silent:
            return "Both have merits; I would rather not say."
        lead = first - second + self.bias + self.noise * (chance("noise", place) - 0.5)
        bounds = ((0.4, "A>>B"), (0.05, "A>B"), (-0.05, "A=B"), (-0.4, "B>A"))
        label = next((label for bound, label in bounds if lead > bound), "B>>A")
        verdict = f"Verdict {tag}: [[{label}]]" if self.tagged else f"[[{label}]]"
        if not self.echo:
            return f"I looked at both answers.\n{verdict}"
        quotes = f"A wrote: {parts['ANSWER A']}\nB wrote: {parts['ANSWER B']}"
        return f"{quotes}\n{verdict}\n" + (f"For the record.\n{quotes}" if self.tagged else "")


@contextmanager
def serve(judge: Judge) -> Iterator[str]:
    """Serve a judge; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            key = hashlib.sha256(body).hexdigest()
            with judge.lock:
                judge.requests += 1
                judge.flying += 1
                judge.most_flying = max(judge.most_flying, judge.flying)
                judge.authorizations.add(self.headers.get("Authorization"))
                failure = judge.seen[key] == 0 and chance("fails", key) < judge.failing
                judge.seen[key] += 1
            time.sleep(judge.delay)
            if failure:
                self.fail(chance("how", key))
            else:
                self.answer(key, json.loads(body)["messages"])
            with judge.lock:
                judge.flying -= 1

        def fail(self, how: float) -> None:
            if how < 0.4:
                self.reply(429, b"slow down", {"Retry-After": "0.01"})
            elif how < 0.7:
                self.reply(500, b"<html>oops</html>", {})
            elif how < 0.85:
                self.reply(200, b'{"choices": [{"message": {"con', {})
            else:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices": [')
                self.close_connection = True

        def answer(self, key: str, messages: list[dict[str, str]]) -> None:
            prompt_tokens = sum(len(each["content"]) for each in messages) // 4
            reply: dict[str, Any] = {
                "choices": [{"message": {"role": "assistant", "content": judge.text(messages)}}],
                "usage": {
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": COMPLETION_TOKENS,
                },
            }
            usd = (PROMPT_PRICE * prompt_tokens + COMPLETION_PRICE * COMPLETION_TOKENS) / 1e6
            with judge.lock:
                judge.answered[key] += 1
                judge.replies += 1
                judge.usd += usd
            self.reply(200, json.dumps(reply).encode(), {"Content-Type": "application/json"})

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the client was killed

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
