"""Which prompt and model to judge next, so that a ranking takes fewer calls.

Most prompts of a pool separate nobody: all models win there, or none. Where other models were
judged on it, their verdicts choose the prompts. Otherwise each prompt is judged for a model or two
first, the half that is nearest to even is left, and models are judged on what remains: first all
alike, then those most whose neighbours in the ranking are near. Where the first look shows that an
average prompt tells nearly as much as the best, nothing is chosen. The models that look at a prompt
first are drawn anew for each, so that no model gains by having been lucky there. Rates come from
all these verdicts together, by `micronas.judge.response`.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from pydantic import Field
from scipy.special import expit, logit
from scipy.stats import norm

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.judge.battles import Indices
from micronas.judge.choose import Outcomes, discriminating
from micronas.judge.response import expected, respond
from micronas.judge.rows import VerdictRow
from micronas.settings import Settings

NOT_CHOSEN = "adaptive: the prompt was not chosen"
_JUDGED = 0.9
"""Least share of prompts with verdicts on other models for these to choose."""
_PAYS = 0.6
"""Share of what the best prompt could tell; where an average one tells more, looks do not pay."""
_ANCHOR = 4
"""Prompts to choose for each one that is drawn at random: these hold the rates to the pool."""
_WIDER = 1.25
"""Prompts that the most contested models may be judged on, for each one to choose."""
_STAGES, _ALIKE = 4, 0.5
"""Stages of the calls on chosen prompts, and the share of the first, in which all are alike."""


class AdaptiveSettings(Settings):
    """Judging models on the prompts that tell them apart, and few on the rest.

    Attributes
    ----------
    prompts
        Chosen prompts that a model is judged on, in the mean.
    pilot
        Prompts on which all models are judged first, to know how strong they are; a quarter of
        ``prompts`` if that is more.
    candidates
        Prompts that are looked at for each one that is chosen.
    looks
        Models that are judged on a candidate in turn before it is chosen; each halves them.
    seed
        Seed of the order of prompts and of who is judged first.
    """

    prompts: int = Field(gt=0)
    pilot: int = Field(default=10, gt=0)
    candidates: int = Field(default=6, gt=0)
    looks: int = Field(default=3, ge=0)
    seed: int = Field(default=0, ge=0)


class Known:
    """Outcomes of a run so far, beside those of other models that the store holds.

    Parameters
    ----------
    earlier
        Verdicts of the store; those of the run's own models are read as they come.
    """

    def __init__(
        self, prompts: Sequence[str], models: Sequence[str], earlier: Sequence[VerdictRow] = ()
    ) -> None:
        self._prompts = {name: row for row, name in enumerate(prompts)}
        self._models = {name: column for column, name in enumerate(models)}
        self._sum = np.zeros((len(prompts), len(models)))
        self._count = np.zeros_like(self._sum)
        try:
            self.others = Outcomes.of(earlier, models).on(prompts).won
        except DataError:
            self.others = np.empty((len(prompts), 0))

    def add(self, prompt: str, model: str, outcome: float | None) -> None:
        """Take in a verdict; one without a label says as little as a tie."""
        place = self._prompts[prompt], self._models[model]
        self._sum[place] += 0.5 if outcome is None else outcome
        self._count[place] += 1

    def won(self) -> Floats:
        """Return the outcomes of the run's models [prompts, models], NaN where there is none."""
        gaps = self._count == 0
        return np.where(gaps, np.nan, self._sum / np.where(gaps, 1, self._count))


