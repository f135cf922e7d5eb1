"""Choose the experts for a request, with a reason."""

import asyncio
import hashlib
import logging
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

from micronas.errors import BudgetError
from micronas.router.control import Controller
from micronas.router.decision import GENERAL, Routing, RoutingDecision
from micronas.router.experts import Expert
from micronas.router.policy import Router
from micronas.router.serve.protocol import ApiError, Ask, ascii_text
from micronas.router.serve.settings import ServeSettings
from micronas.settings import nearest

_log = logging.getLogger("micronas.router")
_DIRECT = "direct"
"""Category of requests that name their expert."""
_ORDERS, _BUDGETS = 1024, 64
"""Sizes of caches: orders by category and expert, and mappings for budgets of requests."""
_CONVERSATIONS = 100_000
"""Most conversations that are kept."""
_WORKERS = max(2, min(4, os.cpu_count() or 1))


class _Conversations:
    """Decisions of conversations, each kept for some seconds after its last request."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, RoutingDecision]] = OrderedDict()

    def name(self, ask: Ask) -> str:
        """Return the name of a conversation, a hash of its beginning; empty if none are kept."""
        if not self._seconds:
            return ""
        beginning = f"{ask.key}\n{ask.beginning}".encode("utf-8", "replace")
        return hashlib.sha256(beginning).hexdigest()

    def decision(self, name: str) -> RoutingDecision | None:
        """Return the decision of a conversation, or None if it is not kept or too old."""
        until, found = self._kept.get(name, (0.0, None))
        return found if time.monotonic() < until else None

    def keep(self, name: str, decision: RoutingDecision) -> None:
        """Keep the decision of a conversation."""
        self._kept[name] = (time.monotonic() + self._seconds, decision)
        self._kept.move_to_end(name)
        if len(self._kept) > _CONVERSATIONS:
            self._kept.popitem(last=False)

    def take(self, former: "_Conversations") -> None:
        """Take over the conversations of the former configuration."""
        self._kept.update(former._kept)


@dataclass(frozen=True)
class Fixed:
    """Routing of every prompt to one expert, without a fit."""

    expert: str
    active: float

    def route(self, prompts: Sequence[str]) -> list[RoutingDecision]:
        """Return the same decision for each prompt."""
        reason = "every prompt goes to this expert"
        decision = RoutingDecision(GENERAL, 1.0, 0.0, self.expert, self.active, None, reason)
        return [decision] * len(prompts)


@dataclass(frozen=True)
class _Plan:
    """A decision, the experts to ask in order, and the conversation.

    A plan that is ``held`` counts for the average budget.
    """

    decision: RoutingDecision
    experts: tuple[str, ...]
    conversation: str = ""
    held: bool = False


class Planner:
    """Planner of requests; routing has its own threads and does not block streams."""

    def __init__(self, settings: ServeSettings, routing: Routing) -> None:
        self._settings, self._routing = settings, routing
        # a routing may also rank experts, the best expected score first
        self._ranking: Callable[[str], Sequence[str]] | None = getattr(routing, "ranking", None)
        self._experts = {each.name: each for each in settings.experts}
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="routing")
        self._conversations = _Conversations(settings.sticky)
        self._order = lru_cache(_ORDERS)(self._ordered)
        held = settings.control and isinstance(routing, Router) and routing.plan.budget.active
        self.controller = Controller(routing) if held and isinstance(routing, Router) else None
        self._mapped = lru_cache(_BUDGETS)(self._map)

    def succeed(self, former: "Planner") -> None:
        """Take over conversations, and the state of control of an equal budget."""
        self._conversations.take(former._conversations)
        if self.controller is not None and former.controller is not None:
            self.controller.restore(former.controller.state())

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check(self, ask: Ask) -> None:
        """Raise ApiError if a model is not served (404), or an expert must be named (400)."""
        if ask.model not in self._experts and ask.model != self._settings.model:
            raise self.unknown(ask.model)
        if ask.body.get("previous_response_id") and ask.model not in self._experts:
            raise ApiError(
                400,
                "the response of previous_response_id is kept by one expert: name it as model, or "
                "send the whole conversation as input",
                "not_routed",
            )
        if ask.kind == "embeddings" and ask.model not in self._experts:
            raise ApiError(
                400,
                "embeddings of different models cannot be compared, so they are not routed: name "
                f"the expert as model, one of {ascii_text(', '.join(self._experts))}",
                "not_routed",
            )

    def unknown(self, model: str) -> ApiError:
        """Return the error of a model that is not served."""
        hint = nearest(model, [self._settings.model, *self._experts])
        message = f"model {ascii_text(model)!r} is not served; {hint}"
        return ApiError(404, message, "model_not_found")

    async def plan(self, ask: Ask) -> _Plan:
        """Return the plan of a checked request.

        If the router fails, the request goes to the experts in the order of the fallback.

        Raises ApiError (400) if no expert supports the request, or none is within its budget.
        """
        if ask.model in self._experts:
            expert = self._experts[ask.model]
            reason = "the request names this expert"
            decision = RoutingDecision(_DIRECT, 1.0, 0.0, expert.name, expert.active, None, reason)
            return _Plan(decision, (expert.name,))
        # a budget of one request does not outlive it, and no earlier choice replaces it
        name = self._conversations.name(ask) if ask.budget is None else ""
        before = self._conversations.decision(name) if len(ask.prompts) > 1 else None
        if before is not None:
            reason = f"the conversation stays with it; {before.reason.split('; ', 1)[-1]}"
            return self._planned(ask, replace(before, reason=reason), name)
        if isinstance(self._routing, Fixed):
            return self._planned(ask, self._routing.route([""])[0], name)
        routing = self._routing if self.controller is None else self.controller.router
        run = asyncio.get_running_loop().run_in_executor
        try:
            if ask.budget is not None:
                routing = await run(self._threads, self._mapped, ask.budget)
            decision = await run(self._threads, _decide, routing, ask.prompts)
        except BudgetError as error:
            raise ApiError(400, ascii_text(str(error)), "budget") from None
        except Exception as error:
            # after any error of the router, experts can still answer the request
            _log.error("the router failed: %s", ascii_text(repr(error)))
            expert = self._after((), "", ask.budget)[0]
            reason = "the router failed"
            decision = RoutingDecision(GENERAL, 0.0, 1.0, expert.name, expert.active, None, reason)
        return self._planned(ask, decision, name)

    def answered(self, plan: _Plan, name: str) -> None:
        """Record the expert that answered, for the budget and the rest of the conversation."""
        if plan.decision.category == _DIRECT:
            return
        expert = self._experts[name]
        if self.controller is not None and plan.held:
            first = self._experts[plan.experts[0]]
            self.controller.correct(expert.active - first.active)
        if plan.conversation:
            decision = replace(plan.decision, expert=name, active=expert.active)
            self._conversations.keep(plan.conversation, decision)

    def _planned(self, ask: Ask, decision: RoutingDecision, conversation: str) -> _Plan:
        try:
            order = self._order(decision.category, decision.expert, ask.budget)
        except Exception as error:
            _log.error("the router failed: %s", ascii_text(repr(error)))
            order = self._after((), decision.expert, ask.budget)
        experts = _able(order, ask)
        held = self.controller is not None and ask.budget is None
        if self.controller is not None and held:
            self.controller.spend(experts[0].active)
        return _Plan(decision, tuple(each.name for each in experts), conversation, held)

    def _map(self, budget: float) -> Routing:
        """Return the routing with the mapping of another budget of active parameters."""
        if not isinstance(self._routing, Router):
            return self._routing
        return self._routing.map(replace(self._routing.plan.budget, active=budget))

    def _ordered(self, category: str, chosen: str, budget: float | None) -> Sequence[Expert]:
        return self._after(self._ranking(category) if self._ranking else (), chosen, budget)

    def _after(self, ranked: Sequence[str], chosen: str, budget: float | None) -> Sequence[Expert]:
        """Return the experts to ask, in order."""
        order = fallback_order(self._settings, ranked, chosen)
        if self._settings.fallback is None:
            kept = math.inf if self.controller is None else self.controller.budget
            # the chosen expert may not be served: then nothing dearer than the budget stands for it
            own = self._experts[chosen].active if chosen in self._experts else 0.0
            order = self._affordable(order, max(own, kept if budget is None else budget))
        return [self._experts[each] for each in order]

    def _affordable(self, order: tuple[str, ...], allowed: float) -> tuple[str, ...]:
        """Move experts dearer than allowed to the end, cheapest first."""
        dear = [name for name in order if self._experts[name].active > allowed]
        dear.sort(key=lambda name: self._experts[name].active)
        return (*(name for name in order if name not in dear), *dear)


def _decide(routing: Routing, prompts: Sequence[str]) -> RoutingDecision:
    """Route the newest prompt of a conversation that has a category, else the newest one.

    A follow-up ("and in French?") alone has little content.
    """
    decision = routing.route(prompts[:1])[0]
    if decision.category == GENERAL and len(prompts) > 1:
        for earlier in routing.route(prompts[1:]):
            if earlier.category != GENERAL:
                return replace(earlier, reason=f"earlier in the conversation: {earlier.reason}")
    return decision


def _able(experts: Sequence[Expert], ask: Ask) -> Sequence[Expert]:
    """Return the experts that support the request, those with too short a context last.

    Raises ApiError (400) if no expert supports the tools or images of the request.
    """
    for what, wanted in (("tools", ask.tools), ("vision", ask.vision)):
        if wanted:
            experts = [each for each in experts if getattr(each, what)]
            if not experts:
                message = f"the request needs an expert with {what}, and none that is served has it"
                raise ApiError(400, message, f"no_{what}")
    if any(each.context for each in experts):
        size = ask.tokens
        experts = sorted(experts, key=lambda each: (each.context or size) < size)
    return experts


def fallback_order(settings: ServeSettings, ranked: Sequence[str], chosen: str) -> tuple[str, ...]:
    """Return the names of the experts to ask, in order; of all where that leaves none.

    The one chosen by the router comes first, unless it is not served, then those of the settings'
    ``fallback``, or without it all as ranked by the router for the prompt's category.
    """
    known = [each.name for each in settings.experts]
    rest = settings.fallback if settings.fallback is not None else (*ranked, *known)
    order = [name for name in dict.fromkeys((chosen, *rest)) if name in known]
    return tuple(order or known)
