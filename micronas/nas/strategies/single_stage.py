"""Shared weights as the training: a pool of networks narrows to one, whose weights are shipped.

Source: J. Yu et al., "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models",
arXiv 2003.11142. Families race first, as in successive halving, and the pool narrows while it
trains, so that computation goes to the networks that may win: both are our own.
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
from micronas.nas.supernet.family import signature
from micronas.space.open_space import Picks
from micronas.space.searchable import Searchable
from micronas.train.loop import source_for
from micronas.train.threads import threads

_LAST = 4
"""Networks that train to the end of the search."""
_SECTION = "search"


class SingleStage(Strategy):
    """Trains one set of weights for each family, drops the worse families, then the worse networks.

    All of it is one training: its rate rises and falls once, and what the winner learnt is where
    its final training begins.
    """

    Settings: ClassVar[type[StrategySettings]] = SingleStageSettings

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.settings, SingleStageSettings), "OneOf saw to it"
        self.settings = context.settings
        self.recipe = context.settings.trial
        self._fold = context.folds[0]
        self._source = source_for(self.seed, "draw")
        self._epoch = self.recipe.steps(len(self._fold.train.labels))
        self._steps = self.settings.epochs * self._epoch
        self._dropped: list[Candidate] = []
        self._states: dict[str, State] = {}
        self._told: dict[str, list[tuple[float, float]]] = {}
        """Results of the rankings, by their place in the search."""

    def ask(self, left: float) -> Sequence[Training]:
        """Return none: networks are trained here, together."""
        if not self.found:
            with threads(self.recipe.threads):
                self._search()
        return []

    def tell(self, tried: Sequence[Candidate]) -> None:
        """Take nothing in."""

    def plan(self) -> Plan:
        drawn = self.problem.draw(self.settings.draws, source_for(self.seed, "draw"))
        return Plan(drawn, len(drawn), 0, self.settings.epochs)

    def begin(self, winner: Candidate) -> State | None:
        return self._winning.hand_down(winner, self._fold)

    def _search(self) -> None:
        saved = self.context.everyone.once(lambda: self.context.checkpoint.load(_SECTION)) or {}
        self._states, self._told = saved.get("families", {}), saved.get("told", {})
        self.history = saved.get("history", [])
        drawn = self.problem.draw(self.settings.draws, self._source)
        families = self._families(drawn)
        rounds = math.ceil(math.log2(len(families)))
        alive = [-(-len(families) // 2**number) for number in range(rounds)]
        shares = [round(self.settings.race * self._steps / rounds / each) for each in alive]
        left = self._steps - sum(each * share for each, share in zip(alive, shares, strict=True))
        self._whole = sum(shares) + left
        """Steps of the family that wins, whose rate all have."""
        for number in range(rounds):
            last = sum(shares[: number + 1])
            for family in families:
                self._train(family, last, f"race {number}")
            families = sorted(families, key=_best)
            kept = -(-len(families) // 2)
            self._dropped += [each for family in families[kept:] for each in family.candidates]
            families = families[:kept]
        self._winning = families[0]
        self._top_up()
        self._narrow(sum(shares), left)

    def _families(self, drawn: Sequence[Candidate]) -> list[FamilyTraining]:
        """Group draws by the weights that they can share."""
        by_signature: dict[object, list[Candidate]] = {}
        for each in drawn:
            by_signature.setdefault((each.family, signature(each.space)), []).append(each)
        found = []
        for number, candidates in enumerate(by_signature.values()):
            first = candidates[0]
            name = f"{first.family or self.problem.space.title} {number}"
            family = FamilyTraining(
                name,
                self._members(first),
                candidates,
                self.recipe,
                seed=self.seed,
                device=self.context.device,
            )
            if name in self._states:
                family.restore(self._states[name])
            found.append(family)
        return found

    def _members(self, like: Candidate) -> dict[Picks, Searchable]:
        """Return the members of a family whose networks can share a candidate's weights."""
        spaces = {
            picks: self.problem.member(family, picks).space
            for family, picks in self.problem.space.ways()
            if family == like.family
        }
        wanted = signature(like.space)
        return {picks: each for picks, each in spaces.items() if signature(each) == wanted}

    def _top_up(self) -> None:
        """Draw networks of the family that won until there are `draws`."""
        family, known = self._winning, {each.label for each in self._winning.candidates}
        missing = self.settings.draws - len(known)
        name = family.candidates[0].family
        drawn = self.problem.draw_of(name, [*family.spaces], missing, self._source)
        family.candidates += [each for each in drawn if each.label not in known]

    def _narrow(self, begin: int, steps: int) -> None:
        """Train on, dropping the worse half after each of equal parts but the last."""
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
        """Train a family up to a step, and sort its candidates by what they are worth then."""
        key = f"{place} {family.name}"
        if key not in self._told:
            while family.step < last:
                before = family.step
                family.set_rate(self.recipe.learning_rate * self._share(before))
                family.round(self._fold, last)
                taken = self.history[-1]["step"] if self.history else 0.0
                self.history.append({"step": taken + family.step - before, "loss": family.loss})
                self._keep(family, soon=True)
                if self.context.everyone.first:
                    done = round(self.history[-1]["step"])
                    self.context.progress("search", done, self._steps, self.history[-1])
            self._told[key] = self.context.everyone.once(partial(family.scores, self._fold))
            self._keep(family, soon=False)
        family.candidates = ranked(
            replace(
                each,
                supernet_loss=loss,
                trial_loss=loss,
                trial_score=score,
                trial_epochs=last // self._epoch,
            )
            for each, (loss, score) in zip(family.candidates, self._told[key], strict=True)
        )

    def _share(self, step: int) -> float:
        """Return the share of the highest rate: a rise, then a cosine down to a fifth.

        Of the rates at which the final training went on, the highest was best (kws40, one network:
        96.1, 95.8 and 95.6 % with all, half and a quarter of the recipe's).
        """
        rise: float = min((step + ROUND) / (self.recipe.warmup * self._whole + ROUND), 1.0)
        return rise * (0.6 + 0.4 * math.cos(math.pi * step / self._whole))

    def _keep(self, family: FamilyTraining, *, soon: bool) -> None:
        checkpoint = self.context.checkpoint
        self._states[family.name] = family.state()
        state = {"families": self._states, "told": self._told, "history": self.history}
        if self.context.everyone.first:
            (checkpoint.save_soon if soon else checkpoint.save)(_SECTION, copy.deepcopy(state))


def _best(family: FamilyTraining) -> float:
    """Return the mean loss of a family's best three networks."""
    losses = [each.trial_loss or 0.0 for each in family.candidates[:3]]
    return sum(losses) / len(losses)
