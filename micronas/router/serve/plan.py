"""Choose the experts for a request, and say why."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from micronas.router.decision import GENERAL, Decision, Routing
from micronas.router.serve.protocol import ApiError, Ask, ascii_text
from micronas.router.serve.settings import ServeSettings
from micronas.settings import nearest

_log = logging.getLogger("micronas.router")
DIRECT = "direct"
"""Category of requests that name their expert."""


@runtime_checkable
class Ranking(Protocol):
    """A routing that also says who comes next."""

    def ranking(self, category: str) -> Sequence[str]:
        """Return the experts of a category, that of the best expected score first."""
        ...


@dataclass(frozen=True)
class Fixed:
    """The routing that needs no fitting: one expert for every prompt."""

    expert: str
    active: float

    def route(self, prompts: Sequence[str]) -> list[Decision]:
        """Return the same decision for each prompt."""
        reason = "every prompt goes to this expert"
        return [Decision(GENERAL, 1.0, 0.0, self.expert, self.active, None, reason)] * len(prompts)


@dataclass(frozen=True)
class Plan:
    """A decision and the experts to ask, first to last."""

    decision: Decision
    experts: tuple[str, ...]


class Planner:
    """Turns requests into plans; routing has a thread of its own and blocks nobody's stream."""

    def __init__(self, settings: ServeSettings, routing: Routing) -> None:
        self._settings, self._routing = settings, routing
        self._ranking = routing.ranking if isinstance(routing, Ranking) else None
        self._experts = {each.name: each for each in settings.experts}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="routing")

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def check(self, ask: Ask) -> None:
        """Raise ApiError (404) if the request names a model that is not served."""
        if ask.model not in self._experts and ask.model != self._settings.model:
            hint = nearest(ask.model, [self._settings.model, *self._experts])
            message = f"model {ascii_text(ask.model)!r} is not served; {hint}"
            raise ApiError(404, message, "model_not_found")

    async def plan(self, ask: Ask) -> Plan:
        """Return who should answer a request that was checked.

        A router that fails loses no request: it goes to the experts in the order of the fallback.
        """
        if ask.model in self._experts:
            expert = self._experts[ask.model]
            reason = "the request names this expert"
            decision = Decision(DIRECT, 1.0, 0.0, expert.name, expert.active, None, reason)
            return Plan(decision, (expert.name,))
        if isinstance(self._routing, Fixed):
            return self._route(ask.prompt)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._route, ask.prompt)
        except Exception as error:
            # whatever a router raises, the request has experts that can answer it
            _log.error("the router failed: %s", ascii_text(repr(error)))
            experts = fallback_order(self._settings, (), "") or tuple(self._experts)
            expert = self._experts[experts[0]]
            reason = "the router failed"
            decision = Decision(GENERAL, 0.0, 1.0, expert.name, expert.active, None, reason)
            return Plan(decision, experts)

    def _route(self, prompt: str) -> Plan:
        (decision,) = self._routing.route([prompt])
        ranked = self._ranking(decision.category) if self._ranking else ()
        experts = fallback_order(self._settings, ranked, decision.expert)
        if not experts:
            raise LookupError(f"expert {decision.expert!r} is not served and there is no fallback")
        return Plan(decision, experts)


def fallback_order(settings: ServeSettings, ranked: Sequence[str], chosen: str) -> tuple[str, ...]:
    """Return the experts to ask, first to last.

    Parameters
    ----------
    settings
        Its ``fallback`` is obeyed where it is given.
    ranked
        The experts as the router ranks them for the prompt's category; empty if it does not.
    chosen
        The expert the router chose; left out if it is not served.
    """
    known = [each.name for each in settings.experts]
    rest = settings.fallback if settings.fallback is not None else (*ranked, *known)
    return tuple(name for name in dict.fromkeys((chosen, *rest)) if name in known)
