"""Halving, ranking and evolution on the toy data set, and which of them a search takes itself."""

import math
import random
from statistics import fmean

import pytest
import torch
from pydantic import ValidationError

from micronas.checkpoint import Checkpoint
from micronas.data import TensorSplit
from micronas.errors import MicronasError
from micronas.graph.counts import count
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.prior import draw, draw_any
from micronas.nas.member import Member
from micronas.nas.search import SearchResult
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.auto import SHARE, choose
from micronas.nas.strategies.dnas import Dnas
from micronas.nas.strategies.ranked import Ranked
from micronas.nas.strategies.shared import SIFTED_BY
from micronas.nas.trials import rung_epochs
from micronas.space.decisions import Choice
from micronas.space.space import Space
from micronas.train.recipe import Recipe
from tests.nas.stopped import until_it_ends
from tests.toy import SPACE, data, split
from tests.training import cached, search

pytestmark = pytest.mark.usefixtures("device")

BOARD = Board.load("stm32f446re")
BUDGET = Budget(sram="4.5 KB", macs="60000")
PROBLEM = Member(SPACE, BOARD, BUDGET)


def settings(strategy: str) -> SearchSettings:
    return SearchSettings.model_validate(
        {
            "strategy": strategy,
            "steps": 40,
            "warmup": 60,
            "batch_size": 32,
            "finalists": 3,
            "draws": 6,
            "generations": 3,
            "trial": Recipe(epochs=10, batch_size=10, learning_rate=1e-2),
        }
    )


def run(
    strategy: str, *, update: dict[str, object] | None = None, **keywords: object
) -> SearchResult:
    return search(
        SPACE,
        data(),
        board=BOARD,
        budget=BUDGET,
        settings=settings(strategy).model_copy(update=update),
        seed=1,
        **keywords,  # type: ignore[arg-type]
    )


@cached
def result(strategy: str) -> SearchResult:
    return run(strategy)


@pytest.mark.parametrize("strategy", ["halving", "ranked", "evolution"])
def test_the_winner_fits_and_has_learnt(strategy: str) -> None:
    found = result(strategy)
    assert found.strategy == strategy
    assert found.reason == "as search.strategy says"
    assert all(PROBLEM.limits.fits(each.costs) for each in found.candidates)
    assert {each.origin for each in found.candidates} == {"search", "uniform"}
    assert (found.winner.trial_accuracy or 0) > 0.8
    assert found.gates == []
    assert found.most_likely is None


def test_gates_that_are_not_finite_are_an_error_that_says_what_was_not() -> None:
    """By inputs that are none, which nothing downstream of a user's own loader checks."""
    examples = data().train
    holed = TensorSplit(torch.full_like(examples.inputs, torch.nan), examples.labels)
    strategy = Dnas(PROBLEM, settings("dnas"), seed=1)
    with pytest.raises(MicronasError, match=r"gates must stay finite.*task=nan, penalty=0"):
        strategy.move_gates(holed, torch.arange(32), torch.Generator())


def test_halving_sends_the_worse_half_away() -> None:
    """6 drawn and 3 uniform networks: 9 train for 5 epochs, then the better 5 go on and begin anew.

    A quarter would do to the end, but after 3 epochs of 32 steps it is too early to tell.
    """
    epochs = [each.trial_epochs for each in result("halving").candidates]
    assert epochs == [20] * 5 + [5] * 4


@pytest.mark.parametrize(
    ("count", "epochs", "steps", "expected"),
    [
        (19, 8, 90, [2, 4, 8]),
        (19, 8, 75, [2, 4, 8]),
        (19, 8, 74, [4, 8]),
        (7, 8, 90, [4, 8]),
        (19, 8, 10, [8]),
        (19, 7, 90, [2, 4, 7]),
        (19, 1, 90, [1]),
        (1, 8, 90, [4, 8]),
    ],
)
def test_halving_waits_for_150_steps(
    count: int, epochs: int, steps: int, expected: list[int]
) -> None:
    """About five reach the end, and none leaves before it has had 150 steps."""
    assert rung_epochs(count, epochs, steps) == expected


def test_evolution_keeps_within_the_budget_and_beats_where_it_began() -> None:
    """The best of all generations has no more loss than the best of the first, which is in it."""
    found = result("evolution")
    proposed = [each for each in found.candidates if each.origin == "search"]
    assert len(proposed) == settings("evolution").finalists
    assert all(0.9 <= max(PROBLEM.limits.used(each.costs).values()) <= 1 for each in proposed)
    losses = [record["loss"] for record in found.history]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("strategy", ["halving", "ranked", "evolution"])
