"""Ask an endpoint within a limit of money, and pay for no question twice."""

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from typing import Any

from micronas.errors import ConfigError
from micronas.judge.allowance import Allowance
from micronas.judge.endpoint import EndpointSettings, JudgeEndpoint, Lost, Messages, Reply
from micronas.judge.rubric import messages_hash
from micronas.judge.store import Store

_REFUSALS = 10
"""Prompts refused, and none answered, after which it is the settings that are refused."""


def question_key(settings: EndpointSettings, messages: Messages, purpose: str = "") -> str:
    """Return the key under which a store has the answer to a question."""
    text = json.dumps([settings.parameters(), messages_hash(messages)], sort_keys=True)
    return purpose + hashlib.sha256(text.encode()).hexdigest()


class Payer:
    """Questions to one endpoint; a store keeps their answers and what they cost.

    Parameters
    ----------
    max_usd
        Limit of US dollars on all that the store has paid for, or None.
    purpose
        Begins the keys of these questions; calls are as dear as others of the same purpose.
    answers
        Whether the endpoint is known to answer, so that a refusal is about its prompt alone.

    Attributes
    ----------
    refusals
        Names of the questions that the endpoint refuses, each with what it says.
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
        # two models with the same answer are one question; it must not be asked twice at once
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def work(self, jobs: Iterator[Coroutine[Any, Any, None]]) -> None:
        """Do jobs, as many at a time as the endpoint may have calls.

        If one fails, no other begins, and those whose call is paid for are waited for.
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
        """Return the answer to a question, from the store where it is known.

        None if the budget is spent, or the endpoint refuses the question.

        Raises
        ------
        ConfigError
            If the endpoint refuses all that it is asked.
        DataError
            If it does not answer, or the store cannot be written.
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
        """Raise ConfigError if the endpoint has refused so many questions and answered none."""
        if len(self.refusals) >= patience and not self._answers:
            raise self._endpoint.misconfigured(self.refusals[0])

    def _refused(self, key: str) -> Lost | None:
        """Return a refusal that still stands, at an endpoint that answers others."""
        reason = self._store.refusal(key) if self._answers else None
        return None if reason is None else Lost(reason, perhaps_paid=False, refused=True)

    async def _pay(self, key: str, messages: Messages) -> Reply | Lost | None:
        """Return an answer, or the refusal of one; None if there is no money for it."""
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
