"""Ask experts in turn, with retries, pauses and cool-downs, until one begins to answer."""

import math
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from micronas.router.experts import Expert, Timeouts
from micronas.router.serve.backend import AttemptError, Backend
from micronas.router.serve.local import Local, classifier, function
from micronas.router.serve.metrics import Metrics
from micronas.router.serve.protocol import ApiError, Ask, Json, ascii_text, says_something
from micronas.router.serve.settings import ServeSettings
from micronas.router.serve.upstream import Upstream

_LONGEST_COOL_DOWNS = 10
_COOLING = "cooling down"


@dataclass
class Served:
    """One expert in service and how it has been doing."""

    expert: Expert
    backend: Backend
    timeouts: Timeouts
    failures: int = 0
    rested: float = 0.0

    @property
    def cooling(self) -> float:
        """Seconds until it is asked again, 0 if it may be asked now."""
        return max(0.0, self.rested - time.monotonic())

    def cool(self, seconds: float) -> None:
        self.rested = max(self.rested, time.monotonic() + seconds)


@dataclass
class Answer:
    """An answer that has begun.

    Attributes
    ----------
    expert
        Who speaks.
    head
        What has been said so far, the pieces before the last have nothing in them; or the whole
        answer.
    rest
        What follows; whoever holds the answer closes it.
    """

    expert: Expert
    head: list[Json]
    rest: AsyncGenerator[Json, None]

    async def close(self) -> None:
        """End the call, also where the request itself is being cancelled."""
        with anyio.CancelScope(shield=True):
            await self.rest.aclose()


class Dispatcher:
    """All experts in service.

    Parameters
    ----------
    settings
        Retries, pauses, cool-downs and timeouts.
    metrics
        Where attempts are counted.

    Raises
    ------
    ConfigError
        If an expert cannot be called: a key is not set, a function or a model is not there.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self.served: dict[str, Served] = {}
        for each in settings.experts:
            own = each.endpoint.timeouts if each.endpoint is not None else None
            timeouts = own or settings.timeouts
            self.served[each.name] = Served(each, _backend_of(each, timeouts), timeouts)

    async def aclose(self) -> None:
        for each in self.served.values():
            await each.backend.aclose()

    async def begin(
        self, ask: Ask, names: Sequence[str], attempted: Callable[[str], None]
    ) -> Answer:
        """Ask one expert after the other until one begins to answer, in rounds.

        One that failed is not asked again before another was, where there is another.

        Parameters
        ----------
        ask
            The request.
        names
            Experts, first to last.
        attempted
            Is called with the expert's name before each attempt.

        Raises
        ------
        ApiError
            If the request is refused, or nobody answers.
        """
        lost: dict[str, AttemptError] = {}
        last = ""
        for number in range(1 + self._settings.retries):
            if number:
                names = self._again(names, lost, last)
                if not names:
                    break
                await anyio.sleep(self._pause(number - 1, [lost[name] for name in names]))
            for name in names:
                served = self.served[name]
                if served.cooling:
                    lost.setdefault(name, AttemptError(_COOLING, wait=served.cooling))
                    continue
                attempted(name)
                last = name
                try:
                    return await self._attempt(served, ask)
                except AttemptError as failed:
                    lost[name] = failed
        raise _nobody(lost)

    def _again(
        self, names: Sequence[str], lost: dict[str, AttemptError], last: str
    ) -> Sequence[str]:
        """Return who is asked in another round; not the last one at once, unless it is alone."""
        left = [name for name in names if lost[name].again and not self.served[name].cooling]
        return [] if left == [last] and len(lost) > 1 else left

    async def follow(self, answer: Answer, take: Callable[[Json], Awaitable[None]]) -> None:
        """Hand over what follows in a stream, piece by piece, to its end.

        Raises
        ------
        AttemptError
            If it breaks off.
        """
        served = self.served[answer.expert.name]
        idle = served.timeouts.idle
        try:
            # one scope whose end is moved: one for each piece would cost more than the piece
            with anyio.CancelScope(deadline=anyio.current_time() + idle) as patience:
                async for piece in answer.rest:
                    patience.deadline = math.inf
                    await take(piece)
                    patience.deadline = anyio.current_time() + idle
            if patience.cancelled_caught:
                raise AttemptError("a stream that stopped")
        except AttemptError as failed:
            self._note(served, failed)
            raise
        self._answered(served)

    async def _attempt(self, served: Served, ask: Ask) -> Answer:
        answer = Answer(served.expert, [], served.backend.ask(ask))
        try:
            with anyio.fail_after(served.timeouts.first_byte):
                async for piece in answer.rest:
                    answer.head.append(piece)
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
            served.failures = 0
            self._metrics.attempts.labels(served.expert.name, "refused").inc()
            raise
        except BaseException:
            await answer.close()
            raise
        await answer.close()
        self._note(served, failed)
        raise failed

    def _answered(self, served: Served) -> None:
        served.failures = 0
        self._metrics.attempts.labels(served.expert.name, "answered").inc()

    def _note(self, served: Served, failed: AttemptError) -> None:
        served.failures += failed.refusal is None
        self._metrics.attempts.labels(served.expert.name, ascii_text(failed.reason)).inc()
        if failed.wait is not None and failed.wait > self._settings.longest_wait:
            served.cool(min(failed.wait, _LONGEST_COOL_DOWNS * self._settings.cool_down))
        elif served.failures >= self._settings.failures:
            served.cool(self._settings.cool_down)

    def _pause(self, number: int, failed: Sequence[AttemptError]) -> float:
        backoff: float = self._settings.backoff * 2**number * random.uniform(0.5, 1.0)
        asked = min(each.wait or 0.0 for each in failed)
        return max(backoff, min(asked, self._settings.longest_wait))


def _nobody(lost: dict[str, AttemptError]) -> ApiError:
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


def _backend_of(expert: Expert, timeouts: Timeouts) -> Backend:
    """Return what calls an expert.

    Raises
    ------
    ConfigError
        If a key is not set, a function cannot be imported or a model is none.
    """
    if expert.endpoint is not None:
        return Upstream(expert.name, expert.endpoint, timeouts)
    if expert.model is not None:
        return Local(expert.name, classifier(expert.model))
    return Local(expert.name, function(str(expert.callable)))
