"""Step 2: one expert for each category, the best within a budget, by integer programming."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from micronas.arrays import Floats, Integers
from micronas.errors import BudgetError

_SLACK = 1e-9
"""Share of a budget by which sums may exceed it in floating point."""
_SOLVING = threading.Lock()


@dataclass(frozen=True)
class ParameterBudget:
    """Limits in parameters; None is no limit."""

    active: float | None = None
    """Limit of the active parameters of a prompt's expert, on average over prompts."""
    total: float | None = None
    """Limit of the total parameters of all experts in use."""


@dataclass(frozen=True, eq=False)
class MappingProblem:
    """Scores and sizes for the choice of a mapping."""

    utilities: Floats
    """Expected scores [categories, experts]."""
    weights: Floats
    """Share of the prompts in each category [categories]; positive, they add up to 1."""
    active: Floats
    total: Floats
    """Active and total parameters of each expert [experts]."""

    def score(self, experts: Integers) -> float:
        """Return the expected score of a mapping [categories]."""
        return float(self.weights @ self.utilities[np.arange(len(experts)), experts])

    def cost(self, experts: Integers) -> ParameterBudget:
        """Return the use of both budgets by a mapping [categories]."""
        return ParameterBudget(
            float(self.weights @ self.active[experts]), float(self.total[np.unique(experts)].sum())
        )

    def fits(self, experts: Integers, budget: ParameterBudget) -> bool:
        """Return whether a mapping [categories] is within the budget."""
        used = self.cost(experts)
        return _within(used.active, budget.active) and _within(used.total, budget.total)


def solve(problem: MappingProblem, budget: ParameterBudget) -> Integers:
    """Return the mapping [categories] of the largest expected score within the budget.

    Of equal scores it takes the smallest expert. HiGHS solves a mixed-integer program to
    optimality: z[k, m] is 1 if category k goes to expert m, y[m] if m is used; sum_m z[k, m] = 1,
    z[k, m] <= y[m]. Raises BudgetError, which names the smallest feasible one, if no mapping is
    within the budget.
    """
    for name, limit in vars(budget).items():
        if limit is not None and not limit > 0:
            said = f"{name}={limit:g}; None is no limit"
            raise BudgetError(f"a budget must be a number of parameters above zero, but {said}")
    weights = problem.weights[:, None]
    found = _program(problem, -weights * problem.utilities, np.zeros_like(problem.total), budget)
    if found is None:
        raise BudgetError(_impossible(problem, budget))
    # the solver takes any of equal scores
    smallest_first = np.argsort(problem.active, kind="stable")
    for category, values in enumerate(problem.utilities):
        for expert in smallest_first:
            if problem.active[expert] >= problem.active[found[category]]:
                break
            other = np.where(np.arange(len(found)) == category, expert, found)
            if values[expert] >= values[found[category]] and problem.fits(other, budget):
                found = other
    return found


def _within(used: float | None, limit: float | None) -> bool:
    return limit is None or (used or 0.0) <= limit * (1 + _SLACK)


def _program(
    problem: MappingProblem, costs: Floats, used_costs: Floats, budget: ParameterBudget
) -> Integers | None:
    """Minimise costs [categories, experts] of z and [experts] of y; return None if infeasible."""
    categories, experts = problem.utilities.shape
    size = categories * experts
    cell = np.arange(size)
    once = coo_array((np.ones(size), (cell // experts, cell)), (categories, size + experts))
    constraints = [LinearConstraint(once, 1, 1)]
    opened = coo_array(
        (
            np.concatenate([np.ones(size), -np.ones(size)]),
            (np.tile(cell, 2), np.concatenate([cell, size + cell % experts])),
        ),
        (size, size + experts),
    )
    constraints.append(LinearConstraint(opened, -np.inf, 0))
    if budget.active is not None:
        # divided by the limit: the solver's tolerance is absolute, and parameters are billions
        row = (problem.weights[:, None] * problem.active).ravel() / budget.active
        row = np.concatenate([row, np.zeros(experts)])
        constraints.append(LinearConstraint(row[None], -np.inf, 1))
    if budget.total is not None:
        row = np.concatenate([np.zeros(size), problem.total / budget.total])
        constraints.append(LinearConstraint(row[None], -np.inf, 1))
    # without what all experts of a category cost: the solver's gap is absolute
    costs = costs - costs.min(axis=1, keepdims=True)
    objective = np.concatenate([costs.ravel(), used_costs])
    with _quiet():
        found: Any = milp(
            objective / (np.abs(objective).max() or 1.0),
            constraints=constraints,
            integrality=np.ones(size + experts),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": 0},
        )
    if found.x is None:
        return None
    return np.asarray(found.x[:size].reshape(categories, experts).argmax(axis=1), np.int64)


def _impossible(problem: MappingProblem, budget: ParameterBudget) -> str:
    """Return a message with the smallest feasible budget of each kind."""
    options = []
    weights = problem.weights[:, None]
    for name in ("active", "total"):
        if getattr(budget, name) is None:
            continue
        part = replace(budget, **{name: None})
        costs = (name == "active") * weights * problem.active
        used = (name == "total") * problem.total
        found = _program(problem, costs, used, part)
        if found is not None:
            smallest = getattr(problem.cost(found), name)
            options.append(f"the smallest {name} budget that can be met is {_upwards(smallest)}")
    wanted = " and ".join(
        f"{name} {parameters(limit)}" for name, limit in vars(budget).items() if limit is not None
    )
    cheapest = "; ".join(options) or (
        f"the smallest of each are active {_upwards(problem.active.min())} and total "
        f"{_upwards(problem.total.min())}"
    )
    return (
        f"the budget must leave an expert for every category, but {wanted} leaves none: {cheapest}"
    )


def _upwards(count: float) -> str:
    """Format a number of parameters, rounded up to suffice as a budget."""
    digit = 10.0 ** (np.floor(np.log10(count)) - 3)
    return parameters(float(np.ceil(count / digit * (1 - _SLACK)) * digit))


def parameters(count: float) -> str:
    """Format a number of parameters: ``7.6B``."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.4g}{unit}"
    return f"{count:.4g}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard what the solver's C++ prints: some releases of HiGHS print a debug line.

    Meanwhile the whole process has no standard output; solving takes milliseconds. A server solves
    in several threads: one at a time, or one would restore the other's discarding output.
    """
    with _SOLVING:
        sys.stdout.flush()
        kept = os.dup(1)
        try:
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), 1)
                yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
