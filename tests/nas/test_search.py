"""The search as a whole, on a toy data set whose networks train in a second."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, TensorSplit, divide
from micronas.errors import BudgetError, ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.member import Member
from micronas.nas.prior import uniform_networks
from micronas.nas.search import SearchResult
from micronas.nas.settings import DnasSettings, SearchSettings, strategy_settings
from micronas.nas.strategies.dnas import draws
from micronas.nas.strategies.shared import rank
from micronas.nas.supernet.gates import Gates
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.train.loop import generator_for
from micronas.train.recipe import Recipe
from tests.nas.brief import brief
from tests.nas.stopped import StoppedError
from tests.toy import SPACE, data
from tests.toy import split as toy_split
from tests.training import cached, search

pytestmark = pytest.mark.usefixtures("device")

BOARD = Board.load("stm32f446re")
BUDGET = Budget(sram="4.5 KB", macs="60000")
SETTINGS = brief(
    "dnas",
    **{"steps": 70, "warmup": 140, "batch_size": 32, "candidates": 12, "finalists": 2},
    trial=Recipe(epochs=5, batch_size=6, learning_rate=1e-2),
)
SHORT = brief(
    "dnas",
    **{"steps": 40, "warmup": 40, "batch_size": 32, "candidates": 8},
    trial=Recipe(epochs=2, batch_size=32, learning_rate=1e-2),
)
MEMBER = Member(SPACE, BOARD, BUDGET)


def test_settings_may_be_keys_as_in_yaml() -> None:
    assert strategy_settings({"strategy": "dnas", "warmup": 7}) == DnasSettings(warmup=7)
    assert strategy_settings(None) == SearchSettings()
    assert strategy_settings(SHORT) is SHORT
    with pytest.raises(ConfigError, match=r"unknown key 'search.wramup'.*did you mean 'warmup'"):
        run(0, settings={"wramup": 7, "strategy": "dnas"})
    for last in (0, -0.5):
        with pytest.raises(ConfigError, match=r"search\.temperature.*greater than 0"):
            strategy_settings({"strategy": "dnas", "temperature": [1, last]})


def run(seed: int, *, settings: Any = SETTINGS, **keywords: Any) -> SearchResult:
    given = {"board": BOARD, "budget": BUDGET, "settings": settings, "seed": seed}
    return search(SPACE, data(), **given, **keywords)


@cached
def result() -> SearchResult:
    return run(1)


@pytest.mark.long
def test_the_winner_fits_and_has_learnt() -> None:
    found = result()
    for candidate in found.candidates:
        assert candidate.architecture == SPACE.architecture(candidate.choice)
        assert candidate.costs == MEMBER.costs(candidate.choice)
        assert MEMBER.fits(candidate.choice)
    assert {candidate.origin for candidate in found.candidates} == {"search", "uniform"}
    assert (found.winner.trial_score or 0) > 0.8
    assert found.winner.trial_epochs == SETTINGS.trial.epochs


@pytest.mark.long
def test_losers_stop_early_and_the_order_is_by_loss_of_the_last_rung() -> None:
    epochs = [candidate.trial_epochs for candidate in result().candidates]
    assert epochs == sorted(epochs, reverse=True)
    assert set(epochs) == {3, 5}
    finals = [each.trial_loss for each in result().candidates if each.trial_epochs == 5]
    assert finals == sorted(finals)


@pytest.mark.long
def test_gates_wait_until_weights_have_learnt_something() -> None:
    history = result().history
    warm = [record for record in history if record["step"] == 0]
    start = warm[0]
    assert len(warm) >= 2
    for record in warm:
        assert record["expected_macs"] == start["expected_macs"]
    assert all(
        record["loss"] > 0.9 * 1.3863 for record in warm[:-1]
    )  # ln 4: the last warm round ends below it


@pytest.mark.long
def test_the_expected_cost_ends_near_the_budget() -> None:
    """Not far below (a collapsed search) and not far above (an argmax that does not fit)."""
    last, used = result().history[-1], BUDGET.on(BOARD).given()
    shares = [last[f"expected_{name}"] / used[name] for name in used]
    assert 0.75 < max(shares) < 1.15


@pytest.mark.long
def test_another_seed_is_another_search() -> None:
    """From its first round, after which it is stopped."""
    first: list[dict[str, float]] = []

    def progress(phase: str, done: int, total: int, numbers: dict[str, float]) -> None:
        if numbers:  # not the announcement of a phase
            first.append(numbers)
            raise StoppedError

    with pytest.raises(StoppedError):
        run(2, progress=progress)
    assert first[0].keys() == result().history[0].keys()
    assert first[0] != result().history[0]


def test_proposals_use_ninety_to_a_hundred_percent_of_the_binding_budget() -> None:
    gates = Gates(SPACE.decisions)
    proposals = draws(MEMBER, gates, 40, torch.Generator().manual_seed(0))
    networks = {str(SPACE.architecture(choice)) for choice in proposals}
    assert len(networks) == len(proposals) == 40
    for choice in proposals:
        assert 0.9 <= max(MEMBER.used(choice).values()) <= 1.0


def test_proposals_reach_the_budget_from_gates_that_collapsed() -> None:
    """Gates certain of a network far above the budget still yield networks that fit."""
    gates = Gates(SPACE.decisions)
    for logits in gates.logits:
        logits.data[-1] = 50.0
    assert len(draws(MEMBER, gates, 10, torch.Generator().manual_seed(0))) == 10


@pytest.mark.long
def test_a_search_that_learnt_nothing_still_returns_the_uniform_answer() -> None:
    """No finalist from the supernet: the trivial networks are what is left, never nothing."""
    nothing = SHORT.model_copy(update={"steps": 1, "warmup": 0, "finalists": 0})
    found = run(0, settings=nothing)
    uniform = set(uniform_networks(MEMBER))
    assert {candidate.choice for candidate in found.candidates} == uniform


def test_ranking_prefers_accuracy_to_large_logits() -> None:
    """Raw cross-entropy favours a wide last layer; the best temperature takes that away."""
    torch.manual_seed(0)
    supernet, choice, split = SharedNetwork(SPACE), SPACE.uniform(1.0), toy_split(120, 1)
    optimizer = torch.optim.Adam(supernet.parameters(), 1e-2)
    for _ in range(30):
        logits = supernet.sliced(split.batch(torch.arange(120), None), choice)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, split.labels).backward()
        optimizer.step()
    noise = 3 * torch.randn(split.inputs.shape)
    hard = TensorSplit(split.inputs + noise, split.labels)
    losses = []
    for factor in (1.0, 1.5):
        with torch.no_grad():
            for parameter in supernet.units["classifier"].parameters():
                parameter.mul_(factor)
        losses += rank(supernet, [choice], hard, 0)
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_parts_of_the_training_set_share_no_speaker() -> None:
    parts = divide(data().train, (0.4, 0.4, 0.2), generator_for(0, "parts"))
    sizes = [len(part.labels) for part in parts]
    assert sum(sizes) == 400
    assert sizes == pytest.approx([160, 160, 80], abs=8)
    groups = [set(part.groups.tolist()) for part in parts]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 100
    # where one of twelve speakers has most clips, the others rank, too
    given = torch.tensor([0] * 100 + [*range(1, 12)])
    split = TensorSplit(torch.zeros(111, 1, 1, 1), given * 0, groups=given)
    parts = divide(split, (0.4, 0.4, 0.2), generator_for(0, "parts"))
    assert [len(part.labels) for part in parts] == [100, 7, 4]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("board", "stm32f446re"),
        ("budget", {"sram": "6 KB"}),
        ("space", "kws"),
        ("checkpoint", "search.pt"),
    ],
)
def test_names_are_for_run_alone(key: str, wrong: object) -> None:
    given = {"space": SPACE, "data": data(), "board": BOARD, "budget": BUDGET, key: wrong}
    with pytest.raises(ConfigError, match=f"{key} of a search must be an object, .* micronas.run"):
        search(**given)


def test_a_checkpoint_of_another_search_is_refused() -> None:
    """Its results were taken, those of two seeds side by side."""

    def stop(*_: object) -> None:
        raise StoppedError

    checkpoint = Checkpoint()
    own = {"space": SPACE, "data": data(), "board": BOARD, "budget": BUDGET, "settings": SHORT}
    with pytest.raises(StoppedError):
        search(**own, checkpoint=checkpoint, progress=stop)
    others = {"seed": 1, "budget": Budget(sram="4.6 KB"), "settings": SETTINGS}
    for key, other in others.items():
        with pytest.raises(ConfigError, match=f"one search, but this one is of another {key};"):
            search(**{**own, key: other}, checkpoint=checkpoint)
    own["data"] = replace(data(), train=data().validation)
    with pytest.raises(ConfigError, match="that of the checkpoint has changed"):
        search(**own, checkpoint=checkpoint)


def test_errors_come_before_training() -> None:
    with pytest.raises(BudgetError, match="sram budget must reach the smallest"):
        search(SPACE, data(), board=BOARD, budget=Budget(sram="1 KB"))
    parts = data().train, data().validation, None
    five = SPACE.model_copy(update={"classes": 5})
    with pytest.raises(ConfigError, match="must agree on the number of classes: data=4"):
        search(five, data(), board=BOARD, budget=BUDGET)
    other = DataSet(*parts, data().classes, (SPACE.input[0] + 1, *SPACE.input[1:]))
    with pytest.raises(ConfigError, match="an input must hold the rows that were read"):
        search(SPACE, other, board=BOARD, budget=BUDGET)
