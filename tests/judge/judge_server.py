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

from tests.upstreams import Call, broken, cuts, limited, upstream, whole

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

    def responds(self, call: Call) -> bool:
        """Answer a request, or fail in one of four ways."""
        key = hashlib.sha256(json.dumps(call.body).encode()).hexdigest()
        with self.lock:
            self.requests += 1
            self.flying += 1
            self.most_flying = max(self.most_flying, self.flying)
            failure = self.seen[key] == 0 and chance("fails", key) < self.failing
            self.seen[key] += 1
        time.sleep(self.delay)
        try:
            if failure:
                _fail(call, chance("how", key))
            else:
                self._answer(call, key)
        finally:
            with self.lock:
                self.flying -= 1
        return not failure

    def _answer(self, call: Call, key: str) -> None:
        messages = call.body["messages"]
        prompt_tokens = sum(len(each["content"]) for each in messages) // 4
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": COMPLETION_TOKENS}
        usd = (PROMPT_PRICE * prompt_tokens + COMPLETION_PRICE * COMPLETION_TOKENS) / 1e6
        with self.lock:
            self.answered[key] += 1
            self.replies += 1
            self.usd += usd
        call.send(200, whole(self.text(messages), usage=usage))


def _fail(call: Call, how: float) -> None:
    if how < 0.4:
        limited(call)
    elif how < 0.7:
        broken(call)
    elif how < 0.85:
        call.send(200, b'{"choices": [{"message": {"con')
    else:
        cuts(call)


@contextmanager
def serve(judge: Judge) -> Iterator[str]:
    """Serve a judge; yields the base URL."""
    with upstream("judge", judge.responds) as server:
        yield server.url
        judge.authorizations |= server.authorizations
