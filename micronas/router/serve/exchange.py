"""One request from its slot to its last byte."""

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from micronas.router.decision import RoutingDecision
from micronas.router.experts import Expert
from micronas.router.serve import spans
from micronas.router.serve.dispatch import Answer
from micronas.router.serve.limits import Booking
from micronas.router.serve.metrics import Metrics
from micronas.router.serve.protocol import (
    DONE,
    ApiError,
    Ask,
    AttemptError,
    Json,
    ascii_text,
    dump,
    event,
)
from micronas.router.serve.service import Service

_log = logging.getLogger("micronas.router")
_LAST_WORD = 1.0
"""Seconds for a client to receive the error that ends its request."""


class Slots:
    """A limit of requests in work; the shares of clients leave a slot for the next client."""

    def __init__(self, service: Callable[[], Service], metrics: Metrics) -> None:
        self._service, self._metrics = service, metrics
        self._working: Counter[str] = Counter()
        self._waiting: dict[anyio.Event, str] = {}

    @asynccontextmanager
    async def slot(self, client: str) -> AsyncIterator[None]:
        if self._may(client):
            self._working[client] += 1
        else:
            await self._wait(client)
        try:
            with self._metrics.working.track_inprogress():
                yield
        finally:
            self._leave(client)

    def _may(self, client: str) -> bool:
        own = self._working[client]
        left = self._service().settings.concurrency - self._working.total() + own
        return own < (math.ceil(left / 2) if len(self._service().clients) > 1 else left)

    async def _wait(self, client: str) -> None:
        called = anyio.Event()
        self._waiting[called] = client
        patience = self._service().settings.patience
        try:
            with self._metrics.waiting.track_inprogress(), anyio.move_on_after(patience):
                await called.wait()
        except BaseException:
            if self._waiting.pop(called, None) is None:
                self._leave(client)
            raise
        if self._waiting.pop(called, None) is not None:
            raise ApiError(503, "the server is busy", "busy", wait=patience)

    def _leave(self, client: str) -> None:
        """Free a slot for waiting requests, first of the client with the fewest in work."""
        self._working[client] -= 1
        while waiting := [each for each in self._waiting.items() if self._may(each[1])]:
            called, following = min(waiting, key=lambda each: self._working[each[1]])
            del self._waiting[called]
            self._working[following] += 1
            called.set()


@dataclass
class _Journey:
    """Facts about a request so far, for its headers."""

    arrival: float
    id: str = field(default_factory=lambda: f"{random.getrandbits(128):032x}")
    decision: RoutingDecision | None = None
    expert: str = ""
    active: float | None = None
    attempts: int = 0
    usd: float | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of an answer, as printable ASCII for any names."""
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
        """Reason for the expert: the router's sentence, after a note on a fallback."""
        assert self.decision is not None
        if self.expert in ("", self.decision.expert):
            return self.decision.reason
        return f"fallback from {self.decision.expert}; {self.decision.reason}"

    @property
    def age(self) -> float:
        return time.monotonic() - self.arrival


class Exchange(Response):
    """The response to a request, from the wait for a slot to the last byte.

    A client that disconnects cancels all of it, the call to the expert included.
    """

    def __init__(
        self,
        ask: Ask,
        service: Service,
        *,
        slots: Slots,
        booking: Booking,
        metrics: Metrics,
        arrival: float,
    ) -> None:
        super().__init__()
        self._ask, self._service, self._settings = ask, service, service.settings
        self._slots, self._metrics, self._booking = slots, metrics, booking
        self._journey = _Journey(arrival=arrival)
        self._started = self._ended = False
        self._end = "gone"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            work.cancel()

        try:
            with anyio.CancelScope() as work:
                # no task group: its end takes extra turns of the loop, which delay other requests
                listener = asyncio.create_task(listen())
                try:
                    await self._run(send)
                finally:
                    listener.cancel()
        except asyncio.CancelledError:
            # not the scope's own cancellation: the server stops after its grace
            await self._fail(send, ApiError(503, "the server is stopping", "stopping"))
        finally:
            self._note()

    async def _run(self, send: Send) -> None:
        try:
            with anyio.fail_after(self._settings.deadline - self._journey.age):
                async with self._slots.slot(self._ask.key):
                    await self._answer(send)
        except ApiError as error:
            await self._fail(send, error)
        except AttemptError as failed:
            message = f"expert {self._journey.expert!r} broke off: {failed.reason}"
            await self._fail(send, ApiError(502, message, "broken_answer"))
        except TimeoutError:
            message = f"the answer must arrive in {self._settings.deadline:g} s, but did not"
            await self._fail(send, ApiError(504, message, "deadline"))

    async def _answer(self, send: Send) -> None:
        journey = self._journey
        planner = self._service.planner
        plan = await planner.plan(self._ask)
        journey.decision = plan.decision
        self._booking.category = plan.decision.category
        self._metrics.until["routed"].observe(journey.age)
        answer = await self._service.dispatcher.begin(
            self._ask, plan.experts, self._booking, self._attempted
        )
        self._metrics.until["first_byte"].observe(journey.age)
        planner.answered(plan, answer.expert.name)
        if answer.expert.name != plan.experts[0]:
            self._metrics.fallbacks.labels(plan.experts[0], answer.expert.name).inc()
        try:
            if self._ask.stream:
                await self._stream(send, answer)
            else:
                await self._whole(send, answer)
        finally:
            await answer.close()

    def _attempted(self, expert: Expert) -> None:
        self._journey.attempts += 1
        self._journey.expert, self._journey.active = expert.name, expert.active

    async def _whole(self, send: Send, answer: Answer) -> None:
        (whole,) = answer.head
        await answer.close()
        if answer.expert.price is not None:
            self._journey.usd = self._booking.usd
        await self._send_whole(send, 200, whole)

    async def _stream(self, send: Send, answer: Answer) -> None:
        await self._start(send, 200, {"Content-Type": "text/event-stream; charset=utf-8"})

        async def take(piece: Json) -> None:
            if not self._is_unasked(piece):
                await self._write(send, event(piece))

        head = [piece for piece in answer.head if not self._is_unasked(piece)]
        await self._write(send, b"".join(map(event, head)))
        await self._service.dispatcher.follow(self._ask, answer, take)
        await answer.close()
        self._end = "200"
        await self._write(send, b"" if self._ask.kind == "responses" else DONE, last=True)

    def _is_unasked(self, piece: Json) -> bool:
        """Return whether a piece is a count of tokens that the client did not ask for."""
        return bool(piece.get("usage")) and not piece.get("choices") and not self._ask.usage

    async def _fail(self, send: Send, error: ApiError) -> None:
        if self._ended:
            return
        with anyio.move_on_after(_LAST_WORD):
            if not self._started:
                await self._send_whole(send, error.status, error.body(), error.headers())
                return
            self._end = "broken"
            if self._ask.stream:
                # no end mark: a client that ignores the error must not see a complete answer
                body = error.body()
                if self._ask.kind == "responses":
                    body = {**body["error"], "type": "error"}
                await self._write(send, event(body), last=True)

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
        self._booking.close()
        self._service.requests -= 1
        category = journey.decision.category if journey.decision is not None else ""
        self._metrics.requests.labels(journey.expert, category, self._end).inc()
        self._metrics.until["end"].observe(journey.age)
        spans.record(self._ask, journey.expert, self._booking, end=self._end, seconds=journey.age)
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
