"""Evidence from the fitting prompts, and the mapping chosen from it for a budget."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from micronas.arrays import Floats, Integers
from micronas.router.mapping import MappingProblem, ParameterBudget, solve
from micronas.router.utility import utilities

_SWEEP = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Quantiles of the experts' active parameters at which the use of categories is judged."""
_NORMAL = 1.96
_DOUBT = 2.0
"""Number of standard errors: with one, noise at one of five budgets would often veto a gain."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Scores of the fitting prompts, with the router's out-of-fold categories."""

    category: Integers
    """Out-of-fold category [prompts]."""
    categories: int
    """Number of categories, `general` included."""
    fold: Integers
    """Fold of each prompt [prompts]."""
    scores: Floats
    """Scores [prompts, experts]."""
    active: Floats
    total: Floats
    """Active and total parameters of the experts [experts]."""
    merged: bool = False
    """All categories are mapped as one, because validation found no use in them."""

    def problem(self, rows: NDArray[np.bool_] | None = None) -> MappingProblem:
        """Return the mapping problem of all prompts, or of those of a mask."""
        wanted = np.ones(len(self.category), bool) if rows is None else rows
        category = np.zeros_like(self.category) if self.merged else self.category
        categories = 1 if self.merged else self.categories
        # a category without prompts counts as one prompt: its expert must not be free
        counts = np.maximum(np.bincount(category[wanted], minlength=categories), 1)
        values = utilities(self.scores[wanted], category[wanted], categories)
        # the few fitting prompts in `general` do not represent unfamiliar ones: use all prompts
        values[-1] = self.scores[wanted].mean(axis=0)
        return MappingProblem(
            utilities=values,
            weights=counts / counts.sum(),
            active=self.active,
            total=self.total,
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """An expert for each category."""

    budget: ParameterBudget
    experts: Integers
    """Index of the expert of each category [categories], `general` last."""
    utilities: Floats
    """Expected scores [categories, experts]."""
    weights: Floats
    """Share of the fitting prompts in each category [categories]."""
    score: float
    """Expected score of a prompt."""
    used: ParameterBudget
    """Used active parameters on average, and total parameters."""


def make_plan(evidence: Evidence, budget: ParameterBudget) -> Plan:
    """Map categories to experts, by all fitting prompts.

    Raises BudgetError if no mapping is within the budget; names the smallest feasible one.
    """
    experts = solve(evidence.problem(), budget)
    return plan_of(evidence, budget, np.resize(experts, evidence.categories))


def plan_of(evidence: Evidence, budget: ParameterBudget, experts: Integers) -> Plan:
    """Return the plan of a mapping [categories], with its expected score and cost."""
    apart = replace(evidence, merged=False).problem()
    values = np.resize(evidence.problem().utilities, apart.utilities.shape)
    problem = replace(apart, utilities=values)
    return Plan(
        budget=budget,
        experts=experts,
        utilities=values,
        weights=problem.weights,
        score=problem.score(experts),
        used=problem.cost(experts),
    )


def cross_fitted(evidence: Evidence, budget: ParameterBudget) -> Floats:
    """Return the score [prompts] of each prompt under a mapping made without its fold."""
    result = np.empty(len(evidence.category))
    for number in range(int(evidence.fold.max()) + 1):
        inside = evidence.fold == number
        experts = solve(evidence.problem(~inside), budget)
        chosen = experts[0 if evidence.merged else evidence.category[inside]]
        result[inside] = evidence.scores[inside, chosen]
    return result


def gain(evidence: Evidence, budget: ParameterBudget) -> dict[str, float | None]:
    """Return the gain of routing on held-out prompts, as JSON values.

    They are the ``score`` of the mapping and its ``gain`` over the best single expert within the
    budget, both cross-fitted; ``low`` and ``high``, the gain's 95 % interval over prompts; and
    ``enough``, the number of fitting prompts at which the interval of this gain would be above
    zero, None without a gain.
    """
    routed = cross_fitted(evidence, budget)
    gained = routed - cross_fitted(replace(evidence, merged=True), budget)
    mean, error = float(gained.mean()), float(gained.std()) / len(gained) ** 0.5
    enough = float(np.ceil(len(gained) * (_NORMAL * error / mean) ** 2)) if mean > 0 else None
    bounds = {"low": mean - _NORMAL * error, "high": mean + _NORMAL * error}
    return {"score": float(routed.mean()), "gain": mean, **bounds, "enough": enough}


def choose(candidate: Evidence, single: Evidence) -> Evidence:
    """Return the candidate, or one category for all prompts if that is as good.

    The candidate must have better cross-fitted scores on average over a sweep of budgets, and at no
    budget be worse by more than two standard errors of the difference. The choice does not
    depend on the budget, so that a larger budget never makes a worse mapping.
    """
    sweep = [
        ParameterBudget(active=float(each))
        for each in np.unique(np.quantile(single.active, _SWEEP))
    ]
    gains = np.array(
        [cross_fitted(candidate, budget) - cross_fitted(single, budget) for budget in sweep]
    )
    errors = gains.std(axis=1) / gains.shape[1] ** 0.5
    useful = gains.mean() > 0 and (gains.mean(axis=1) >= -_DOUBT * errors).all()
    return candidate if useful else single
