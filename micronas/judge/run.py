"""Judge models against a baseline on every prompt, in both orders, paying no call twice."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from pathlib import Path

from pydantic import Field

from micronas.errors import ConfigError, DataError
from micronas.judge.checks import check_names
from micronas.judge.endpoint import EndpointSettings, Messages, Reply
from micronas.judge.manifest import Prompt
from micronas.judge.paying import Payer, question_key
from micronas.judge.rows import Answer, Order, StoredPrompt, VerdictRow, won
from micronas.judge.rubric import Call, RubricSettings, ask, ask_again
from micronas.judge.store import Store, writing
from micronas.judge.verdict import Verdict, parse
from micronas.language.endpoints import BYTES_OF_TOKEN, estimate_tokens, required_key
from micronas.progress import Progress, nobody
from micronas.settings import Settings, nearest


class JudgeSettings(Settings):
    """Settings of a judge run."""

    judge: EndpointSettings
    """Endpoint of the judge."""
    rubric: RubricSettings = RubricSettings()
    """Rubric of the judge."""
    baseline: str
    """Model that all others are compared with."""
    models: list[str] = Field(default_factory=list)
    """Models to judge; by default all with answers."""
    answers: dict[str, EndpointSettings] = Field(default_factory=dict)
    """Endpoints, by model, that are asked for the missing answers of models to judge."""
    max_usd: float | None = Field(default=None, ge=0)
    """Limit at which the run stops, before the call that could exceed it at the largest cost
    possible (``judge.billed_tokens``) or seen; all costs of the same store count, with models'
    answers. Calls that may have been charged without an answer count as the dearest."""
    attempts: int = Field(default=2, gt=0)
    """Most requests until a verdict is readable. After them the verdict is invalid; a later run
    with more attempts continues."""
    expected_tokens: int = Field(default=500, gt=0)
    """Expected length of a judge's text or a model's answer, for estimates before there is any."""

    def parameters(self) -> str:
        """Return everything that a verdict depends on besides its messages, as JSON."""
        rubric = hashlib.sha256(self.rubric.model_dump_json().encode()).hexdigest()[:16]
        return json.dumps(
            {**self.judge.parameters(), "scale": self.rubric.scale, "rubric": rubric},
            sort_keys=True,
        )


@dataclass(frozen=True)
class Summary:
    """Result of a run."""

    wanted: int
    judged: int
    invalid: int
    """Number of invalid verdicts among the `judged` ones."""
    calls: int
    lost: int
    """Number of unanswered requests of this run; `calls` were answered."""
    usd: float
    """Total cost of the store."""
    stopped: bool
    """The budget ended the run."""
    refused: int = 0
    first_refusal: str = ""
    """Message on the first of the verdicts missing because an endpoint refuses their prompts, which
    `refused` counts; empty without any."""
    empty: int = 0
    """Number of models' answers without a text, which are judged as they are."""


@dataclass(frozen=True)
class _Estimate:
    """Expected cost of a run; ``usd_at_most`` is the price with every text at its longest."""

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


class _Work:
    """What a run asks: prompts, models to judge, and the answers so far by prompt and model.

    Raises ConfigError if a model has no answers, DataError if an answer is a duplicate, or missing
    for good.
    """

    def __init__(
        self, settings: JudgeSettings, prompts: Sequence[Prompt], answers: Sequence[Answer]
    ) -> None:
        # in an order of no meaning, so that what a budget pays for is a random part of the set
        self.settings, self.prompts = settings, sorted(prompts, key=lambda each: each.hash)
        check_names("a run", [settings.baseline, *settings.answers], answers)
        self.models = _models(settings, answers)
        self.texts: dict[tuple[str, str], str] = {}
        for answer in answers:
            if (answer.prompt_id, answer.model) in self.texts:
                raise DataError(
                    f"a model must have one answer to a prompt, but {answer.model!r} has two to "
                    f"{answer.prompt_id!r}; keep one"
                )
            self.texts[answer.prompt_id, answer.model] = answer.text
        if answers and not {each.id for each in prompts} & {each.prompt_id for each in answers}:
            raise DataError(
                f"answers must be to prompts of the set, but none is: theirs begin with "
                f"{answers[0].prompt_id!r}, those of the set with {prompts[0].id!r}"
            )
        for model in {settings.baseline, *self.models} - settings.answers.keys():
            missing = [each.id for each in prompts if (each.id, model) not in self.texts]
            if missing:
                raise DataError(
                    f"every model needs an answer to every prompt, but {model!r} lacks "
                    f"{len(missing)}, the first to {missing[0]!r}; add them or leave the model out"
                )

    def unanswered(self) -> list[tuple[str, Prompt]]:
        """Return the models to ask, each with a prompt that it has not answered."""
        return [
            (name, prompt)
            for name in self.settings.answers
            if name in (self.settings.baseline, *self.models)
            for prompt in self.prompts
            if (prompt.id, name) not in self.texts
        ]

    def pairs(self) -> list[tuple[Prompt, str]]:
        """Return what can be judged, prompt by prompt, as a budget may end."""
        return [
            (prompt, model)
            for prompt in self.prompts
            for model in self.models
            if {(prompt.id, self.settings.baseline), (prompt.id, model)} <= self.texts.keys()
        ]

    def tasks(self) -> Iterator[_Task]:
        """Yield the verdicts to ask for."""
        orders: tuple[Order, Order] = ("first", "second")
        for (prompt, model), order in product(self.pairs(), orders):
            both = (self.texts[prompt.id, model], self.texts[prompt.id, self.settings.baseline])
            answer_a, answer_b = both if order == "first" else both[::-1]
            call = ask(
                self.settings.rubric,
                prompt=prompt.text,
                answer_a=answer_a,
                answer_b=answer_b,
                category=prompt.category,
                language=prompt.language,
            )
            yield _Task(prompt, model, order, call)


