"""A warm-up that searches share: the same results as without."""

import pytest

from micronas.checkpoint import Checkpoint
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.search import SearchResult
from micronas.nas.settings import SearchSettings
from micronas.train.recipe import Recipe
from tests.toy import SPACE, data
from tests.training import cached, search

pytestmark = pytest.mark.usefixtures("device")

SETTINGS = SearchSettings(
    strategy="dnas",
    steps=20,
    warmup=40,
    batch_size=32,
    candidates=3,
    finalists=1,
    trial=Recipe(epochs=1, batch_size=32, learning_rate=1e-2),
)
POINTS = [
    ("stm32f446re", Budget(sram="4.5 KB", macs="60000")),
    ("stm32f767zi", Budget(latency="2 ms")),
]


class StoppedError(Exception):
    pass


def run(
    point: tuple[str, Budget],
    *,
    checkpoint: Checkpoint | None = None,
    warmup: Checkpoint | None = None,
    stop_at: int = 1000,
) -> tuple[SearchResult, set[str]]:
    """A result, and the phases it took; stopped by an exception at a step of the search."""
    phases = set()

    def progress(phase: str, done: int, *_: object) -> None:
        phases.add(phase)
        if phase == "search" and done >= stop_at:
            raise StoppedError

    board, budget = point
    found = search(
        SPACE,
        data(),
        board=Board.load(board),
        budget=budget,
        settings=SETTINGS,
        seed=3,
        checkpoint=checkpoint,
        warmup=warmup,
        progress=progress,
    )
    return found, phases


@cached
def alone(number: int) -> tuple[SearchResult, set[str]]:
    return run(POINTS[number])


def test_other_boards_and_budgets_go_on_from_it_to_the_same_result() -> None:
    warmup = Checkpoint()
    for number, point in enumerate(POINTS):
        expected, phases = alone(number)
        assert "warm-up" in phases
        shared, phases = run(point, warmup=warmup)
        assert shared == expected
        assert ("warm-up" in phases) == (number == 0)


def test_a_search_that_was_stopped_goes_on_from_its_own_state() -> None:
    own, warmup = Checkpoint(), Checkpoint()
    with pytest.raises(StoppedError):
        run(POINTS[0], checkpoint=own, warmup=warmup, stop_at=10)
    again, phases = run(POINTS[0], checkpoint=own, warmup=warmup)
    assert "warm-up" not in phases
    assert again == alone(0)[0]
