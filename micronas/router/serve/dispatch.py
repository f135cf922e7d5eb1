"""Ask experts in turn, with retries, pauses and cool-downs, until one begins to answer."""

import math
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from micronas.router.experts import Expert, Timeouts
from micronas.router.serve.limits import Booking
from micronas.router.serve.metrics import Metrics
from micronas.router.serve.protocol import (
    ApiError,
    Ask,
    AttemptError,
    Json,
    ascii_text,
    says_something,
)
from micronas.router.serve.settings import ServeSettings
from micronas.router.serve.upstream import Upstream

_LONGEST_COOL_DOWNS = 10
_DRAIN = 0.05
"""Seconds to count the rest of an abandoned answer."""
_COOLING = "cooling down"
_ALL = "*"


@dataclass
class _Served:
    """One expert in service, with its failures and rests."""

    expert: Expert
    backend: Upstream
    timeouts: Timeouts
    asked_rest: float = 0.0
    """Time until which the expert asked to rest."""
    failures: dict[str, int] = field(default_factory=dict)
    """Failed attempts by client since the last answer or refusal."""
    rests: dict[str, float] = field(default_factory=dict)
    """Time until which it rests after failures, by client; `_ALL` is every client."""

    def cooling(self, client: str | None) -> float:
        """Return the seconds until a client, or every client, may ask it; 0 if now."""
        asked = self.rests if client is None else (client, _ALL)
        rests = (self.rests.get(each, 0.0) for each in asked)
        return max(0.0, max(self.asked_rest, *rests, 0.0) - time.monotonic())

    def fail(self, client: str, most: int, seconds: float) -> None:
        """Count a failure; failures of a single client make it rest for that client only."""
        self.failures[client] = self.failures.get(client, 0) + 1
        if sum(self.failures.values()) >= most:
            several = len(self.failures) > 1
            self.rests[_ALL if several else client] = time.monotonic() + seconds


@dataclass
class Answer:
    """An answer that has begun, and the booking that counts it.

    The ``head`` has the pieces so far, of which only the last one has content, or the whole answer;
    the holder of the answer must close it.
    """

    expert: Expert
    head: list[Json]
    rest: AsyncGenerator[Json, None]
    booking: Booking

    async def close(self, *, free: bool = False) -> None:
        """End the call and book it, even if the request is being cancelled."""
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_DRAIN), suppress(AttemptError, ApiError):
                # pieces that have arrived are charged, even if they are not used
                async for piece in self.rest:
                    self.booking.count(piece)
            await self.rest.aclose()
        self.booking.settle(free=free)


