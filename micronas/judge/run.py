"""Judge models against a baseline: every prompt, both orders, no call paid twice."""

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pydantic import Field

from micronas.errors import ConfigError, DataError
from micronas.judge.allowance import Allowance
from micronas.judge.endpoint import EndpointSettings, JudgeEndpoint, Lost, Reply
from micronas.judge.manifest import Prompt
from micronas.judge.rows import Answer, Order, StoredPrompt, VerdictRow
from micronas.judge.rubric import Call, RubricSettings, ask, ask_again
from micronas.judge.store import Store, writing
from micronas.judge.verdict import Verdict, parse
from micronas.language.endpoints import estimate_tokens
from micronas.settings import Settings, nearest

_REFUSALS = 10
"""Prompts refused, and none answered, after which it is the settings that are refused."""
_OUTCOME = {("A", "first"): 1.0, ("B", "first"): 0.0, ("A", "second"): 0.0, ("B", "second"): 1.0}


class JudgeSettings(Settings):
    """A judge run.

    Attributes
    ----------
    judge, rubric
        Who judges, and by what.
    baseline
        The model that all others are compared with.
    models
        The models to judge; by default all that have answers.
    max_usd
        The run stops before the call that could exceed it at the most that a call may cost
        (``judge.billed_tokens``) or has cost; everything paid for in the same store counts. Calls
        that may have been paid for without an answer are counted as the dearest.
    attempts
        How often a judge is asked until its verdict is readable. After that the verdict is
        invalid; a later run with more attempts goes on from there.
    expected_tokens
        Length of a judge's text, for the estimate before there is any.
    """

    judge: EndpointSettings
    rubric: RubricSettings = RubricSettings()
    baseline: str
    models: list[str] = Field(default_factory=list)
    max_usd: float | None = Field(default=None, ge=0)
    attempts: int = Field(default=2, gt=0)
    expected_tokens: int = Field(default=500, gt=0)

    def parameters(self) -> str:
        """Return everything a verdict depends on besides its messages, as JSON."""
        rubric = hashlib.sha256(self.rubric.model_dump_json().encode()).hexdigest()[:16]
        return json.dumps(
            {**self.judge.parameters(), "scale": self.rubric.scale, "rubric": rubric},
            sort_keys=True,
        )


@dataclass(frozen=True)
class Summary:
    """Result of a run.

    Attributes
    ----------
    wanted, judged, invalid
        Verdicts the settings ask for, those that are there, and those of them without a label.
    calls, lost
        Requests of this run that were answered, and those that were not.
    usd
        What the store has cost in all.
    stopped
        Whether the budget ended the run.
    refused, first_refusal
        Verdicts that are missing because the endpoint refuses their prompts, and what it said of
        the first; empty if there is none.
    """

    wanted: int
    judged: int
    invalid: int
    calls: int
    lost: int
    usd: float
    stopped: bool
    refused: int = 0
    first_refusal: str = ""


@dataclass(frozen=True)
class _Estimate:
    """Expected cost of a run; ``usd_at_most`` is the price if every text were as long as can be."""

    verdicts: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    usd_at_most: float


@dataclass(frozen=True)
class _Task:
    prompt: Prompt
    model: str
    order: Order
    call: Call


