"""One request from its slot to its last byte."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from micronas.language.answers import token_count
from micronas.language.endpoints import estimate_tokens, tokens_of_bytes
from micronas.router.decision import Decision
from micronas.router.serve.backend import AttemptError
from micronas.router.serve.dispatch import Answer, Dispatcher
from micronas.router.serve.limits import KeyLimits
from micronas.router.serve.metrics import Metrics
from micronas.router.serve.plan import Planner
from micronas.router.serve.protocol import (
    DONE,
    ApiError,
    Ask,
    Json,
    ascii_text,
    dump,
    event,
    text_of,
)
from micronas.router.serve.settings import ServeSettings

_log = logging.getLogger("micronas.router")
_LAST_WORD = 1.0
"""Seconds in which a client must take the error that ends its request."""


class Slots:
    """At most so many requests in work; others wait, but not for ever."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._free = anyio.Semaphore(settings.concurrency)
        self._patience, self._metrics = settings.patience, metrics

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            await self._wait()
        try:
            with self._metrics.working.track_inprogress():
                yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        with self._metrics.waiting.track_inprogress():
            with anyio.move_on_after(self._patience) as waiting:
                await self._free.acquire()
            if waiting.cancelled_caught:
                raise ApiError(503, "the server is busy", "busy", wait=self._patience)


@dataclass
class Journey:
    """Facts about a request so far; its headers say them."""

    arrival: float
    id: str = field(default_factory=lambda: f"{random.getrandbits(128):032x}")
    decision: Decision | None = None
    expert: str = ""
    active: float | None = None
    attempts: int = 0
    usd: float | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of an answer: printable ASCII, whatever the names hold."""
        values: dict[str, object] = {"X-Request-Id": self.id, "X-Micronas-Attempts": self.attempts}
        if self.decision is not None:
            values |= {
                "X-Micronas-Category": self.decision.category,
                "X-Micronas-Uncertainty": f"{self.decision.uncertainty:.3f}",
                "X-Micronas-Reason": self.reason,
            }
        if self.expert:
            values |= {
                "X-Micronas-Expert": self.expert,
                "X-Micronas-Active-Parameters": f"{self.active:.0f}",
            }
        if self.usd is not None:
            values["X-Micronas-USD"] = f"{self.usd:.8f}"
        return {name: ascii_text(str(value)) for name, value in values.items()}

    @property
    def reason(self) -> str:
        """Why this expert: the router's sentence, and that another one had to step in."""
        assert self.decision is not None
        if self.expert in ("", self.decision.expert):
            return self.decision.reason
        return f"fallback from {self.decision.expert}; {self.decision.reason}"

    @property
    def age(self) -> float:
        return time.monotonic() - self.arrival


