"""What searches share of their supernets: the same results as without."""

import pytest

from micronas.checkpoint import Checkpoint
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.search import SearchResult
from micronas.train.recipe import Recipe
from tests.nas.brief import brief
from tests.nas.stopped import StoppedError
from tests.toy import SMALL, few
from tests.training import cached, search

pytestmark = pytest.mark.usefixtures("device")

TRIAL = Recipe(epochs=1, batch_size=32, learning_rate=1e-2)
COMMON = {"steps": 12, "batch_size": 32, "trial": TRIAL, "champions": 2}
STRATEGIES = {
    "dnas": brief("dnas", warmup=40, **COMMON),
    "ranked": brief("ranked", supernet="space", **COMMON),
}
POINTS = [
    ("stm32f446re", Budget(sram="4.5 KB", macs="60000")),
    ("stm32f767zi", Budget(latency="2 ms")),
]


def run(
    strategy: str,
    point: tuple[str, Budget],
    *,
    checkpoint: Checkpoint | None = None,
    shared: Checkpoint | None = None,
    stop_at: int = 1000,
) -> tuple[SearchResult, set[str]]:
    """A result, and the phases in which it took steps; an exception stops the search at one."""
    phases, begun = set(), False

    def progress(phase: str, done: int, *_: object) -> None:
        nonlocal begun
        if begun:
            phases.add(phase)
        begun = True  # the first report is of where it begins
        if phase == "search" and done >= stop_at:
            raise StoppedError

    board, budget = Board.load(point[0]), point[1]
    given = {"settings": STRATEGIES[strategy], "checkpoint": checkpoint, "shared": shared}
    found = search(SMALL, few(), board=board, budget=budget, seed=3, progress=progress, **given)
    return found, phases


@cached
def alone(number: int) -> tuple[SearchResult, set[str]]:
    return run("dnas", POINTS[number])


@pytest.mark.long
def test_other_boards_and_budgets_go_on_from_a_warm_up_to_the_same_result() -> None:
    shared = Checkpoint()
    for number, point in enumerate(POINTS):
        expected, phases = alone(number)
        assert "warm-up" in phases
        found, phases = run("dnas", point, shared=shared)
        assert found == expected
        assert ("warm-up" in phases) == (number == 0)


@pytest.mark.long
def test_weights_trained_on_the_space_serve_every_board_and_budget() -> None:
    shared = Checkpoint()
    first, second = POINTS
    assert run("ranked", first, shared=shared)[1] == {"search", "trials"}
    assert run("ranked", second, shared=shared) == (run("ranked", second)[0], {"trials"})


@pytest.mark.long
def test_a_search_that_was_stopped_goes_on_from_its_own_state() -> None:
    own, shared = Checkpoint(), Checkpoint()
    with pytest.raises(StoppedError):
        run("dnas", POINTS[0], checkpoint=own, shared=shared, stop_at=10)
    again, phases = run("dnas", POINTS[0], checkpoint=own, shared=shared)
    assert "warm-up" not in phases
    assert again == alone(0)[0]