def test_a_search_stopped_anywhere_ends_in_the_same_result(strategy: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    found, attempts = until_it_ends(
        lambda checkpoint, progress: run(strategy, checkpoint=checkpoint, progress=progress),
        tmp_path / "checkpoint.pt",
        lambda attempt: 4 * attempt,  # finished trials are told of again
    )
    assert attempts >= 3
    assert found == result(strategy)


def test_who_does_not_warm_up_leaves_no_warm_up_to_others() -> None:
    shared = Checkpoint()
    assert run("ranked", shared=shared) == result("ranked")
    assert shared.load("search") is None


def test_trials_begin_with_shared_weights() -> None:
    """At a rate of nearly zero they know what the supernet does; anew they know nothing."""

    def accuracy(inherited: float) -> float:
        trial = Recipe(epochs=2, batch_size=8, learning_rate=1e-6)
        update = {"trial": trial, "inherited": inherited}
        found = run("ranked", update=update).candidates
        return fmean(each.trial_accuracy or 0.0 for each in found)

    assert accuracy(0.5) > 0.7
    assert accuracy(0) < 0.5


@pytest.mark.parametrize(
    ("asked", "examples", "processes", "expected", "because"),
    [
        ("evolution", 80, 1, "evolution", "search.strategy"),
        ("auto", 80, 1, "halving", "on 0.67 of halving's examples, more than 0.5"),
        ("auto", 1600, 1, "ranked", "on 0.23 of halving's examples, no more than 0.5"),
        ("auto", 80, 2, "ranked", "2 processes"),
        ("halving", 1600, 2, "halving", "search.strategy"),
    ],
)
def test_shared_weights_where_they_save_half(
    asked: str, examples: int, processes: int, expected: str, because: str
) -> None:
    """By hand, of 8 and of 160 steps an epoch.

    Halving, of 9 networks: all 10 epochs and 5 another 10; or 9 * 5 + 5 * 5 + 5 * 10, as 5 epochs
    tell. Ranking: 160 batches of 32, and of 6 networks all 5 epochs; or 6 * 3 + 3 * 2.
    """
    assert SHARE == 0.5
    found = choose(PROBLEM, settings(asked), examples=examples, processes=processes)
    assert found[0] == expected
    assert because in found[1]


def test_weights_of_a_whole_space_are_ranked_by() -> None:
    asked = settings("auto").model_copy(update={"supernet": "space"})
    found = choose(PROBLEM, asked, examples=80, processes=1)
    assert found == ("ranked", "search.supernet=space trains shared weights")
    for strategy in ("dnas", "halving"):
        with pytest.raises(
            ValidationError, match=f"is for strategy=ranked or evolution, but strategy={strategy}"
        ):
            SearchSettings(strategy=strategy, supernet="space")


KWS = Space.load("kws_small")


@pytest.mark.parametrize(
    "budget", [Budget(sram="16 KB", latency="40 ms"), Budget(macs="0.5 MMACs"), Budget(sram="20KB")]
)
def test_drawn_networks_fit_and_use_what_there_is(budget: Budget) -> None:
    problem = Member(KWS, BOARD, budget)
    drawn = draw(problem, count=20, source=random.Random(0))
    assert len({str(KWS.architecture(choice)) for choice in drawn}) == 20
    assert all(0.9 <= problem.share(choice) <= 1 for choice in drawn)
    assert drawn == draw(problem, count=20, source=random.Random(0))


def test_drawn_networks_have_no_bottleneck() -> None:
    """No layer is much narrower than both a layer before and a layer after it.

    The grid, and the widening of single layers up to the budget, leave a factor of two.
    """
    problem = Member(KWS, BOARD, Budget(sram="64 KB", latency="100 ms"))
    for choice in draw(problem, count=30, source=random.Random(0)):
        network = KWS.architecture(choice)
        widths = [network.stem.width[0], *(block.width[0] for block in network.blocks)]
        for place in range(1, len(widths) - 1):
            assert 2 * widths[place] >= min(max(widths[:place]), max(widths[place + 1 :]))


def test_a_space_that_is_within_the_budget_is_drawn_from_as_it_is() -> None:
    drawn = draw(Member(SPACE, BOARD, Budget()), count=5, source=random.Random(0))
    assert len({str(SPACE.architecture(choice)) for choice in drawn}) == 5


def test_draws_of_any_size_are_even_in_the_logarithm_of_their_width() -> None:
    """Without the steps at which all widths are the smallest: they would be one network."""
    drawn = draw_any(KWS, count=200, source=random.Random(0))
    assert len(set(map(KWS.canonical, drawn))) == 200
    widest = [max(block.width[0] for block in KWS.architecture(each).blocks) for each in drawn]
    widths = KWS.blocks[0].width
    middle = math.sqrt(widths[0] * widths[-1])
    assert 0.35 < fmean(each > middle for each in widest) < 0.75
    assert max(widest) == widths[-1]


SMALL = Space.model_validate(
    {
        "name": "one",
        "input": [12, 12, 1],
        "classes": 4,
        "stem": {"width": [4, 8], "kernel": 3},
        "blocks": [{"type": "separable", "width": 8}],
    }
)


def test_a_space_with_few_networks_gives_what_it_has() -> None:
    drawn = draw(Member(SMALL, BOARD, BUDGET), count=9, source=random.Random(0))
    assert 1 <= len(drawn) <= 2


class Deep(random.Random):
    """Draws deep networks only."""

    def random(self) -> float:
        return 0.99


def test_a_budget_for_the_smallest_network_alone_gives_it_whatever_is_drawn() -> None:
    least = count(KWS.resolve(KWS.smallest())).macs
    drawn = draw(Member(KWS, BOARD, Budget(macs=str(least))), count=5, source=Deep(0))
    assert [KWS.canonical(choice) for choice in drawn] == [KWS.smallest()]


class Counted(random.Random):
    """Counts draws, each of which chooses bits."""

    draws = 0

    def choice(self, seq):  # type: ignore[no-untyped-def]
        self.draws += 1
        return super().choice(seq)


class Late(Counted):
    """Draws deep networks only, 150 times."""

    def random(self) -> float:
        return 0.99 if self.draws < 150 else super().random()


def test_draws_that_do_not_fit_end_nothing_early() -> None:
    """Deep networks miss the budget by a multiply-accumulate; shallow ones come late."""
    deep = count(KWS.resolve(KWS.uniform(0.01, 1.0))).macs
    problem = Member(KWS, BOARD, Budget(macs=str(deep - 1)))
    drawn = draw(problem, count=20, source=Late(0))
    assert KWS.smallest() not in drawn
    assert len(drawn) >= 3


def test_a_space_of_two_networks_is_not_asked_for_a_thousand() -> None:
    source = Counted(0)
    drawn = draw(Member(SMALL, BOARD, BUDGET), count=1000, source=source)
    assert len(drawn) == 2
    assert source.draws < 1000


def test_finalists_have_small_and_large_kernels_in_turn() -> None:
    """The best of each kind, though the worst of one kind may be ahead of the best of the other."""
    problem = Member(KWS, BOARD, Budget(macs="0.5 MMACs"))
    pool = draw(problem, count=30, source=random.Random(0))
    by_kind: dict[bool, list[Choice]] = {False: [], True: []}
    for choice in pool:
        blocks = KWS.architecture(choice).blocks
        by_kind[2 * sum(block.kernel[0] == (5, 5) for block in blocks) > len(blocks)].append(choice)
    small, large = by_kind.values()
    losses = {choice: float(place) for place, choice in enumerate(large + small)}
    ranked = Ranked(problem, settings("ranked").model_copy(update={"finalists": 5}), 0)
    assert [*ranked.best(losses, 5)] == [large[0], small[0], large[1], small[1], large[2]]
    few = {choice: losses[choice] for choice in (*small[:3], large[0])}
    assert [*ranked.best(few, 4)] == [large[0], *small[:3]]


def test_finalists_are_the_best_by_more_examples_of_the_best_by_few() -> None:
    """All networks are asked about 256 pictures, 24 of them about 1,024; here of one kernel."""
    flat = SPACE.model_copy(
        update={
            "blocks": tuple(each.model_copy(update={"kernel": ((3, 3),)}) for each in SPACE.blocks)
        }
    )
    problem = Member(flat, BOARD, BUDGET)
    ranked = Ranked(problem, settings("ranked"), 0)
    parts = (data().train, data().train, split(1500, 5))
    few = ranked.score(ranked.pool, parts, examples=SIFTED_BY)
    near = sorted(few, key=lambda choice: few[choice] or 0.0)[:24]
    many = ranked.score(near, parts)
    assert many != {choice: few[choice] for choice in near}
    best = sorted(many, key=lambda choice: many[choice] or 0.0)[:3]
    assert ranked.propose(parts) == {choice: many[choice] for choice in best}
