"""Keep an average budget in service, for any prompts, by moving between mappings."""

import bisect
import math
from collections.abc import Mapping

from micronas.router.policy import Router

_LEVELS = 24
"""Number of prepared mappings, for budgets in equal ratios from smallest to largest expert."""
_TOLERANCE = 10.0
"""Debt or credit, in budgets of one request, before the mapping moves."""
_PATIENCE = 25.0
"""Further debt, in budgets of one request, per factor e of the next mapping's budget."""


class Controller:
    """Running average of active parameters, held at a router's budget by integral control.

    The debt is the spending beyond the budget so far, in budgets of one request. Within a tolerance
    the router's own mapping stays. Beyond it the budget of the next request's mapping falls or
    rises exponentially with the debt, so that prompts unlike those of the fit change the mapping
    and not the average. Credit is limited to what the dearest mapping can use. The router has a
    budget of active parameters; other mappings keep its budget of total ones.
    """

    def __init__(self, router: Router) -> None:
        self.budget = float(router.plan.budget.active or math.inf)
        self.requests, self.spent, self._debt = 0, 0.0, 0.0
        levels = {each.plan.used.active or 0.0: each for each in router.levels(_LEVELS)}
        # its own mapping is entered at the whole budget, though it seldom uses all of it
        own = router.plan.used.active or 0.0
        levels = {used: each for used, each in levels.items() if not own <= used <= self.budget}
        levels[self.budget] = router
        self._bounds = sorted(levels)
        self._levels = [levels[used] for used in self._bounds]

    @property
    def average(self) -> float:
        """Mean active parameters of the routed requests so far."""
        return self.spent / self.requests if self.requests else 0.0

    @property
    def target(self) -> float:
        """Budget of the mapping that routes the next request."""
        beyond = max(abs(self._debt) - _TOLERANCE, 0.0)
        return self.budget * math.exp(-math.copysign(beyond, self._debt) / _PATIENCE)

    @property
    def router(self) -> Router:
        """Router with the dearest mapping within the target, or the cheapest."""
        place = bisect.bisect_right(self._bounds, self.target * (1 + 1e-9)) - 1
        return self._levels[max(place, 0)]

    def state(self) -> dict[str, float]:
        """Return the state to keep over a restart."""
        names = {"requests": self.requests, "spent": self.spent, "debt": self._debt}
        return {"budget": self.budget, **names}

    def restore(self, state: Mapping[str, float]) -> None:
        """Continue from a `state` of the same budget; ignore others."""
        if state["budget"] == self.budget:
            self.requests, self.spent = int(state["requests"]), float(state["spent"])
            self._debt = float(state["debt"])

    def spend(self, active: float) -> None:
        """Count a routed request by the active parameters of its expert."""
        self.requests += 1
        self.correct(active - self.budget)
        self.spent += self.budget

    def correct(self, difference: float) -> None:
        """Add a difference in active parameters, such as that of a fallback."""
        self.spent += difference
        # one tolerance beyond the credit for the dearest mapping, or its first dear prompt ends it
        most = 2 * _TOLERANCE + _PATIENCE * math.log(max(self._bounds[-1] / self.budget, 1.0))
        self._debt = max(self._debt + difference / self.budget, -most)
