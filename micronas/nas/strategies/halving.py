"""No shared weights: smooth networks compete in trials of growing length."""

import random

from micronas.nas.prior import draw
from micronas.nas.strategies.base import Parts, Scored, Strategy


class Halving(Strategy):
    """Draws from the prior of `micronas.nas.prior`; the trials do the rest."""

    def propose(self, parts: Parts) -> Scored:
        source = random.Random(f"{self.seed} draw")
        return dict.fromkeys(draw(self.problem, count=self.settings.draws, source=source))