class Dispatcher:
    """All experts in service.

    Raises ConfigError if the key of an expert is not set.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self.served: dict[str, _Served] = {}
        for each in settings.experts:
            assert each.endpoint is not None
            timeouts = each.endpoint.timeouts or settings.timeouts
            backend = Upstream(each.name, each.endpoint, timeouts)
            self.served[each.name] = _Served(each, backend, timeouts)

    async def aclose(self) -> None:
        for each in self.served.values():
            await each.backend.aclose()

    async def begin(
        self, ask: Ask, names: Sequence[str], booking: Booking, attempted: Callable[[Expert], None]
    ) -> Answer:
        """Ask experts in turn, in rounds, until one begins to answer.

        A failed expert is not asked twice in a row if there is another. `attempted` is called with
        the expert before each attempt. Raises ApiError if the request is refused, or no expert
        answers.
        """
        lost: dict[str, AttemptError] = {}
        last = ""
        for number in range(1 + self._settings.retries):
            if number:
                names = self._again(ask, names, lost, last)
                if not names:
                    break
                await anyio.sleep(self._pause(number - 1, [lost[name] for name in names]))
            for name in names:
                served = self.served[name]
                if rest := self.cooling(ask.key).get(name):
                    lost.setdefault(name, AttemptError(_COOLING, wait=rest))
                    continue
                try:
                    booking.open(served.expert)
                    attempted(served.expert)
                    last = name
                    return await self._attempt(served, ask, booking)
                except AttemptError as failed:
                    lost[name] = failed
        raise _unanswered(lost)

    def cooling(self, client: str | None = None) -> dict[str, float]:
        """Return the seconds for which experts rest; failures never make all of them rest."""
        found = {name: each.cooling(client) for name, each in self.served.items()}
        resting = {name: seconds for name, seconds in found.items() if seconds}
        if len(resting) == len(found):
            awake = [
                name for name, each in self.served.items() if each.asked_rest <= time.monotonic()
            ]
            resting.pop(min(awake, key=resting.__getitem__, default=""), None)
        return resting

    def _again(
        self, ask: Ask, names: Sequence[str], lost: dict[str, AttemptError], last: str
    ) -> Sequence[str]:
        """Return the experts of another round; not just the last one, unless it is the only one."""
        resting = self.cooling(ask.key)
        left = [name for name in names if lost[name].again and name not in resting]
        return [] if left == [last] and len(lost) > 1 else left

    async def follow(
        self, ask: Ask, answer: Answer, take: Callable[[Json], Awaitable[None]]
    ) -> None:
        """Pass on the rest of a stream, piece by piece.

        Raises AttemptError if it breaks off; ApiError if it takes more than the client's limits
        allow.
        """
        served = self.served[answer.expert.name]
        idle = served.timeouts.idle
        try:
            # one scope with a moving deadline: a scope per piece would cost more than the piece
            with anyio.CancelScope(deadline=anyio.current_time() + idle) as patience:
                async for piece in answer.rest:
                    answer.booking.count(piece)
                    patience.deadline = math.inf
                    await take(piece)
                    patience.deadline = anyio.current_time() + idle
            if patience.cancelled_caught:
                raise AttemptError("a stream that stopped")
        except AttemptError as failed:
            self._note(served, ask, failed)
            raise
        self._answered(served)

    async def _attempt(self, served: _Served, ask: Ask, booking: Booking) -> Answer:
        answer = Answer(served.expert, [], served.backend.ask(ask), booking)
        try:
            with anyio.fail_after(served.timeouts.first_byte):
                async for piece in answer.rest:
                    answer.head.append(piece)
                    booking.count(piece)
                    if ask.stream and says_something(piece):
                        return answer
            if ask.stream:
                raise AttemptError("an empty stream")
            self._answered(served)
            return answer
        except TimeoutError:
            failed = AttemptError("no answer in time")
        except AttemptError as error:
            failed = error
        except ApiError:
            # before a first piece the expert refuses: it works, and charges nothing
            await answer.close(free=not answer.head)
            served.failures.clear()
            self._metrics.attempts.labels(served.expert.name, "refused").inc()
            raise
        except BaseException:
            await answer.close()
            raise
        await answer.close(free=failed.free)
        self._note(served, ask, failed)
        raise failed

    def _answered(self, served: _Served) -> None:
        served.failures.clear()
        served.rests.clear()
        self._metrics.attempts.labels(served.expert.name, "answered").inc()

    def _note(self, served: _Served, ask: Ask, failed: AttemptError) -> None:
        self._metrics.attempts.labels(served.expert.name, ascii_text(failed.reason)).inc()
        settings = self._settings
        if failed.wait is not None and failed.wait > settings.longest_wait:
            rest = min(failed.wait, _LONGEST_COOL_DOWNS * settings.cool_down)
            served.asked_rest = max(served.asked_rest, time.monotonic() + rest)
        elif failed.refusal is None:
            served.fail(ask.key, settings.failures, settings.cool_down)

    def _pause(self, number: int, failed: Sequence[AttemptError]) -> float:
        backoff: float = self._settings.backoff * 2**number * random.uniform(0.5, 1.0)
        asked = min(each.wait or 0.0 for each in failed)
        return max(backoff, min(asked, self._settings.longest_wait))


def _unanswered(lost: dict[str, AttemptError]) -> ApiError:
    reasons = "; ".join(f"{name}: {failed.reason}" for name, failed in lost.items())
    wait = min((failed.wait for failed in lost.values() if failed.wait is not None), default=1.0)
    for failed in lost.values():
        if failed.refusal is not None:
            return failed.refusal
    ends = {failed.reason for failed in lost.values()}
    if ends == {"HTTP 429"}:
        return ApiError(429, f"every expert is at its limit ({reasons})", "rate_limit", wait=wait)
    if ends == {_COOLING}:
        return ApiError(503, f"every expert is cooling down ({reasons})", "cooling_down", wait=wait)
    return ApiError(502, f"no expert answered ({reasons})", "no_answer")
