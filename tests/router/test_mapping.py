import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from micronas.errors import BudgetError
from micronas.router.experts import parse_parameters
from micronas.router.mapping import MappingProblem, ParameterBudget, parameters, solve
from tests.cases import seeds


def random_problem(seed: int) -> tuple[MappingProblem, ParameterBudget]:
    rng = np.random.default_rng(seed)
    categories, experts = rng.integers(1, 5, 2)
    active = rng.uniform(1e9, 70e9, experts)
    total = active * rng.uniform(1, 3, experts)
    weights = rng.dirichlet(np.ones(categories))
    problem = MappingProblem(rng.uniform(0, 1, (categories, experts)), weights, active, total)
    limits = [
        float(rng.uniform(0.5 * parts.min(), 1.2 * most)) if rng.random() < 0.7 else None
        for parts, most in ((active, active.max()), (total, total.sum()))
    ]
    return problem, ParameterBudget(*limits)


def exhaustive(problem: MappingProblem, budget: ParameterBudget) -> np.ndarray | None:
    categories, experts = problem.utilities.shape
    mappings = (np.array(each) for each in product(range(experts), repeat=categories))
    fitting = [each for each in mappings if problem.fits(each, budget)]
    return max(fitting, key=problem.score, default=None)


@seeds(range(60), range(1000, 1500))
def test_the_program_finds_what_all_mappings_hold(seeds: range) -> None:
    impossible = 0
    for seed in seeds:
        problem, budget = random_problem(seed)
        best = exhaustive(problem, budget)
        if best is None:
            impossible += 1
            with pytest.raises(BudgetError):
                solve(problem, budget)
            continue
        found = solve(problem, budget)
        assert problem.fits(found, budget)
        assert problem.score(found) == pytest.approx(problem.score(best), abs=1e-9)
    assert 0 < impossible < len(seeds) / 2


def test_of_equal_scores_the_smallest_expert_that_fits() -> None:
    active = np.array([3.0, 2.0, 1.0])
    problem = MappingProblem(np.ones((2, 3)), np.array([0.5, 0.5]), active, np.array([3, 5, 9.0]))
    assert solve(problem, ParameterBudget()).tolist() == [2, 2]
    assert solve(problem, ParameterBudget(total=8)).tolist() == [1, 1]
    assert solve(problem, ParameterBudget(total=4)).tolist() == [0, 0]


def test_small_differences_between_large_scores_count() -> None:
    for seed in range(200):
        problem, budget = random_problem(seed)
        far = replace(problem, utilities=1e4 + 0.01 * problem.utilities)
        if (best := exhaustive(far, budget)) is not None:
            assert far.score(solve(far, budget)) == pytest.approx(far.score(best), rel=1e-9)


@pytest.mark.parametrize("limits", [(0.5e9, None), (None, 1e9), (1.5e9, 60e9), (0.5e9, 1e9)])
def test_an_impossible_budget_names_one_that_can_be_met(
    limits: tuple[float | None, float | None],
) -> None:
    # the frugal expert is large on disk, the small one is active as a whole
    problem = MappingProblem(
        utilities=np.array([[0.3, 0.5], [0.4, 0.2]]),
        weights=np.array([0.5, 0.5]),
        active=np.array([1.23456e9, 7e9]),
        total=np.array([100e9, 7.00049e9]),
    )
    budget = ParameterBudget(*limits)
    with pytest.raises(BudgetError, match=r"can be met is|smallest of each") as caught:
        solve(problem, budget)
    message = str(caught.value)
    assert "\n" not in message
    named = {
        kind: parse_parameters(number)
        for kind, number in re.findall(
            r"(active|total) budget that can be met is (\S+?)(?:;|$)", message
        )
    }
    for kind, limit in named.items():
        enough = ParameterBudget(**{**vars(budget), kind: limit})
        solve(problem, enough)
        with pytest.raises(BudgetError):
            solve(problem, ParameterBudget(**{**vars(budget), kind: 0.999 * limit}))
    assert named or limits == (0.5e9, 1e9)


def test_one_category_is_the_best_single_within_the_budget() -> None:
    problem = MappingProblem(
        np.array([[0.5, 0.9, 0.7]]), np.ones(1), *2 * [np.array([1.0, 9.0, 5.0])]
    )
    for limit, expert in ((1.0, 0), (4.9, 0), (5.0, 2), (8.9, 2), (9.0, 1)):
        assert solve(problem, ParameterBudget(active=limit)).tolist() == [expert]
    with pytest.raises(BudgetError, match="can be met is 1"):
        solve(problem, ParameterBudget(active=0.9))
    for limit in (0.0, -9e9, float("nan")):
        for name in ("active", "total"):
            with pytest.raises(BudgetError, match=f"above zero, but {name}="):
                solve(problem, ParameterBudget(**{name: limit}))


def test_the_solver_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for seed in range(20):
        problem, _ = random_problem(seed)
        solve(problem, ParameterBudget(active=float(problem.active.mean())))
    assert capfd.readouterr().out == ""


def test_parameters_as_a_person_writes_them() -> None:
    assert [parameters(each) for each in (7.6e9, 270e6, 12e9, 1500.0, 5.0)] == [
        "7.6B",
        "270M",
        "12B",
        "1.5K",
        "5",
    ]


def test_threads_that_solve_at_once_leave_standard_output_as_it_was() -> None:
    before = os.fstat(1)
    problem, _ = random_problem(0)
    budget = ParameterBudget(active=float(problem.active.mean()))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: solve(problem, budget), range(40)))
    assert os.path.samestat(os.fstat(1), before)
