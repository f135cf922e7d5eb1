"""Ask an endpoint within a budget, paying for no question twice."""

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from typing import Any

from micronas.errors import ConfigError
from micronas.judge.endpoint import EndpointSettings, JudgeEndpoint, Lost, Messages, Reply
from micronas.judge.rubric import messages_hash
from micronas.judge.store import Store

_REFUSALS = 10
"""Number of refused prompts, with none answered, after which the settings are at fault."""


class Allowance:
    """A limit of money from which calls reserve before they are sent.

    Each call in flight reserves its largest cost by the settings, or the dearest cost seen if that
    is more; a call is sent only if all reservations fit. Only the first calls that cost more than
    the settings say can then exceed the limit. Before the first answer one call goes alone, so that
    an endpoint of unknown cost can exceed the limit only once. All are US dollars; the cost is
    known once a call has been answered (`seen`).
    """

    def __init__(self, max_usd: float | None, spent: float, dearest: float, *, seen: bool) -> None:
        self.limit = float("inf") if max_usd is None else max_usd * (1 + 1e-9)
        self.spent, self.dearest = spent, dearest
        self.exhausted = False
        self._seen = seen or max_usd is None
        self._reserved: list[float] = []
        self._changed = asyncio.Condition()

    async def admit(self, worst: float) -> bool:
        """Wait until it is decided whether a call may be sent; if so, `settle` must follow.

        Its largest cost by its settings is `worst` US dollars.
        """
        async with self._changed:
            while not self.exhausted:
                held = sum(max(each, self.dearest) for each in (*self._reserved, worst))
                if self.spent + held <= self.limit and (self._seen or not self._reserved):
                    self._reserved.append(worst)
                    return True
                if not self._reserved:
                    self.exhausted = True
                    self._changed.notify_all()
                    break
                await self._changed.wait()
            return False

    async def settle(self, worst: float, usd: float, *, answered: bool) -> None:
        """Replace a call's reservation by its cost."""
        async with self._changed:
            self._reserved.remove(worst)
            self.spent += usd
            self.dearest = max(self.dearest, usd)
            self._seen |= answered
            self._changed.notify_all()


def question_key(settings: EndpointSettings, messages: Messages, purpose: str = "") -> str:
    """Return the key of the answer to a question in a store."""
    text = json.dumps([settings.parameters(), messages_hash(messages)], sort_keys=True)
    return purpose + hashlib.sha256(text.encode()).hexdigest()


class Payer:
    """Questions to one endpoint; a store keeps their answers and costs.

    All costs of the store count for `max_usd`. The keys of these questions begin with `purpose`,
    and costs are estimated from calls of the same purpose. Where the endpoint has answered before
    (`answers`), a refusal concerns its prompt only; `refusals` name the refused questions with
    reasons.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        store: Store,
        max_usd: float | None,
        *,
        purpose: str = "",
        answers: bool | None = None,
    ) -> None:
        own = store.spending(purpose)
        known = own.answered > 0
        self.allowance = Allowance(max_usd, store.spending().usd, own.dearest, seen=known)
        self.refusals: list[str] = []
        self._answers = known if answers is None else answers
        self._flying: set[asyncio.Task[Any] | None] = set()
        self._settings, self._store, self._purpose = settings, store, purpose
        self._endpoint = JudgeEndpoint(settings)
        # two models with the same answer share one question, which must not be sent twice at once
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def work(self, jobs: Iterator[Coroutine[Any, Any, None]]) -> None:
        """Run jobs, as many at a time as the endpoint allows calls.

        After a failure no job starts, and only those with a call in flight are awaited.
        """

        async def some() -> None:
            for job in jobs:
                await job

        async with self._endpoint:
            working = {asyncio.create_task(some()) for _ in range(self._settings.concurrency)}
            try:
                done, left = await asyncio.wait(working, return_when=asyncio.FIRST_EXCEPTION)
                if left:
                    self.allowance.exhausted = True
                    for worker in left - self._flying:
                        worker.cancel()
                    await asyncio.wait(left)
            finally:
                for worker in working:
                    worker.cancel()
                await asyncio.gather(*working, return_exceptions=True)
        for worker in done:
            worker.result()
        self._check_refusals(1)

    async def reply(self, messages: Messages, name: str) -> Reply | None:
        """Return the answer to a question, from the store if possible.

        It is None if the budget is spent, or the endpoint refuses the question.

        Raises ConfigError if the endpoint refuses every question; DataError if it does not answer,
        or the store cannot be written.
        """
        key = question_key(self._settings, messages, self._purpose)
        async with self._asking[key]:
            found = self._store.reply(key) or self._refused(key) or await self._pay(key, messages)
        self._asking.pop(key, None)
        if isinstance(found, Lost):
            self.refusals.append(f"{name}: {found.reason}")
            self._check_refusals(_REFUSALS)
            return None
        return found

    def _check_refusals(self, patience: int) -> None:
        """Raise ConfigError if the endpoint has refused `patience` questions and answered none."""
        if len(self.refusals) >= patience and not self._answers:
            raise self._endpoint.misconfigured(self.refusals[0])

    def _refused(self, key: str) -> Lost | None:
        """Return a recent refusal by an endpoint that answers other questions, or None."""
        reason = self._store.refusal(key) if self._answers else None
        return None if reason is None else Lost(reason, perhaps_paid=False, refused=True)

    async def _pay(self, key: str, messages: Messages) -> Reply | Lost | None:
        """Return an answer, or its refusal; None if the budget is spent."""
        settings, me = self._settings, asyncio.current_task()
        worst, tries = settings.most_usd(messages), 0
        while await self.allowance.admit(worst):
            charged = max(settings.least_usd(messages), self.allowance.dearest)
            cost, answer = 0.0, None
            try:
                attempt = self._store.send(key, charged)
                cost = charged
                self._flying.add(me)
                answer = await self._endpoint.send(messages)
                if isinstance(answer, Reply):
                    self._answers, cost = True, answer.usd
                    self._store.receive(attempt, key, answer)
                    return answer
                cost = charged if answer.perhaps_paid else 0.0
                self._store.lose(attempt, answer.reason, cost, refused=answer.refused)
            except ConfigError as error:
                cost = 0.0
                self._store.lose(attempt, str(error), cost)
                raise
            finally:
                self._flying.discard(me)
                await self.allowance.settle(worst, cost, answered=isinstance(answer, Reply))
            if answer.refused:
                return answer
            if not self.allowance.exhausted:
                await self._endpoint.pause(tries, answer)
            tries += 1
        return None
