"""Judge models against a baseline: every prompt, both orders, no call paid twice."""

import asyncio
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from micronas.errors import ConfigError, DataError
from micronas.judge.adaptive import NOT_CHOSEN, AdaptiveSettings, Known, stages
from micronas.judge.endpoint import EndpointSettings, JudgeEndpoint, Reply
from micronas.judge.manifest import Prompt
from micronas.judge.rows import Answer, Order, StoredPrompt, VerdictRow
from micronas.judge.rubric import Call, RubricSettings, ask, ask_again
from micronas.judge.store import Store, verdicts_of, writing
from micronas.judge.verdict import Verdict, parse
from micronas.language.endpoints import estimate_tokens
from micronas.settings import Settings, nearest

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
        The run stops before the call that would exceed it; everything paid for in the same store
        counts. Calls that may have been paid for without an answer are counted as the dearest.
    attempts
        How often a judge is asked until its verdict is readable. After that the verdict is
        invalid; a later run with more attempts goes on from there.
    expected_tokens
        Length of a judge's text, for the estimate before there is any.
    adaptive
        Judge models on chosen prompts only, rather than on all.
    """

    judge: EndpointSettings
    rubric: RubricSettings = RubricSettings()
    baseline: str
    models: list[str] = Field(default_factory=list)
    max_usd: float | None = Field(default=None, ge=0)
    attempts: int = Field(default=2, gt=0)
    expected_tokens: int = Field(default=500, gt=0)
    adaptive: AdaptiveSettings | None = None

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
    """

    wanted: int
    judged: int
    invalid: int
    calls: int
    lost: int
    usd: float
    stopped: bool


@dataclass(frozen=True)
class Estimate:
    """Expected cost of a run; ``usd_at_most`` is the price if every text had ``max_tokens``."""

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
    """Judge all models on all prompts; see `judge`, of which this is the blocking form."""
    return asyncio.run(judge(settings, prompts, answers, path, progress=progress))


