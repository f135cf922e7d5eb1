"""Shared weights that are shipped: a pool of networks narrows to one while it trains.

Source: J. Yu et al., "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models",
arXiv 2003.11142. Two things differ from it: all families train before the best continues alone, and
its pool narrows while it trains, so that computation goes to the networks that may win.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from micronas.checkpoint import State
from micronas.nas.candidate import Candidate, ranked
from micronas.nas.settings import SingleStageSettings, StrategySettings
from micronas.nas.strategies.base import Context, Plan, Strategy, Training
from micronas.nas.strategies.family_training import FamilyTraining
from micronas.nas.strategies.weights import ROUND
from micronas.train.loop import source_for
from micronas.train.threads import threads

_LAST = 4
"""Number of networks that train to the end of the search."""
_SECTION = "search"


class SingleStage(Strategy):
    """Trains one set of weights for each family, keeps the best family, then its best networks.

    All of it is one training: its rate rises and falls once, and the winner's final training begins
    with its weights.
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
        self._states: dict[str, State] = {}
        self._results: dict[str, list[tuple[float, float]]] = {}
        """Losses and scores of the rankings, by their place in the search."""

    def ask(self, left: float) -> Sequence[Training]:
        """Train the networks together here, and return no trainings."""
        if not self.found:
            with threads(self.recipe.threads):
                self._search()
        return []

    def tell(self, tried: Sequence[Candidate]) -> None:
        """Do nothing: there are no trials."""

    def plan(self) -> Plan:
        drawn = self._drawn()
        return Plan(drawn, len(drawn), 0, self.settings.epochs)

    def begin(self, winner: Candidate) -> State | None:
        return self._winning.hand_down(winner, self._fold)

    def _drawn(self) -> list[Candidate]:
        return self.problem.draw(self.settings.draws, source_for(self.seed, "draw"))

    def _search(self) -> None:
        saved = self.context.everyone.once(lambda: self.context.checkpoint.load(_SECTION)) or {}
        self._states, self._results = saved.get("families", {}), saved.get("told", {})
        self.history = saved.get("history", [])
        families = self._families(self._drawn())
        racing = families if len(families) > 1 else []
        share = round(self.settings.race * self._steps / len(families)) if racing else 0
        left = self._steps - share * len(racing)
        self._whole = share + left
        """Steps of the winning family, which set the rate of all."""
        for family in racing:
            self._train(family, share, "race")
        self._winning = min(families, key=_best)
        for family in families:
            if family is not self._winning:
                self._dropped += family.candidates
                self._states.pop(family.name, None)
        known = {each.label for each in self._winning.candidates}
        self._winning.candidates += [e for e in self._winning.spare if e.label not in known]
        self._narrow(share, left)

    def _families(self, drawn: Sequence[Candidate]) -> list[FamilyTraining]:
        """Group draws by their families, each with spare networks up to `draws`."""
        grouped: dict[str, list[Candidate]] = {}
        for each in drawn:
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
            if family.name in self._states:
                family.restore(self._states[family.name])
            found.append(family)
        return found

    def _narrow(self, begin: int, steps: int) -> None:
        """Continue training in equal parts; drop the worse half after each but the last."""
        family = self._winning
        parts = max(1, math.ceil(math.log2(len(family.candidates) / _LAST)) + 1)
        for part in range(1, parts + 1):
            self._train(family, begin + round(steps * part / parts), f"part {part}")
            if part < parts:
                kept = max(_LAST, -(-len(family.candidates) // 2))
                self._dropped += family.candidates[kept:]
                family.candidates = family.candidates[:kept]
        self.found = ranked([*family.candidates, *self._dropped])

    def _train(self, family: FamilyTraining, last: int, place: str) -> None:
        """Train a family up to a step, then sort its candidates by loss."""
        key = f"{place} {family.name}"
        if key not in self._results:
            while family.step < last:
                before = family.step
                family.set_rate(self.recipe.learning_rate * self._share(before))
                family.round(self._fold, last)
                taken = self.history[-1]["step"] if self.history else 0.0
                self.history.append({"step": taken + family.step - before, "loss": family.loss})
                if self.context.checkpoint.due:
                    self._keep(family)
                if self.context.everyone.first:
                    done = round(self.history[-1]["step"])
                    self.context.progress("search", done, self._steps, self.history[-1])
            self._results[key] = self.context.everyone.once(partial(family.scores, self._fold))
            self._keep(family)
        family.candidates = ranked(
            replace(
                each,
                supernet_loss=loss,
                trial_loss=loss,
                trial_score=score,
                trial_epochs=last // self._epoch,
            )
            for each, (loss, score) in zip(family.candidates, self._results[key], strict=True)
        )

    def _share(self, step: int) -> float:
        """Return the share of the highest rate: a rise, then a cosine down to a fifth.

        Of the rates at the start of the final training, the highest was best (kws40, one network:
        96.1, 95.8 and 95.6 % with all, half and a quarter of the recipe's).
        """
        rise: float = min((step + ROUND) / (self.recipe.warmup * self._whole + ROUND), 1.0)
        return rise * (0.6 + 0.4 * math.cos(math.pi * step / self._whole))

    def _keep(self, family: FamilyTraining) -> None:
        if self.context.everyone.first:
            self._states[family.name] = family.state()
            state = {"families": self._states, "told": self._results, "history": self.history}
            self.context.checkpoint.save(_SECTION, {name: copy.copy(state[name]) for name in state})


def _best(family: FamilyTraining) -> float:
    """Return the mean loss of a family's best three networks."""
    losses = [each.trial_loss or 0.0 for each in family.candidates[:3]]
    return sum(losses) / len(losses)
