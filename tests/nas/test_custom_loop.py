"""The three lines of a search in a training loop of one's own."""

import math
import re
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import micronas
from micronas.errors import BudgetError, ConfigError, DataError
from micronas.hardware.targets import CMSIS_NN
from micronas.nas.custom_loop import SearchBudget, Supernet
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.fit_choice import fit_choice
from micronas.nas.supernet.gates import Gates
from micronas.space.decisions import Choice, Decision
from micronas.space.space import Space
from tests.nas.own_networks import DSCNN
from tests.toy import SPACE
from tests.toy import split as toy_split

BOARD = micronas.Board.load("stm32f446re")
BUDGET = micronas.Budget(latency="3 ms")


def train(supernet: Supernet, budget: SearchBudget, steps: range) -> list[float]:
    """Batches follow from the step, so that a resumed run sees the same ones."""
    data = toy_split(400, 0)
    groups = supernet.parameter_groups(gate_learning_rate=0.05)
    optimizer = torch.optim.Adam(groups, lr=5e-3, betas=(0.0, 0.99))
    losses = []
    for step in steps:
        torch.manual_seed(step)
        index = torch.randint(400, (32,))
        loss = F.cross_entropy(supernet(data.inputs[index]), data.labels[index])
        optimizer.zero_grad()
        (loss + budget.penalty(supernet)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def new(steps: int, limits: micronas.Budget = BUDGET) -> tuple[Supernet, SearchBudget]:
    torch.manual_seed(0)
    return micronas.Supernet(SPACE), micronas.SearchBudget(limits, BOARD, steps=steps)


def test_three_lines_find_a_network_that_fits() -> None:
    supernet, budget = new(80)
    losses = train(supernet, budget, range(80))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    architecture = supernet.choose()
    assert architecture == SPACE.architecture(supernet.choice())
    used = budget.used(supernet, supernet.choice())
    assert 0.9 <= used["latency"] <= 1
    assert max(used.values()) == used["latency"]
    assert architecture.build()(torch.randn(2, 1, 12, 12)).shape == (2, SPACE.classes)


@pytest.mark.long
def test_the_search_lowers_the_expected_cost_to_the_budget() -> None:
    """From far above it: the gates move, and not only the choice at the end."""
    supernet, budget = new(120, micronas.Budget(macs="8 kMACs"))

    def macs() -> float:
        with torch.no_grad():
            return float(
                expected(SPACE, supernet.gates.probabilities(), target=CMSIS_NN).features["macs"]
            )

    assert macs() > 2 * 8_000
    train(supernet, budget, range(120))
    assert macs() < 1.25 * 8_000
    assert budget.used(supernet, supernet.gates.most_likely())["macs"] < 1.25


def test_eval_runs_the_network_that_would_be_chosen() -> None:
    supernet, budget = new(10)
    train(supernet, budget, range(10))
    x = torch.randn(8, 1, 12, 12)
    supernet.eval()
    choice = supernet.choice()
    assert budget.used(supernet, choice)["latency"] <= 1
    assert torch.equal(supernet(x), supernet.shared.sliced(x, choice))
    assert torch.equal(supernet(x), supernet(x))


def test_training_passes_are_drawn_anew() -> None:
    supernet, _ = new(1)
    x = torch.randn(8, 1, 12, 12)
    torch.manual_seed(1)
    first, second = supernet(x), supernet(x)
    torch.manual_seed(1)
    assert torch.equal(first, supernet(x))
    assert not torch.equal(first, second)


def test_penalty_counts_training_steps_only() -> None:
    supernet, budget = new(4)
    supernet.eval()
    assert float(budget.penalty(supernet)) == 0
    assert budget.step == 0
    supernet.train()
    temperatures = []
    for _ in range(6):
        assert budget.penalty(supernet).dtype == torch.float32
        temperatures.append(float(supernet.temperature))
    assert budget.step == 6
    expected = [0.5 ** (step / 4) for step in (0, 1, 2, 3, 4, 4)]
    assert temperatures == pytest.approx(expected)


def test_a_resumed_search_goes_on_as_if_never_stopped() -> None:
    supernet, budget = new(12)
    train(supernet, budget, range(6))
    weights = {name: value.clone() for name, value in supernet.state_dict().items()}
    steering = budget.state_dict()
    train(supernet, budget, range(6, 12))
    resumed, again = new(12)
    resumed.load_state_dict(weights)
    again.load_state_dict(steering)
    train(resumed, again, range(6, 12))
    for name, value in supernet.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert supernet.choose() == resumed.choose()


def test_parameter_groups_hold_each_parameter_once() -> None:
    supernet, _ = new(1)
    weights, gates = supernet.parameter_groups(gate_learning_rate=0.1)
    assert {id(each) for each in gates["params"]} == {id(each) for each in supernet.gates.logits}
    assert gates["lr"] == 0.1
    assert gates["weight_decay"] == 0
    total = [id(each) for group in (weights, gates) for each in group["params"]]
    assert sorted(total) == sorted(id(each) for each in supernet.parameters())


def test_errors_say_what_to_do() -> None:
    supernet, budget = new(3)
    with pytest.raises(ConfigError, match=r"choose\(\) must know the budget"):
        supernet.choose()
    budget.penalty(supernet)
    with pytest.raises(ConfigError, match="asked about a second"):
        budget.penalty(Supernet(SPACE))
    _, tight = new(3, micronas.Budget(flash="1 KB"))
    with pytest.raises(BudgetError, match=r"flash budget must .* budget=1.0 KB, .*; raise flash"):
        tight.penalty(supernet)
    with pytest.raises(BudgetError, match="flash budget must"):
        supernet.choose(tight)
    limits: Any = BUDGET
    with pytest.raises(ConfigError, match=r"choose\(\) takes a SearchBudget, but got Budget"):
        supernet.choose(limits)
    for odd in (0, math.nan, 2.5, "3"):
        with pytest.raises(ConfigError, match=f"at least one step, but got steps={odd}"):
            SearchBudget(BUDGET, BOARD, steps=odd)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="of a Budget and a Board, but got Budget and str"):
        SearchBudget(BUDGET, "stm32f446re", steps=3)  # type: ignore[arg-type]
    for state in ({}, supernet.gates.state_dict(), None, {"step": 1, "penalty": {}}):
        with pytest.raises(ConfigError, match=r"state must have step and penalty, .* got .{2,60};"):
            budget.load_state_dict(state)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"space of one family, .* but got OpenSpace"):
        Supernet(micronas.load_space("kws_open"))  # type: ignore[arg-type]


