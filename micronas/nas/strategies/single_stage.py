"""Shared weights that are shipped: a pool of networks narrows to one while it trains.

Source: J. Yu et al., "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models",
arXiv 2003.11142. Two things differ from it: all families train before the best continues alone, and
its pool narrows while it trains, so that computation goes to the networks that may win.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet
from micronas.nas.candidate import Candidate, ranked
from micronas.nas.settings import SingleStageSettings, StrategySettings
from micronas.nas.strategies.base import IN_TURN, Context, Plan, Strategy, Training
from micronas.nas.strategies.family_training import FamilyTraining
from micronas.nas.strategies.weights import ROUND
from micronas.train.loop import source_for
from micronas.train.side_by_side import Job
from micronas.train.threads import threads

_LAST = 4
"""Number of networks that train to the end of the search."""
_SECTION = "search"
"""Section of the checkpoint with the results; each family's weights have their own."""
_Told = tuple[list[tuple[float, float]], list[tuple[int, float]]]
"""Loss and score of each candidate, and the steps and the loss of each of the family's rounds."""


class SingleStage(Strategy):
    """Trains one set of weights for each family, keeps the best family, then its best networks.

    All of it is one training: its rate rises and falls once, and the winner's final training begins
    with its weights. Families train side by side, as trials do.
    """

    Settings: ClassVar[type[StrategySettings]] = SingleStageSettings

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.settings, SingleStageSettings), "OneOf saw to it"
        self.settings = context.settings
        self.recipe, self.epochs = context.settings.trial, context.settings.epochs
        self._fold = context.folds[0]
        self._epoch = self.recipe.steps(len(self._fold.train.labels))
        self._steps = self.settings.epochs * self._epoch
        self._dropped: list[Candidate] = []
        self._told: dict[str, _Told] = {}
        """Results of trainings by their place in the search."""

    def ask(self, left: float) -> Sequence[Training]:
        """Train the networks together here, and return no trainings."""
        if not self.found:
            with threads(self.recipe.threads):
                self._search()
        return []

    def tell(self, tried: Sequence[Candidate]) -> None:
        """Do nothing: there are no trials."""

    def plan(self) -> Plan:
        drawn, epochs = self._drawn(), self.settings.epochs
        families = len({each.family for each in drawn})
        alone = epochs if families == 1 else round((1 - self.settings.race) * epochs)
        return Plan(drawn, len(drawn), families, epochs, alone)

    def begin(self, winner: Candidate) -> State | None:
        return self._winning.hand_down(winner, self._fold)

    def _drawn(self) -> list[Candidate]:
        return self.problem.draw(self.settings.draws, source_for(self.seed, "draw"))

    def _search(self) -> None:
        self._told = (self._load(_SECTION) or {}).get("told", {})
        families = self.families()
        racing = families if len(families) > 1 else []
        share = round(self.settings.race * self._steps / len(families)) if racing else 0
        left = self._steps - share * len(racing)
        # the steps of the winning family set the rate of all
        self._rate = _Rate(self.recipe.learning_rate, self.recipe.warmup, share + left)
        self._race(racing, share)
        self._winning = winner = min(families, key=_best)
        for family in families:
            if family is not winner:
                self._dropped += family.candidates
                self.context.checkpoint.discard([_section(family)])
        self._restore(winner)
        before = [each for family in racing for each in self._told[_section(family)][1]]
        raced = len(self._told[_section(winner)][1]) if racing else 0
        known = {each.label for each in winner.candidates}
        winner.candidates += [each for each in winner.spare if each.label not in known]
        self._narrow(share, left)
        taken = 0
        for steps, loss in [*before, *winner.rounds[raced:]]:
            taken += steps
            self.history.append({"step": float(taken), "loss": loss})

    def families(self) -> list[FamilyTraining]:
        """Return the families of the networks drawn, each with spare networks up to `draws`."""
        grouped: dict[str, list[Candidate]] = {}
        for each in self._drawn():
            grouped.setdefault(each.family, []).append(each)
        found = []
        for name, candidates in grouped.items():
            spaces = {
                picks: self.problem.member(name, picks).space
                for of, picks in self.problem.space.ways()
                if of == name
            }
            missing = self.settings.draws - len(candidates)
            source = source_for(self.seed, f"draw of {name}")
            family = FamilyTraining(
                name or self.problem.space.title,
                spaces,
                candidates,
                self.recipe,
                spare=self.problem.draw_of(name, [*spaces], missing, source),
                seed=self.seed,
                device=self.context.device,
            )
            found.append(family)
        return found

    def _race(self, families: Sequence[FamilyTraining], last: int) -> None:
        """Train families up to a step, side by side, and rank their candidates."""
        jobs: dict[str, Job[_Told]] = {}
        for family in families:
            if (section := _section(family)) not in self._told:
                self._restore(family)
                jobs[section] = partial(
                    _trained, family, self._fold, last, self._rate, section, None
                )
        # processes that share the steps of a training take one family after the other
        run = self.context.run if self.context.everyone.size == 1 else IN_TURN
        for section, told in run(jobs, checkpoint=self._kept):
            self._tell(section, told)
            self._report(last * len(self._told), told[1][-1][1])
        for family in families:
            self._rank(family, _section(family), last)

    def _narrow(self, begin: int, steps: int) -> None:
        """Continue training in equal parts; drop the worse half after each but the last."""
        family = self._winning
        taken = self._steps - steps
        parts = max(1, math.ceil(math.log2(len(family.candidates) / _LAST)) + 1)
        for part in range(1, parts + 1):
            place, last = f"part {part}", begin + round(steps * part / parts)
            if place not in self._told:
                told = _trained(
                    family,
                    self._fold,
                    last,
                    self._rate,
                    _section(family),
                    lambda step, loss: self._report(taken - begin + step, loss),
                    self._kept,
                )
                self._tell(place, told)
            self._rank(family, place, last)
            if part < parts:
                kept = max(_LAST, -(-len(family.candidates) // 2))
                self._dropped += family.candidates[kept:]
                family.candidates = family.candidates[:kept]
        self.found = ranked([*family.candidates, *self._dropped])

    def _rank(self, family: FamilyTraining, place: str, last: int) -> None:
        """Sort a family's candidates by their losses at a step."""
        epochs = last // self._epoch
        family.candidates = ranked(
            replace(each, trial_loss=loss, trial_score=score, trial_epochs=epochs)
            for each, (loss, score) in zip(family.candidates, self._told[place][0], strict=True)
        )

    @property
    def _kept(self) -> Checkpoint:
        """Checkpoint that this process writes."""
        return self.context.checkpoint if self.context.everyone.first else Checkpoint()

    def _load(self, section: str) -> State | None:
        checkpoint = self.context.checkpoint
        return self.context.everyone.once(lambda: checkpoint.load(section))

    def _restore(self, family: FamilyTraining) -> None:
        if (saved := self._load(_section(family))) is not None:
            family.restore(saved)

    def _tell(self, place: str, told: _Told) -> None:
        self._told[place] = told
        if self.context.everyone.first:
            self.context.checkpoint.save(_SECTION, {"told": dict(self._told)})

    def _report(self, done: int, loss: float) -> None:
        if self.context.everyone.first:
            self.context.progress("search", done, self._steps, {"loss": loss})


@dataclass(frozen=True)
class _Rate:
    """Learning rate by step: a rise, then a cosine down to a fifth of the highest.

    Of the rates at the start of the final training, the highest was best (kws40, one network: 96.1,
    95.8 and 95.6 % with all, half and a quarter of the recipe's).
    """

    highest: float
    warmup: float
    steps: int

    def __call__(self, step: int) -> float:
        rise = min((step + ROUND) / (self.warmup * self.steps + ROUND), 1.0)
        return self.highest * rise * (0.6 + 0.4 * math.cos(math.pi * step / self.steps))


def _trained(
    family: FamilyTraining,
    data: DataSet,
    last: int,
    rate: _Rate,
    section: str,
    tell: Callable[[int, float], None] | None,
    checkpoint: Checkpoint,
) -> _Told:
    """Train a family up to a step and evaluate its candidates; keep its state in a section."""
    while family.step < last:
        family.set_rate(rate(family.step))
        family.round(data, last)
        if tell is not None:
            tell(family.step, family.rounds[-1][1])
        if checkpoint.due:
            checkpoint.save(section, family.state())
    scores = family.scores(data)
    checkpoint.save(section, family.state())
    return scores, list(family.rounds)


def _section(family: FamilyTraining) -> str:
    return f"family {family.name}"


def _best(family: FamilyTraining) -> float:
    """Return the mean loss of a family's best three networks."""
    losses = [each.trial_loss or 0.0 for each in family.candidates[:3]]
    return sum(losses) / len(losses)
