"""Keep an average budget in service, whatever prompts come: move between neighbouring mappings."""

import bisect
import math
from collections.abc import Mapping

from micronas.router.policy import Router

_LEVELS = 24
"""Budgets, in equal ratios from the smallest expert to the largest, that have a mapping ready."""
_TOLERANCE = 10.0
"""Budgets of one request that may be over- or underspent before the mapping moves."""
_PATIENCE = 25.0
"""Further budgets overspent at which the next mapping's budget is smaller by the factor e."""


class Controller:
    """Running average of active parameters, held at a router's budget by integral control.

    What was spent beyond the budget, less what was left over, is a debt in requests. Within a
    tolerance the router's own mapping stays. Beyond it the budget of the mapping that routes the
    next request falls, or rises, exponentially with the debt, so that prompts unlike those of the
    fit move the mapping and not the average. Credit is not saved up beyond what the dearest
    mapping can use.

    Parameters
    ----------
    router
        With a budget of active parameters; other mappings keep its budget of total parameters.
    """

    def __init__(self, router: Router) -> None:
        self.budget = float(router.plan.budget.active or math.inf)
        self.requests, self.spent, self._debt = 0, 0.0, 0.0
        levels = {each.plan.used.active or 0.0: each for each in router.levels(_LEVELS)}
        # its own mapping stands for the whole budget, though it seldom uses all of it
        own = router.plan.used.active or 0.0
        levels = {used: each for used, each in levels.items() if not own <= used <= self.budget}
        levels[self.budget] = router
        self._bounds = sorted(levels)
        self._levels = [levels[used] for used in self._bounds]

    @property
    def average(self) -> float:
        """Active parameters of a routed request so far, on average."""
        return self.spent / self.requests if self.requests else 0.0

    @property
    def target(self) -> float:
        """Budget of the mapping that routes the next request."""
        beyond = max(abs(self._debt) - _TOLERANCE, 0.0)
        return self.budget * math.exp(-math.copysign(beyond, self._debt) / _PATIENCE)

    @property
    def router(self) -> Router:
        """The router with the dearest mapping that the target allows, or the cheapest."""
        place = bisect.bisect_right(self._bounds, self.target * (1 + 1e-9)) - 1
        return self._levels[max(place, 0)]

    def state(self) -> dict[str, float]:
        """Return what outlives a restart."""
        names = {"requests": self.requests, "spent": self.spent, "debt": self._debt}
        return {"budget": self.budget, **names}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` returned, if it is of the same budget."""
        if state["budget"] == self.budget:
            self.requests, self.spent = int(state["requests"]), float(state["spent"])
            self._debt = float(state["debt"])

    def spend(self, active: float) -> None:
        """Count a routed request that an expert of so many active parameters is to answer."""
        self.requests += 1
        self.correct(active - self.budget)
        self.spent += self.budget

    def correct(self, difference: float) -> None:
        """Count the difference when another expert stepped in."""
        self.spent += difference
        # a tolerance more than what leads to the dearest mapping, or its first dear prompt ends it
        most = 2 * _TOLERANCE + _PATIENCE * math.log(max(self._bounds[-1] / self.budget, 1.0))
        self._debt = max(self._debt + difference / self.budget, -most)