@pytest.mark.parametrize("training", [True, False])
def test_inputs_of_another_size_are_refused(training: bool) -> None:
    """In training, of inputs of twice the size, rows of features were answers of their own."""
    supernet, _ = new(3)
    for shape in ((8, 1, 24, 24), (8, 3, 12, 12), (8, 12, 12)):
        with pytest.raises(DataError, match=r"inputs must be \[N, 1, 12, 12\]"):
            supernet.train(training)(torch.randn(shape))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31 - 1), limit=st.floats(0.25, 1.2))
def test_a_fitted_choice_keeps_a_sum_of_widths(seed: int, limit: float) -> None:
    """Costs are sums of positive steps, here; every network is enumerated beside the answer."""
    generator = torch.Generator().manual_seed(seed)
    gates = Gates(tuple(Decision(f"d{number}", "width", (1, 2, 3)) for number in range(4)))
    costs = torch.rand(4, 3, generator=generator, dtype=torch.float64).add(0.1).cumsum(1)
    top = float(costs[:, -1].sum()) * limit
    with torch.no_grad():
        for logits in gates.logits:
            logits.copy_(2 * torch.randn(3, generator=generator))

    def used(choice: Choice) -> dict[str, float]:
        total = sum(float(row[index]) for row, index in zip(costs, choice, strict=True))
        return {"latency": total / top}

    def slopes(choice: Choice, name: str) -> list[Tensor]:
        return list(costs)

    found = fit_choice(gates, used, slopes)
    share, likely = used(found)["latency"], gates.most_likely()
    if min(used(choice)["latency"] for choice in product(range(3), repeat=4)) > 1:
        assert found == (0, 0, 0, 0)
        return
    assert share <= 1
    if used((2, 2, 2, 2))["latency"] <= 1 or 0.9 <= used(likely)["latency"] <= 1:
        assert found == likely
    elif share < 0.9:
        wider = [
            (*found[:position], index + 1, *found[position + 1 :])
            for position, index in enumerate(found)
            if index < 2
        ]
        assert all(used(choice)["latency"] > 1 for choice in wider)


@pytest.mark.long
@pytest.mark.parametrize(
    ("page", "shape", "module"),
    [("my-loop", Space.load("kws_small").input, None), ("my-network", (12, 12, 1), DSCNN())],
)
def test_the_pages_code_runs(
    page: str, shape: tuple[int, int, int], module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block of a page in turn, on random batches; searches are cut short."""
    text = (Path(__file__).parents[2] / "docs" / "howto" / f"{page}.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    height, width, channels = shape
    inputs, labels = torch.randn(32, channels, height, width), torch.arange(32) % 4
    examples = micronas.TensorSplit(inputs, labels, groups=torch.arange(32))
    names: dict[str, Any] = {
        "loader": [(inputs, labels)] * 2,
        "epochs": 2,
        "module": module,
        "data": micronas.DataSet(examples, examples, None, tuple("abcd"), shape),
    }
    short = micronas.SearchSettings(
        draws=2, champions=1, trial=micronas.Recipe(epochs=1, batch_size=2)
    )
    monkeypatch.setattr(micronas, "search", partial(micronas.search, settings=short))
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    supernet, budget = names["supernet"], names["budget"]
    assert max(budget.used(supernet, supernet.choice()).values()) <= 1