class Exchange(Response):
    """The response to a chat request: everything from the wait for a slot to the last byte.

    A client that goes away cancels all of it, the call to the expert included.
    """

    def __init__(
        self,
        ask: Ask,
        settings: ServeSettings,
        *,
        planner: Planner,
        dispatcher: Dispatcher,
        slots: Slots,
        metrics: Metrics,
        limits: KeyLimits,
        arrival: float,
    ) -> None:
        super().__init__()
        self._limits = limits
        self._ask, self._settings, self._slots, self._metrics = ask, settings, slots, metrics
        self._planner, self._dispatcher = planner, dispatcher
        self._journey = Journey(arrival=arrival)
        self._started = self._ended = False
        self._end = "gone"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            work.cancel()

        try:
            with anyio.CancelScope() as work:
                # no task group: its end takes turns of the loop that other requests wait for
                listener = asyncio.create_task(listen())
                try:
                    await self._run(send)
                finally:
                    listener.cancel()
        except asyncio.CancelledError:
            # not the scope's own, which ends there: the server stops and has waited long enough
            await self._fail(send, ApiError(503, "the server is stopping", "stopping"))
        finally:
            self._note()

    async def _run(self, send: Send) -> None:
        try:
            with anyio.fail_after(self._settings.deadline - self._journey.age):
                async with self._slots.slot():
                    await self._answer(send)
        except ApiError as error:
            await self._fail(send, error)
        except AttemptError as failed:
            message = f"expert {self._journey.expert!r} broke off: {failed.reason}"
            await self._fail(send, ApiError(502, message, "broken_answer"))
        except TimeoutError:
            message = f"the answer must be there in {self._settings.deadline:g} s, but is not"
            await self._fail(send, ApiError(504, message, "deadline"))

    async def _answer(self, send: Send) -> None:
        journey = self._journey
        plan = await self._planner.plan(self._ask)
        journey.decision = plan.decision
        self._metrics.until["routed"].observe(journey.age)
        answer = await self._begin(plan.experts)
        self._metrics.until["first_byte"].observe(journey.age)
        self._planner.answered(plan, answer.expert.name)
        if answer.expert.name != plan.experts[0]:
            self._metrics.fallbacks.labels(plan.experts[0], answer.expert.name).inc()
        try:
            if self._ask.stream:
                await self._stream(send, answer)
            else:
                await self._whole(send, answer)
        finally:
            await answer.close()

    async def _begin(self, names: Sequence[str]) -> Answer:
        journey = self._journey

        def attempted(name: str) -> None:
            journey.attempts += 1
            journey.expert = name
            journey.active = self._dispatcher.served[name].expert.active

        return await self._dispatcher.begin(self._ask, names, attempted)

    async def _whole(self, send: Send, answer: Answer) -> None:
        (whole,) = answer.head
        self._spend(answer, estimate_tokens(text_of(whole)), whole.get("usage"))
        await self._send_whole(send, 200, whole)

    async def _stream(self, send: Send, answer: Answer) -> None:
        await self._start(send, 200, {"Content-Type": "text/event-stream; charset=utf-8"})
        # a stream may be endless: what was said is measured, not kept
        said = sum(len(text_of(piece).encode("utf-8", "replace")) for piece in answer.head)
        usage = answer.head[-1].get("usage")

        async def take(piece: Json) -> None:
            nonlocal said, usage
            said += len(text_of(piece).encode("utf-8", "replace"))
            usage = piece.get("usage") or usage
            await self._write(send, event(piece))

        await self._write(send, b"".join(map(event, answer.head)))
        await self._dispatcher.follow(answer, take)
        self._spend(answer, tokens_of_bytes(said), usage)
        self._end = "200"
        await self._write(send, DONE, last=True)

    def _spend(self, answer: Answer, said: int, usage: object) -> None:
        prompt = token_count(usage, "prompt_tokens") or self._ask.asked_tokens
        completion = token_count(usage, "completion_tokens") or said
        name, price = answer.expert.name, answer.expert.price
        self._metrics.tokens.labels(name, "prompt").inc(prompt)
        self._metrics.tokens.labels(name, "completion").inc(completion)
        self._limits.spend(self._ask.key, prompt + completion)
        if price is not None:
            self._journey.usd = price.usd(prompt, completion)
            self._metrics.usd.labels(name).inc(self._journey.usd)

    async def _fail(self, send: Send, error: ApiError) -> None:
        if self._ended:
            return
        with anyio.move_on_after(_LAST_WORD):
            if not self._started:
                await self._send_whole(send, error.status, error.body(), error.headers())
                return
            self._end = "broken"
            if self._ask.stream:
                # no end mark: a client that overlooks the error must not take this for an answer
                await self._write(send, event(error.body()), last=True)

    async def _send_whole(
        self, send: Send, status: int, body: Json, headers: dict[str, str] | None = None
    ) -> None:
        data = dump(body)
        kind = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        self._end = str(status)
        await self._start(send, status, {**kind, **(headers or {})})
        await self._write(send, data, last=True)

    async def _start(self, send: Send, status: int, headers: dict[str, str]) -> None:
        self._started = True
        pairs = {**self._journey.headers(), **headers}.items()
        raw = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in pairs]
        await send({"type": "http.response.start", "status": status, "headers": raw})

    async def _write(self, send: Send, data: bytes, *, last: bool = False) -> None:
        self._ended = last
        await send({"type": "http.response.body", "body": data, "more_body": not last})

    def _note(self) -> None:
        journey = self._journey
        category = journey.decision.category if journey.decision is not None else ""
        self._metrics.requests.labels(journey.expert, category, self._end).inc()
        self._metrics.until["end"].observe(journey.age)
        _log.info(
            "%s model=%s expert=%s category=%s attempts=%d end=%s seconds=%.3f",
            journey.id,
            ascii_text(self._ask.model),
            ascii_text(journey.expert),
            ascii_text(category),
            journey.attempts,
            self._end,
            journey.age,
        )