async def judge(
    settings: JudgeSettings,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    path: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Judge all models on all prompts and store the verdicts.

    A run that was killed, or stopped by its budget or an error, goes on when it is started again.

    Parameters
    ----------
    path
        The store, an SQLite file; it is created if need be.
    progress
        Called with the number of finished verdicts and of all verdicts.

    Raises
    ------
    ConfigError
        If a model has no answers, or the endpoint refuses the request.
    DataError
        If an answer is missing, the store is in use, or the endpoint does not answer.
    """
    known, parts = _stages(settings, prompts, answers, path)
    total = 0
    with writing(path) as store:
        store.settle()
        models = _models(settings, answers)
        _set_aside(store, settings, [], models)
        store.put_prompts(StoredPrompt(p.id, p.text, p.category, p.language) for p in prompts)
        store.put_answers(answers)
        store.drop_verdicts(settings.judge.model, unless=settings.parameters())
        before = store.spending()
        async with JudgeEndpoint(settings.judge) as endpoint:
            judging = _Run(settings, store, endpoint)
            rows: list[VerdictRow] = []

            async def work(tasks: Iterator[_Task]) -> None:
                for task in tasks:
                    row = await judging.decide(task)
                    if row is not None:
                        rows.append(row)
                        known.add(row.prompt_id, row.model, row.outcome)
                        if progress:
                            progress(len(rows), total)

            for count, tasks in parts:
                total += count
                workers = [
                    asyncio.create_task(work(tasks)) for _ in range(settings.judge.concurrency)
                ]
                try:
                    await asyncio.gather(*workers)
                finally:
                    for worker in workers:
                        worker.cancel()
                    await asyncio.gather(*workers, return_exceptions=True)
                _set_aside(store, settings, rows if settings.adaptive else [], models)
                if judging.allowance.exhausted:
                    break
        after = store.spending()
    return Summary(
        wanted=total,
        judged=len(rows),
        invalid=sum(row.verdict is None for row in rows),
        calls=after.answered - before.answered,
        lost=after.lost - before.lost,
        usd=after.usd,
        stopped=judging.allowance.exhausted,
    )


def estimate(
    settings: JudgeSettings, prompts: Sequence[Prompt], answers: Sequence[Answer], path: Path
) -> Estimate:
    """Count the calls, tokens and price that a run would take, without any call.

    Verdicts whose texts the store holds cost nothing. Tokens are estimated from bytes, the judge's
    texts from those in the store; requests that fail and unreadable verdicts come on top.
    """
    known, parts = _stages(settings, prompts, answers, path)
    with writing(path) as store:
        expected = store.mean_completion() or float(settings.expected_tokens)
        verdicts = calls = prompt_tokens = 0
        seen: set[str] = set()
        for task in (task for _, tasks in parts for task in tasks):
            # were all models to lose, prompts would be looked at most often
            known.add(task.prompt.id, task.model, 0.0)
            verdicts += 1
            key = _key(settings, task.call)
            if key in seen or store.reply(key):
                continue
            seen.add(key)
            calls += 1
            prompt_tokens += _prompt_tokens(task.call)
    price = settings.judge.price
    return Estimate(
        verdicts=verdicts,
        calls=calls,
        prompt_tokens=prompt_tokens,
        completion_tokens=round(calls * expected),
        usd=price.usd(prompt_tokens, calls * expected),
        usd_at_most=price.usd(prompt_tokens, calls * settings.judge.max_tokens),
    )


class Allowance:
    """Money that calls in flight share.

    A call may leave if it fits at its worst price next to the worst price of all others in flight.
    If it does not, it waits; once it is alone it may leave if it fits at the dearest price seen,
    so that neither more than ``max_usd`` is spent (up to one call dearer than any before) nor a
    call's worth left over.
    """

    def __init__(self, max_usd: float | None, spent: float, dearest: float) -> None:
        self.limit = float("inf") if max_usd is None else max_usd * (1 + 1e-9)
        self.spent, self.dearest = spent, dearest
        self.exhausted = False
        self._reserved: list[float] = []
        self._changed = asyncio.Condition()

    async def admit(self, least: float, worst: float) -> bool:
        """Wait for a decision whether a call may leave; if so, `settle` must follow."""
        async with self._changed:
            while not self.exhausted:
                if self.spent + sum(self._reserved) + worst <= self.limit:
                    self._reserved.append(worst)
                    return True
                if not self._reserved:
                    if self.spent + max(self.dearest, least) <= self.limit:
                        self._reserved.append(worst)
                        return True
                    self.exhausted = True
                    self._changed.notify_all()
                    break
                await self._changed.wait()
            return False

    async def settle(self, worst: float, usd: float) -> None:
        """Replace a call's reservation by what it cost."""
        async with self._changed:
            self._reserved.remove(worst)
            self.spent += usd
            self.dearest = max(self.dearest, usd)
            self._changed.notify_all()


class _Run:
    def __init__(self, settings: JudgeSettings, store: Store, endpoint: JudgeEndpoint) -> None:
        spending = store.spending()
        self.allowance = Allowance(settings.max_usd, spending.usd, spending.dearest)
        self._settings, self._store, self._endpoint = settings, store, endpoint
        self._parameters = settings.parameters()
        # two models with the same answer are one question; it must not be asked twice at once
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def decide(self, task: _Task) -> VerdictRow | None:
        """Return one verdict, from the store where it is known; None if the budget is spent."""
        call, replies = task.call, list[Reply]()
        verdict: Verdict | None = None
        for _ in range(self._settings.attempts):
            reply = await self._reply(call)
            if reply is None:
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

    async def _reply(self, call: Call) -> Reply | None:
        key = _key(self._settings, call)
        async with self._asking[key]:
            reply = self._store.reply(key) or await self._pay(key, call)
        self._asking.pop(key, None)
        return reply

    async def _pay(self, key: str, call: Call) -> Reply | None:
        price = self._settings.judge.price
        least = price.usd(_prompt_tokens(call), 0)
        # no tokenizer makes more tokens than there are bytes
        worst = price.usd(4 * _prompt_tokens(call), self._settings.judge.max_tokens)
        tries = 0
        while await self.allowance.admit(least, worst):
            charged = max(least, self.allowance.dearest)
            attempt = self._store.send(key, charged)
            cost = charged
            try:
                answer = await self._endpoint.send(call.messages)
                if isinstance(answer, Reply):
                    cost = answer.usd
                    self._store.receive(attempt, answer)
                    return answer
                cost = charged if answer.perhaps_paid else 0.0
                self._store.lose(attempt, answer.reason, cost)
            except ConfigError as error:
                self._store.lose(attempt, str(error), 0.0)
                raise
            finally:
                await self.allowance.settle(worst, cost)
            await self._endpoint.pause(tries, answer)
            tries += 1
        return None


def _stages(
    settings: JudgeSettings, prompts: Sequence[Prompt], answers: Sequence[Answer], path: Path
) -> tuple[Known, Iterator[tuple[int, Iterator[_Task]]]]:
    """Return what is known of a run, and its stages: how many questions, and the questions.

    A stage begins where what is known holds the verdicts of those before. Questions come prompt by
    prompt: a budget then ends with whole prompts.
    """
    texts = {(answer.prompt_id, answer.model): answer.text for answer in answers}
    models = _models(settings, answers)
    for model in (settings.baseline, *models):
        missing = [prompt.id for prompt in prompts if (prompt.id, model) not in texts]
        if missing:
            raise DataError(
                f"every model needs an answer to every prompt, but {model!r} lacks {len(missing)}, "
                f"the first to {missing[0]!r}; add them or leave the model out"
            )
    earlier = verdicts_of(path) if settings.adaptive and path.is_file() else []
    known = Known([prompt.id for prompt in prompts], models, earlier)

    def cells() -> Iterator[list[tuple[int, int]]]:
        if settings.adaptive:
            yield from stages(settings.adaptive, known.won, known.others)
        else:
            yield [(row, model) for row in range(len(prompts)) for model in range(len(models))]

    each = (
        (2 * len(stage), _each(settings, [(prompts[p], models[m]) for p, m in stage], texts))
        for stage in cells()
    )
    return known, each


def _each(
    settings: JudgeSettings, cells: list[tuple[Prompt, str]], texts: dict[tuple[str, str], str]
) -> Iterator[_Task]:
    orders: tuple[Order, Order] = ("first", "second")
    for prompt, model in cells:
        pair = (texts[prompt.id, model], texts[prompt.id, settings.baseline])
        for order in orders:
            answer_a, answer_b = pair if order == "first" else pair[::-1]
            call = ask(
                settings.rubric,
                prompt=prompt.text,
                answer_a=answer_a,
                answer_b=answer_b,
                category=prompt.category,
                language=prompt.language,
            )
            yield _Task(prompt, model, order, call)


def _set_aside(
    store: Store, run: JudgeSettings, rows: Sequence[VerdictRow], models: Sequence[str]
) -> None:
    """Set aside the verdicts on prompts that not all models were judged on: they favour some."""
    where = "judge = ? AND baseline = ? AND model IN (SELECT value FROM json_each(?))"
    values = [run.judge.model, run.baseline, json.dumps([*models])]
    store.restore(f"reason = ? AND {where}", [NOT_CHOSEN, *values])
    judged = Counter(row.prompt_id for row in rows)
    incomplete = [prompt for prompt, count in judged.items() if count < 2 * len(models)]
    where += " AND prompt_id IN (SELECT value FROM json_each(?))"
    store.drop(NOT_CHOSEN, where, [*values, json.dumps(incomplete)])


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


def _prompt_tokens(call: Call) -> int:
    return sum(estimate_tokens(message["content"]) for message in call.messages)
