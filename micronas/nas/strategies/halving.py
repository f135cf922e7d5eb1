"""Real trainings alone: successive halving, evolution, and random search."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import ClassVar

from micronas.checkpoint import State
from micronas.errors import ConfigError
from micronas.nas.candidate import Candidate, ranked
from micronas.nas.settings import (
    EvolutionSettings,
    HalvingSettings,
    RandomSettings,
    StrategySettings,
)
from micronas.nas.strategies.base import Context, Plan, Script, Scripted, Training
from micronas.train.loop import source_for
from micronas.train.recipe import Recipe

_MOST = 256
"""Most draws where epochs are given."""
_FINISH = 5
"""Approximate number of candidates whose trials go to the end."""
_LONGER = 2.5
"""Ratio of the epochs of champions to those of trials."""
_TELLING = 150
"""Fewest steps of a training before networks are compared: deep and wide ones start slowly, and
with fewer steps were dropped though they ended ahead. The average gain from more than 100 is not
confirmed (docs/results/search.md)."""


class _Drawing(Scripted):
    """A strategy that begins with draws from the prior and their rivals."""

    _usual_draws: ClassVar[int] = 8
    """Number of draws where no epochs are given. With 8 and the winner trained for about as long as
    all trials, networks were 0.8 points better than with 16 and a short training
    (docs/results/search.md)."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = context.settings
        assert isinstance(settings, HalvingSettings | RandomSettings), "OneOf saw to it"
        self.draws, self.recipe = self._affordable(settings.draws, settings.trial)
        self._source = source_for(self.seed, "draw")

    @cached_property
    def rivals(self) -> list[Candidate]:
        return self.problem.rivals(self.context.data)

    @cached_property
    def entrants(self) -> list[Candidate]:
        drawn = self.problem.draw(self.draws, self._source)
        return without_twins(drawn + self.rivals)

    def plan(self) -> Plan:
        count = len(self.entrants) + self._descendants(self.draws)
        return self._planned(self.entrants, count, self.recipe)

    @abstractmethod
    def _planned(self, networks: list[Candidate], count: int, recipe: Recipe) -> Plan:
        """Return the plan of a search that trains `count` networks."""

    def _descendants(self, draws: int) -> int:
        """Return the number of networks that join later."""
        return 0

    def _affordable(self, given: int | None, trial: Recipe) -> tuple[int, Recipe]:
        """Return the number of draws, and the trial, shortened to allow them within the epochs.

        Where no draws are given, they are as many as the epochs allow, and at least two.
        """
        epochs = self.context.settings.epochs
        if epochs is None:
            return given or self._usual_draws, trial

        def needed(draws: int, recipe: Recipe) -> int:
            count = draws + self._descendants(draws) + len(self.rivals)
            return self._planned([], count, recipe).epochs

        fewest = given or 2
        recipe = shortened(trial, epochs, f"{fewest} draws", partial(needed, fewest))
        if given:
            return given, recipe
        return max(n for n in range(2, _MOST) if needed(n, recipe) <= epochs), recipe


class Random(_Drawing):
    """Random search: draws, each trained to the end."""

    Settings: ClassVar[type[StrategySettings]] = RandomSettings
    _usual_draws: ClassVar[int] = 16

    def script(self) -> Script:
        tried = yield _trainings(self.entrants, self.recipe, self.recipe.epochs)
        yield _again(self.context, tried, self.recipe)

    def _planned(self, networks: list[Candidate], count: int, recipe: Recipe) -> Plan:
        folds, again = len(self.context.folds), _again_at_most(self.context, networks)
        epochs = count * recipe.epochs + again * _longer(recipe).epochs
        return Plan(networks, count, folds * (count + again), folds * epochs)