def run(
    settings: JudgeSettings,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    path: Path,
    *,
    progress: Progress = nobody,
) -> Summary:
    """Judge all models on all prompts and store the verdicts.

    A run that was killed, or stopped by its budget or an error, resumes when started again. After
    an error no further call is sent, and answers to those in flight are awaited. A prompt that an
    endpoint refuses has no verdict.

    Parameters
    ----------
    path
        Store, an SQLite file, created if needed.
    progress
        Called with the number of finished answers, or verdicts, and of all of them.

    Raises
    ------
    ConfigError
        If a model has no answers, or an endpoint refuses every request.
    DataError
        If an answer is missing, an endpoint does not answer, or the store cannot be written.
    """
    return asyncio.run(_run(_Work(settings, prompts, answers), answers, path, progress))


async def _run(work: _Work, answers: Sequence[Answer], path: Path, progress: Progress) -> Summary:
    settings, prompts = work.settings, work.prompts
    for each in (settings.judge, *settings.answers.values()):
        required_key(each.key_variable, of=repr(each.model))
    with writing(path) as store:
        store.settle()
        store.put_prompts(StoredPrompt(p.id, p.text, p.category, p.language) for p in prompts)
        store.put_answers(answers)
        store.drop_verdicts(settings.judge.model, unless=settings.parameters())
        before = store.spending()
        refusals, spent = await _ask_models(work, store, progress)
        known = store.has_verdicts(settings.judge.model)
        judge = Payer(settings.judge, store, settings.max_usd, answers=known)
        judge.allowance.exhausted = spent
        wanted = 2 * len(prompts) * len(work.models)
        rows: list[VerdictRow] = []

        async def decide(task: _Task) -> None:
            row = await _verdict(settings, task, judge)
            if row is not None:
                store.put_verdicts([row])
                rows.append(row)
                progress("verdicts", len(rows), wanted, {})

        await judge.work(decide(task) for task in work.tasks())
        after = store.spending()
    refusals += judge.refusals
    unanswered = 0 if spent else wanted - 2 * len(work.pairs())
    return Summary(
        wanted=wanted,
        judged=len(rows),
        invalid=sum(row.verdict is None for row in rows),
        calls=after.answered - before.answered,
        lost=after.lost - before.lost,
        usd=after.usd,
        stopped=judge.allowance.exhausted,
        refused=len(judge.refusals) + unanswered,
        first_refusal=refusals[0] if refusals else "",
        empty=sum(
            not work.texts.get((prompt.id, model), "without an answer").strip()
            for prompt in prompts
            for model in (settings.baseline, *work.models)
        ),
    )


def estimate(
    settings: JudgeSettings, prompts: Sequence[Prompt], answers: Sequence[Answer], path: Path
) -> _Estimate:
    """Estimate the calls, tokens and price of a run, without any call.

    Verdicts and answers with texts in the store cost nothing. Tokens are estimated from bytes,
    those of future texts from the store's. Failed requests and unreadable verdicts are left out.
    """
    with writing(path) as store:
        expected = store.mean_completion() or float(settings.expected_tokens)
        likely, longest = (
            _estimate(_Work(settings, prompts, answers), store, length)
            for length in (expected, inf)
        )
    return replace(likely, usd_at_most=longest.usd)