def run(
    settings: JudgeSettings,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    path: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Judge all models on all prompts; see `_judge`, of which this is the blocking form."""
    return asyncio.run(_judge(settings, prompts, answers, path, progress=progress))


async def _judge(
    settings: JudgeSettings,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    path: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Judge all models on all prompts and store the verdicts.

    A run that was killed, or stopped by its budget or an error, goes on when it is started again.
    After an error no call leaves any more, and the answers to those in flight are waited for. A
    prompt that the endpoint refuses is a missing verdict.

    Parameters
    ----------
    path
        The store, an SQLite file; it is created if need be.
    progress
        Called with the number of finished verdicts and of all verdicts.

    Raises
    ------
    ConfigError
        If a model has no answers, or the endpoint refuses every request.
    DataError
        If an answer is missing, the endpoint does not answer, or the store cannot be written.
    """
    wanted, tasks = _tasks(settings, prompts, answers)
    with writing(path) as store:
        store.settle()
        store.put_prompts(StoredPrompt(p.id, p.text, p.category, p.language) for p in prompts)
        store.put_answers(answers)
        store.drop_verdicts(settings.judge.model, unless=settings.parameters())
        before = store.spending()
        async with JudgeEndpoint(settings.judge) as endpoint:
            judging = _Run(settings, store, endpoint)
            rows: list[VerdictRow] = []

            async def work() -> None:
                for task in tasks:
                    row = await judging.decide(task)
                    if row is not None:
                        rows.append(row)
                        if progress:
                            progress(len(rows), wanted)

            await judging.all_of(
                asyncio.create_task(work()) for _ in range(settings.judge.concurrency)
            )
            judging.check_refusals()
        after = store.spending()
    return Summary(
        wanted=wanted,
        judged=len(rows),
        invalid=sum(row.verdict is None for row in rows),
        calls=after.answered - before.answered,
        lost=after.lost - before.lost,
        usd=after.usd,
        stopped=judging.allowance.exhausted,
        refused=len(judging.refusals),
        first_refusal=judging.refusals[0] if judging.refusals else "",
    )


def estimate(
    settings: JudgeSettings, prompts: Sequence[Prompt], answers: Sequence[Answer], path: Path
) -> _Estimate:
    """Count the calls, tokens and price that a run would take, without any call.

    Verdicts whose texts the store holds cost nothing. Tokens are estimated from bytes, the judge's
    texts from those in the store; requests that fail and unreadable verdicts come on top.
    """
    verdicts, tasks = _tasks(settings, prompts, answers)
    with writing(path) as store:
        expected = store.mean_completion() or float(settings.expected_tokens)
        calls = prompt_tokens = 0
        seen: set[str] = set()
        for task in tasks:
            key = _key(settings, task.call)
            if key in seen or store.reply(key):
                continue
            seen.add(key)
            calls += 1
            prompt_tokens += sum(estimate_tokens(each["content"]) for each in task.call.messages)
    price = settings.judge.price
    return _Estimate(
        verdicts=verdicts,
        calls=calls,
        prompt_tokens=prompt_tokens,
        completion_tokens=round(calls * expected),
        usd=price.usd(prompt_tokens, calls * expected),
        usd_at_most=price.usd(prompt_tokens, calls * settings.judge.most_tokens),
    )


class _Run:
    def __init__(self, settings: JudgeSettings, store: Store, endpoint: JudgeEndpoint) -> None:
        spending = store.spending()
        self.allowance = Allowance(
            settings.max_usd, spending.usd, spending.dearest, seen=spending.answered > 0
        )
        self.refusals: list[str] = []
        self._answers = store.has_verdicts(settings.judge.model)
        self._flying: set[asyncio.Task[None] | None] = set()
        self._settings, self._store, self._endpoint = settings, store, endpoint
        self._parameters = settings.parameters()
        # two models with the same answer are one question; it must not be asked twice at once
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def all_of(self, workers: Iterable[asyncio.Task[None]]) -> None:
        """Wait for workers; if one fails, for no more than the answers that are paid for."""
        working = set(workers)
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

    def check_refusals(self, patience: int = 1) -> None:
        """Raise ConfigError if the endpoint has refused so many prompts and answered none."""
        if len(self.refusals) >= patience and not self._answers:
            raise self._endpoint.misconfigured(self.refusals[0])

    async def decide(self, task: _Task) -> VerdictRow | None:
        """Return one verdict, from the store where it is known.

        None if the budget is spent, or the endpoint refuses the prompt.
        """
        call, replies = task.call, list[Reply]()
        verdict: Verdict | None = None
        for _ in range(self._settings.attempts):
            reply = await self._reply(call)
            if isinstance(reply, Lost):
                self.refusals.append(f"{task.prompt.id}: {reply.reason}")
                self.check_refusals(_REFUSALS)
            if not isinstance(reply, Reply):
                return None
            replies.append(reply)
            scale = self._settings.rubric.scale
            verdict = parse(reply.text, scale, tag=call.tag, planted=call.planted)
            if verdict:
                break
            call = ask_again(self._settings.rubric, call, reply.text)
        outcome = _OUTCOME.get((verdict.winner, task.order), 0.5) if verdict else None
        row = VerdictRow(
            prompt_id=task.prompt.id,
            model=task.model,
            baseline=self._settings.baseline,
            order=task.order,
            judge=self._settings.judge.model,
            verdict=verdict.winner if verdict else None,
            outcome=outcome,
            strength=verdict.strength if verdict else 1,
            raw=replies[-1].text,
            prompt_hash=task.call.hash,
            parameters=self._parameters,
            prompt_tokens=sum(reply.prompt_tokens for reply in replies),
            completion_tokens=sum(reply.completion_tokens for reply in replies),
            usd=sum(reply.usd for reply in replies),
            attempts=len(replies),
        )
        self._store.put_verdicts([row])
        return row

    async def _reply(self, call: Call) -> Reply | Lost | None:
        key = _key(self._settings, call)
        async with self._asking[key]:
            reply = self._store.reply(key) or self._refused(key) or await self._pay(key, call)
        self._asking.pop(key, None)
        return reply

    def _refused(self, key: str) -> Lost | None:
        """Return a refusal that still stands, at an endpoint that answers others."""
        reason = self._store.refusal(key) if self._answers else None
        return None if reason is None else Lost(reason, perhaps_paid=False, refused=True)

    async def _pay(self, key: str, call: Call) -> Reply | Lost | None:
        """Return an answer, or the refusal of one; None if there is no money for it."""
        judge, me = self._settings.judge, asyncio.current_task()
        worst, tries = judge.most_usd(call.messages), 0
        while await self.allowance.admit(worst):
            charged = max(judge.least_usd(call.messages), self.allowance.dearest)
            cost, answer = 0.0, None
            try:
                attempt = self._store.send(key, charged)
                cost = charged
                self._flying.add(me)
                answer = await self._endpoint.send(call.messages)
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


def _tasks(
    settings: JudgeSettings, prompts: Sequence[Prompt], answers: Sequence[Answer]
) -> tuple[int, Iterator[_Task]]:
    """Return the number of questions, and the questions prompt by prompt, as a budget ends them."""
    texts: dict[tuple[str, str], str] = {}
    for answer in answers:
        if (answer.prompt_id, answer.model) in texts:
            raise DataError(
                f"a model must have one answer to a prompt, but {answer.model!r} has two to "
                f"{answer.prompt_id!r}; keep one"
            )
        texts[answer.prompt_id, answer.model] = answer.text
    models = _models(settings, answers)
    for model in (settings.baseline, *models):
        missing = [prompt.id for prompt in prompts if (prompt.id, model) not in texts]
        if missing:
            raise DataError(
                f"every model needs an answer to every prompt, but {model!r} lacks {len(missing)}, "
                f"the first to {missing[0]!r}; add them or leave the model out"
            )

    def call(prompt: Prompt, model: str, order: Order) -> Call:
        pair = (texts[prompt.id, model], texts[prompt.id, settings.baseline])
        answer_a, answer_b = pair if order == "first" else pair[::-1]
        return ask(
            settings.rubric,
            prompt=prompt.text,
            answer_a=answer_a,
            answer_b=answer_b,
            category=prompt.category,
            language=prompt.language,
        )

    orders: tuple[Order, Order] = ("first", "second")
    asked = product(prompts, models, orders)
    return 2 * len(prompts) * len(models), (_Task(*each, call(*each)) for each in asked)


def _models(settings: JudgeSettings, answers: Sequence[Answer]) -> list[str]:
    known = sorted({answer.model for answer in answers})
    if settings.baseline not in known:
        hint = nearest(settings.baseline, known) if known else "give answers"
        raise ConfigError(f"the baseline {settings.baseline!r} has no answers; {hint}")
    for model in settings.models:
        if model not in known:
            raise ConfigError(f"model {model!r} has no answers; {nearest(model, known)}")
    return [model for model in settings.models or known if model != settings.baseline]


def _key(settings: JudgeSettings, call: Call) -> str:
    text = json.dumps([settings.judge.parameters(), call.hash], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