class Halving(_Drawing):
    """Draws compete in trials of growing length; descendants of the best join once the first
    trials are known."""

    Settings: ClassVar[type[StrategySettings]] = HalvingSettings

    def script(self) -> Script:
        entrants = self.entrants
        count = len(entrants) + self._descendants(self.draws)
        epochs = _rungs(self.context, count, self.recipe)
        tried = ranked((yield _trainings(entrants, self.recipe, epochs[0])))
        for _ in range(self._generations):
            # all are asked for again: weights are kept from one ask to the next alone
            entrants = entrants + self.problem.descendants(tried, self.draws // 2, self._source)
            tried = ranked((yield _trainings(entrants, self.recipe, epochs[0])))
        yield from _rest(self.context, tried, self.recipe, epochs)

    @property
    def _generations(self) -> int:
        assert isinstance(self.context.settings, HalvingSettings), "OneOf saw to it"
        return self.context.settings.generations

    def _planned(self, networks: list[Candidate], count: int, recipe: Recipe) -> Plan:
        return planned(self.context, networks, count, recipe)

    def _descendants(self, draws: int) -> int:
        return draws // 2 * self._generations


class Evolution(Halving):
    """Halving after several generations of descendants: evolution by real trainings."""

    Settings: ClassVar[type[StrategySettings]] = EvolutionSettings


def halving(
    context: Context,
    entrants: list[Candidate],
    recipe: Recipe,
    *,
    begins: Mapping[str, State] | None = None,
    again: bool = True,
) -> Script:
    """Train all for the first part of the recipe's epochs, then the better half for twice as long,
    and so on; about `_FINISH` reach the end.

    The first part has at least `_TELLING` steps.

    Parameters
    ----------
    begins
        Initial weights, by a candidate's label.
    again
        Train the champions of the families longer.
    """
    epochs = _rungs(context, len(entrants), recipe)
    tried = ranked((yield _trainings(entrants, recipe, epochs[0], begins=begins)))
    yield from _rest(context, tried, recipe, epochs, again=again)


def _rest(
    context: Context,
    tried: list[Candidate],
    recipe: Recipe,
    epochs: Sequence[int],
    *,
    again: bool = True,
) -> Script:
    """Train the rungs after the first; `tried` is sorted best first."""
    known = {each.label: each for each in tried}
    for rung in epochs[1:]:
        tried = ranked((yield _trainings(tried[: -(-len(tried) // 2)], recipe, rung)))
        known |= {each.label: each for each in tried}
    if again:
        yield _again(context, list(known.values()), recipe)


def _again(context: Context, tried: Sequence[Candidate], recipe: Recipe) -> list[Training]:
    """Return longer trainings of the champions, of which there are several or none."""
    longer = _longer(recipe)
    champions = _champions(context, ranked(tried))
    return [Training(each, longer, longer.epochs, anew=True) for each in champions]


def _champions(context: Context, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the first candidates of different families; none where there is one family."""
    first: dict[tuple[str, str], Candidate] = {}
    for each in candidates:
        first.setdefault((each.origin, each.family), each)
    champions = list(first.values())[: context.settings.champions]
    return champions if len(champions) > 1 else []


def _again_at_most(context: Context, networks: Sequence[Candidate]) -> int:
    """Return the number of champions among some networks, or the most where none are known."""
    return len(_champions(context, networks)) if networks else context.settings.champions


def _longer(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"epochs": math.ceil(_LONGER * recipe.epochs)})


def _trainings(
    candidates: Sequence[Candidate],
    recipe: Recipe,
    epochs: int,
    *,
    begins: Mapping[str, State] | None = None,
) -> list[Training]:
    begins = begins or {}
    return [Training(each, recipe, epochs, begin=begins.get(each.label)) for each in candidates]


def shortened(trial: Recipe, epochs: int, what: str, needed: Callable[[Recipe], int]) -> Recipe:
    """Return the trial, shortened so that all take no more than the epochs of the search.

    Parameters
    ----------
    what
        Networks that are tried, in words.
    needed
        Function that returns the epochs of all trials.

    Raises
    ------
    ConfigError
        If not even trials of one epoch do.
    """
    while (smallest := needed(trial)) > epochs and trial.epochs > 1:
        trial = trial.model_copy(update={"epochs": trial.epochs - 1})
    if smallest > epochs:
        raise ConfigError(
            f"search.epochs must be enough for {what} and the textbook or uniform networks beside "
            f"them: {epochs=}, {smallest=}; give as many (search.epochs, or effort, half of which "
            "they are)"
        )
    return trial


def without_twins(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates without duplicates of a network; the first one stays."""
    return list({each.label: each for each in reversed(candidates)}.values())[::-1]


def _rungs(context: Context, count: int, recipe: Recipe) -> list[int]:
    """Return the epochs after which candidates are compared, the last one included."""
    return rung_epochs(count, recipe.epochs, recipe.steps(len(context.folds[0].train.labels)))


def rung_epochs(count: int, epochs: int, steps: int) -> list[int]:
    """Return the epochs after which the worse half is dropped, and the last epoch.

    An epoch has `steps` steps.
    """
    halvings = max(1, math.ceil(math.log2(max(count, 1) / _FINISH)))
    found = {-(-epochs // 2**power) for power in range(1, halvings + 1)}
    return [*sorted(each for each in found if each < epochs and each * steps >= _TELLING), epochs]


def planned(
    context: Context, networks: list[Candidate], count: int, recipe: Recipe, *, again: bool = True
) -> Plan:
    """Return the plan of a halving of `count` networks."""
    trainings, epochs = planned_epochs(
        count,
        recipe,
        len(context.folds[0].train.labels),
        folds=len(context.folds),
        champions=_again_at_most(context, networks) if again else 0,
    )
    return Plan(networks, count, trainings, epochs)


def planned_epochs(
    count: int, recipe: Recipe, examples: int, *, folds: int = 1, champions: int = 0
) -> tuple[int, int]:
    """Return the number of trainings of `count` candidates, and their epochs in total.

    A training that continues counts again.
    """
    reached = rung_epochs(count, recipe.epochs, recipe.steps(examples))
    left = list(_halved(count, len(reached)))
    steps = [epochs - before for before, epochs in zip([0, *reached], reached, strict=False)]
    epochs = sum(each * step for each, step in zip(left, steps, strict=True))
    epochs += champions * _longer(recipe).epochs
    return folds * (sum(left) + champions), folds * epochs


def _halved(count: int, times: int) -> Iterator[int]:
    for _ in range(times):
        yield count
        count = -(-count // 2)
