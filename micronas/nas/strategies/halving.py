"""Real trainings alone: successive halving, evolution, and random search."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import ClassVar

from micronas.errors import ConfigError
from micronas.nas.candidate import Candidate, ranked
from micronas.nas.settings import (
    EvolutionSettings,
    HalvingSettings,
    RandomSettings,
    StrategySettings,
)
from micronas.nas.strategies.base import Context, Plan, Script, Scripted
from micronas.nas.strategies.race import Race, race
from micronas.train.loop import source_for
from micronas.train.recipe import Recipe

_MOST = 256
"""Most draws where epochs are given."""


class Random(Scripted):
    """Random search: draws from the prior, and their rivals, each trained to the end."""

    Settings: ClassVar[type[StrategySettings]] = RandomSettings
    _usual_draws: ClassVar[int] = 16
    """Number of draws where no epochs are given."""
    _spare: ClassVar[int] = 1
    """Draws for each network that is trained, see `Problem.draw`."""

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
        drawn = self.problem.draw(self.draws, self._source, spare=self._spare)
        return without_twins(drawn + self.rivals)

    def plan(self) -> Plan:
        count = len(self.entrants) + self._descendants(self.draws)
        return self._race(count, self.recipe).plan(self.entrants, count)

    def script(self) -> Script:
        racing = self._race(len(self.entrants), self.recipe)
        yield from racing.rest((yield racing.to_first(self.entrants)))

    def _race(self, count: int, trial: Recipe) -> Race:
        """Return the race of `count` networks."""
        return race(self.context, trial, None, self.rivals)

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
            return self._race(count, recipe).plan([], count).epochs

        fewest = given or 2
        recipe = shortened(trial, epochs, f"{fewest} draws", partial(needed, fewest))
        if given:
            return given, recipe
        return max(n for n in range(2, _MOST) if needed(n, recipe) <= epochs), recipe


class Halving(Random):
    """Draws compete in trials of growing length; descendants of the best join once the first
    trials are known."""

    Settings: ClassVar[type[StrategySettings]] = HalvingSettings
    _usual_draws: ClassVar[int] = 8
    """With 8 and the winner trained for about as long as all trials, networks were 0.8 points
    better than with 16 and a short training (docs/results/search.md)."""
    _spare: ClassVar[int] = 4
    """Short trials underrate networks of many multiply-accumulates and bytes, which go on learning
    in a long training: with the largest of four draws found networks gained a point where flash
    binds (docs/results/search.md)."""

    def script(self) -> Script:
        entrants = self.entrants
        racing = self._race(len(entrants) + self._descendants(self.draws), self.recipe)
        tried = ranked((yield racing.to_first(entrants)))
        for _ in range(self._generations):
            # all are asked for again: weights are kept from one ask to the next alone
            entrants = entrants + self.problem.descendants(tried, self.draws // 2, self._source)
            tried = ranked((yield racing.to_first(entrants)))
        yield from racing.rest(tried)

    @property
    def _generations(self) -> int:
        assert isinstance(self.context.settings, HalvingSettings), "OneOf saw to it"
        return self.context.settings.generations

    def _race(self, count: int, trial: Recipe) -> Race:
        return race(self.context, trial, count, self.rivals)

    def _descendants(self, draws: int) -> int:
        return draws // 2 * self._generations


class Evolution(Halving):
    """Halving after several generations of descendants: evolution by real trainings."""

    Settings: ClassVar[type[StrategySettings]] = EvolutionSettings


def shortened(trial: Recipe, epochs: int, what: str, needed: Callable[[Recipe], int]) -> Recipe:
    """Return the trial, shortened so that all take no more than the epochs of the search.

    `what` names the networks in words, and `needed` returns the epochs of all trials. Raises
    ConfigError if not even trials of one epoch do.
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