def _estimate(work: _Work, store: Store, length: float) -> _Estimate:
    """Estimate a run whose texts take `length` tokens, or the most that their endpoint allows."""
    calls = dict[str, tuple[int, float, float]]()

    def known(endpoint: EndpointSettings, messages: Messages, purpose: str) -> Reply | None:
        key = question_key(endpoint, messages, purpose)
        reply = store.reply(key)
        if reply is None:
            asked = sum(estimate_tokens(each["content"]) for each in messages)
            said = min(length, endpoint.most_tokens)
            calls[key] = asked, said, endpoint.price.usd(asked, said)
        return reply

    for name, prompt in work.unanswered():
        endpoint = work.settings.answers[name]
        reply = known(endpoint, _question(prompt), _purpose(name))
        made_up = name.ljust(round(BYTES_OF_TOKEN * min(length, endpoint.longest)), ".")
        work.texts[prompt.id, name] = reply.text if reply else made_up
    for task in work.tasks():
        known(work.settings.judge, task.call.messages, "")
    asked, said, usd = (sum(each[part] for each in calls.values()) for part in range(3))
    return _Estimate(2 * len(work.pairs()), len(calls), round(asked), round(said), usd, usd)


async def _ask_models(work: _Work, store: Store, progress: Progress) -> tuple[list[str], bool]:
    """Ask models for missing answers; add them to the texts and the store.

    Returned are refusals of endpoints, and whether the budget did not suffice for all answers.
    """
    settings, lacking = work.settings, work.unanswered()
    found: list[Answer] = []
    refusals: list[str] = []
    for name, endpoint in settings.answers.items():
        payer = Payer(endpoint, store, settings.max_usd, purpose=_purpose(name))

        async def answer(name: str, prompt: Prompt, payer: Payer = payer) -> None:
            reply = await payer.reply(_question(prompt), f"{name} on {prompt.id}")
            if reply is not None:
                found.append(Answer(prompt.id, name, reply.text, reply.completion_tokens))
                progress("answers", len(found), len(lacking), {})

        await payer.work(answer(*each) for each in lacking if each[0] == name)
        refusals += payer.refusals
        if payer.allowance.exhausted:
            break
    work.texts |= {(each.prompt_id, each.model): each.text for each in found}
    store.put_answers(found)
    return refusals, len(found) + len(refusals) < len(lacking)


async def _verdict(settings: JudgeSettings, task: _Task, judge: Payer) -> VerdictRow | None:
    """Return one verdict, or None if the budget is spent or the endpoint refuses the prompt."""
    call, replies = task.call, list[Reply]()
    verdict: Verdict | None = None
    for _ in range(settings.attempts):
        reply = await judge.reply(call.messages, task.prompt.id)
        if reply is None:
            return None
        replies.append(reply)
        verdict = parse(reply.text, settings.rubric.scale, tag=call.tag, planted=call.planted)
        if verdict:
            break
        call = ask_again(settings.rubric, call, reply.text)
    winner = verdict.winner if verdict else None
    return VerdictRow(
        prompt_id=task.prompt.id,
        model=task.model,
        baseline=settings.baseline,
        order=task.order,
        judge=settings.judge.model,
        verdict=winner,
        outcome=won(winner, task.order),
        strength=verdict.strength if verdict else 1,
        raw=replies[-1].text,
        prompt_hash=task.call.hash,
        parameters=settings.parameters(),
        prompt_tokens=sum(reply.prompt_tokens for reply in replies),
        completion_tokens=sum(reply.completion_tokens for reply in replies),
        usd=sum(reply.usd for reply in replies),
        attempts=len(replies),
    )


def _models(settings: JudgeSettings, answers: Sequence[Answer]) -> list[str]:
    known = sorted({*settings.answers, *(answer.model for answer in answers)})
    if settings.baseline not in known:
        hint = nearest(settings.baseline, known) if known else "give answers"
        raise ConfigError(f"the baseline {settings.baseline!r} has no answers; {hint}")
    for model in settings.models:
        if model not in known:
            raise ConfigError(f"model {model!r} has no answers; {nearest(model, known)}")
    wanted = [each for each in dict.fromkeys(settings.models or known) if each != settings.baseline]
    if not wanted:
        alone = f"{settings.baseline!r} is the only one"
        raise ConfigError(f"a run compares models with the baseline, but {alone}; add answers")
    return wanted


def _question(prompt: Prompt) -> Messages:
    return [{"role": "user", "content": prompt.text}]


def _purpose(model: str) -> str:
    """Return the prefix of the keys of a model's answers; keys of verdicts have none."""
    return f"answer of {model}: "
