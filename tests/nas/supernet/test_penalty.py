"""The adaptive penalty: what broke a first prototype must not come back."""

import math

import pytest
import torch

from micronas.nas.supernet.penalty import AIM, ANNEALED, SLACK, Penalty


def penalty(steps: int = 400) -> Penalty:
    return Penalty({"sram": 100.0, "latency": 50.0}, {"sram": 400.0, "latency": 40.0}, steps)


def test_targets_fall_geometrically_from_the_largest_network_to_the_budget() -> None:
    made = penalty()
    assert made.targets(0.0) == {"sram": pytest.approx(400), "latency": AIM * 50}
    assert made.targets(ANNEALED / 2)["sram"] == pytest.approx(math.sqrt(400 * AIM * 100))
    assert made.targets(ANNEALED)["sram"] == pytest.approx(AIM * 100)
    assert made.targets(1.0)["sram"] == pytest.approx(AIM * 100)


def test_the_first_step_pulls_on_no_gate() -> None:
    """A multiplier that starts above zero collapses the gates within an epoch."""
    cost = torch.tensor(400.0, requires_grad=True)
    made = penalty()
    made.loss({"sram": cost, "latency": torch.tensor(10.0)}, 0.0).backward()
    assert float(cost.grad or 0) == 0


def test_a_multiplier_grows_by_its_rate_while_the_cost_is_too_high() -> None:
    made = penalty(steps=400)
    for _ in range(10):
        made.loss({"sram": torch.tensor(2 * AIM * 100), "latency": torch.tensor(1.0)}, 1.0)
    assert made.multipliers["sram"] == pytest.approx(10 * 20 / 400 * math.log(2), rel=1e-6)
    assert made.multipliers["latency"] == 0


def test_only_the_binding_cost_may_push_upwards_and_only_at_the_end() -> None:
    made = penalty()
    costs = {"sram": torch.tensor(10.0), "latency": torch.tensor(20.0)}
    for _ in range(500):
        made.loss(costs, 0.5 * ANNEALED)
    assert made.multipliers == {"sram": 0, "latency": 0}
    for _ in range(500):
        made.loss(costs, 1.0)
    assert made.multipliers == {"sram": 0, "latency": SLACK}


def test_corrections_carry_exact_costs_into_the_loss() -> None:
    made = penalty()
    smooth = {name: torch.tensor(100.0) for name in made.limits}
    made.observe({"sram": 150.0, "latency": 5.0}, smooth)
    assert made.corrections == {"sram": 1.5, "latency": pytest.approx(0.05)}
    restored = penalty()
    restored.restore(made.state())
    assert restored.corrections == made.corrections
