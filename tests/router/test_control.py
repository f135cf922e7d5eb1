"""The budget in service: by hand, and on streams of prompts that the fit did not see."""

import math
import random

import numpy as np
import pytest

from micronas.router.control import Controller
from micronas.router.mapping import ParameterBudget
from micronas.router.policy import Router
from tests.cases import first
from tests.router.world import SKILLS, prompt


def test_levels_are_mappings_of_rising_budgets(router: Router) -> None:
    used = [each.plan.used.active or 0.0 for each in router.levels(9)]
    assert used == sorted(used)
    unlimited = router.map(ParameterBudget()).plan.used.active
    assert (used[0], used[-1]) == pytest.approx((1e9, unlimited))
    tight = router.map(ParameterBudget(active=5e9, total=6e9))
    assert {each.plan.used.total for each in tight.levels(9)} <= {1e9, 5e9, 6e9}


def test_within_the_tolerance_the_mapping_stays(router: Router) -> None:
    controller = Controller(router)
    assert controller.router is router
    for _ in range(6):
        controller.spend(30e9)  # 1.5 budgets too much each time
    assert controller.router is router
    assert controller.spent / controller.requests == 30e9
    controller.spend(30e9)
    # by hand: 10.5 budgets overspent, half of one beyond the tolerance
    assert controller.target == pytest.approx(12e9 * math.exp(-0.5 / 25))
    assert controller.router is not router


def test_credit_is_not_saved_up(router: Router) -> None:
    controller = Controller(router)
    for _ in range(10_000):
        controller.spend(1e9)
    dearest = max(each.plan.used.active or 0.0 for each in router.levels(24))
    # ten budgets of one request more than what leads to the dearest mapping
    assert controller.target == pytest.approx(dearest * math.exp(10 / 25))
    controller.correct(100 * 12e9)  # others stepped in
    assert controller.target < 12e9


@first("budget", [4e9, 12e9, 20e9], 1)
@pytest.mark.parametrize("kinds", ["code", "words sums", "code words sums"])
def test_the_average_is_the_budget_on_one_sided_traffic(
    router: Router, budget: float, kinds: str
) -> None:
    rng = random.Random(1)
    controller = Controller(router.map(ParameterBudget(active=budget)))
    asked = [prompt(rng.choice(kinds.split()), rng) for _ in range(50)]
    levels = {id(each): each.route(asked) for each in controller._levels}
    for number in range(5000):
        controller.spend(levels[id(controller.router)][number % 50].active)
    # what the dearest mapping does not want cannot be spent
    dearest = float(np.mean([each.active for each in levels[id(controller._levels[-1])]]))
    assert controller.spent / controller.requests == pytest.approx(min(budget, dearest), rel=0.02)
    assert set(SKILLS) >= set(kinds.split())