def stages(
    settings: AdaptiveSettings, known: Callable[[], Floats], others: Floats
) -> Iterator[list[tuple[int, int]]]:
    """Yield what to judge next, as pairs of a prompt and a model.

    Parameters
    ----------
    known
        Returns the outcomes so far [prompts, models]; NaN where nobody judged.
    others
        Outcomes of other models [prompts, others].
    """
    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(len(others))
    models = known().shape[1]
    judged = (~np.isnan(others)).any(axis=1)
    if others.shape[1] > 1 and judged.mean() >= _JUDGED:
        quota = np.array([settings.prompts])
        chosen = order[discriminating(expected(others)[order], np.zeros_like(order), quota)]
        yield [(int(prompt), model) for prompt in chosen for model in range(models)]
        return
    pilot, rest = np.split(order, [max(settings.pilot, settings.prompts // _ANCHOR)])
    yield [(int(prompt), model) for prompt in pilot for model in range(models)]
    wide = round(_WIDER * settings.prompts)
    left = rest[: settings.candidates * settings.prompts]
    for number in range(settings.looks):
        # the first of them show whether to look at more
        for part in (left[:wide], left[wide:]) if number == 0 else (left,):
            yield _looks(known(), part, rng)
            if number == 0 and _alike(respond(known()).chance[left]):
                yield from _contests(known, rest, settings.prompts)
                return
        left = _telling(known(), left, max(wide, len(left) // 2))
    left = rng.permutation(_telling(known(), left, wide))
    yield from _contests(known, left, settings.prompts)


def _contests(
    known: Callable[[], Floats], prompts: Indices, size: int
) -> Iterator[list[tuple[int, int]]]:
    """Spend what judging all models on the first so many prompts takes, on who needs it."""
    budget = int(np.isnan(known()[prompts[:size]]).sum())
    for number in range(_STAGES):
        won = known()
        seen = ~np.isnan(won[prompts])
        share = _ALIKE if number == 0 else 1 / (_STAGES - number)
        need = np.ones(won.shape[1]) if number == 0 else _contested(won)
        count, calls = seen.sum(axis=0), round(share * budget)
        for _ in range(calls):
            after = np.where(count < len(prompts), (count + 1) / need, np.inf)
            count[after.argmin()] += 1
        fresh = ~seen & (np.cumsum(~seen, axis=0) <= count - seen.sum(axis=0))
        budget -= calls
        yield [(int(prompts[row]), int(model)) for row, model in np.argwhere(fresh)]


def _contested(won: Floats) -> Floats:
    """Return how many prompts each model needs, in proportion: noise times near neighbours."""
    fit, known = respond(won), ~np.isnan(won)
    error = (known * fit.chance * (1 - fit.chance)).sum(axis=0) ** -0.5
    both = np.hypot(error[:, None], error)
    near = norm.pdf(fit.strength[:, None] - fit.strength, scale=both)
    np.fill_diagonal(near, 0)
    need = near.sum(axis=1) * error * known.sum(axis=0) ** 0.5
    return np.asarray(need + 1e-3 * (need.max() or 1))


def _looks(won: Floats, prompts: Indices, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw a model for each prompt among those not judged there: who always loses tells least."""
    known = ~np.isnan(won)
    information = _information(won).mean(axis=0)
    # the largest of log-weights with Gumbel noise is a draw by weights
    keys = np.log(information) + rng.gumbel(size=(len(prompts), len(information)))
    keys[known[prompts]] = -np.inf
    fresh = np.isfinite(keys).any(axis=1)
    looking = keys.argmax(axis=1)
    return list(zip(prompts[fresh].tolist(), looking[fresh].tolist(), strict=True))


def _telling(won: Floats, prompts: Indices, size: int) -> Indices:
    # not the most divisive: a prompt chosen because one model won there would speak for it
    information = _information(won)[prompts].sum(axis=1)
    return prompts[np.argsort(-information, kind="stable")[:size]]


def _alike(chance: Floats) -> bool:
    """Whether average prompts [prompts, models] tell nearly as much as one could at best."""
    strength = logit(chance).mean(axis=0)
    eased = expit(strength + np.linspace(-8, 8, 65)[:, None])
    best = (eased * (1 - eased)).mean(axis=1).max()
    return bool((chance * (1 - chance)).mean() > _PAYS * best)


def _information(won: Floats) -> Floats:
    """Return what a verdict says of a model's strength [prompts, models] (Fisher)."""
    chance = respond(won).chance
    return chance * (1 - chance)
