"""Strategies on the toy data set, and which of them a search takes itself."""

import math
import random
from contextlib import suppress
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.data import TensorSplit
from micronas.errors import ConfigError, MicronasError
from micronas.graph.counts import count
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.candidate import Candidate
from micronas.nas.distributed import Ranks
from micronas.nas.member import Member
from micronas.nas.prior import draw, draw_any
from micronas.nas.problem import Problem
from micronas.nas.settings import RankedSettings, StrategySettings
from micronas.nas.strategies.auto import SHARE, chosen
from micronas.nas.strategies.base import Context, Training
from micronas.nas.strategies.dnas import Dnas
from micronas.nas.strategies.halving import Evolution, Halving, Random
from micronas.nas.strategies.race import Race, rung_epochs
from micronas.nas.strategies.ranked import Ranked
from micronas.nas.strategies.shared import SIFTED_BY, SharedStrategy
from micronas.space.decisions import Choice
from micronas.space.space import Space
from micronas.train.recipe import Recipe
from tests.nas.brief import brief
from tests.toy import SMALL, SPACE, data, space_of, split
from tests.training import search

pytestmark = pytest.mark.usefixtures("device")

BOARD = Board.load("stm32f446re")
BUDGET = Budget(sram="4.5 KB", macs="60000")
MEMBER = Member(SPACE, BOARD, BUDGET)
PROBLEM = Problem(SPACE, BOARD, BUDGET)


def settings(strategy: str, **more: object) -> StrategySettings:
    trial = Recipe(epochs=10, batch_size=10, learning_rate=1e-2)
    few = dict(steps=40, batch_size=32, finalists=3, draws=6, generations=1, champions=2)
    return brief(strategy, **{**few, "trial": trial} | more)


def context(problem: Problem, chosen: StrategySettings, **more: Any) -> Context:
    return Context(problem, data(), chosen, **more)


def test_gates_that_are_not_finite_are_an_error_that_says_what_was_not() -> None:
    """By inputs that are none, which nothing downstream of a user's own loader checks."""
    examples = data().train
    holed = TensorSplit(examples.inputs, examples.labels)
    holed.inputs = torch.full_like(examples.inputs, torch.nan)
    strategy = Dnas(context(PROBLEM, settings("dnas"), seed=1))
    with pytest.raises(MicronasError, match=r"gates must stay finite.*task=nan, penalty=0"):
        strategy.move_gates(holed, torch.arange(32), torch.Generator())


def test_halving_sends_the_worse_half_away() -> None:
    """6 drawn and 3 uniform networks, and then 3 descendants: 12 train for 5 epochs, and the
    better 6 go on.

    After 3 epochs of 32 steps it is too early to tell. The first 9 are asked for again beside the
    descendants, as weights are kept from one ask to the next.
    """
    chosen = Halving(context(PROBLEM, settings("halving", champions=1)))
    asked = []
    while trainings := chosen.ask(math.inf):
        asked.append([each.epochs for each in trainings])
        chosen.tell([_tried(each) for each in trainings])
    assert asked == [[5] * 9, [5] * 12, [10] * 6]


def test_generations_descend_from_what_real_trainings_prefer() -> None:
    """Of 4 generations of 3 all are new, within the budget, and then the better half goes on."""
    chosen = Evolution(context(PROBLEM, settings("evolution", generations=4)))
    asked, seen = [*chosen.ask(math.inf)], set[str]()
    for generation in range(5):
        labels = {each.candidate.label for each in asked}
        assert len(labels) == len(asked) == len(chosen.entrants) + 3 * generation
        assert labels > seen
        assert all(each.epochs == 5 for each in asked)
        assert all(MEMBER.limits.fits(each.candidate.costs) for each in asked)
        seen = labels
        chosen.tell([_tried(each) for each in asked])
        asked = [*chosen.ask(math.inf)]
    assert len(asked) == -(-len(seen) // 2)
    assert all(each.epochs == 10 for each in asked)


def _tried(training: Training) -> Candidate:
    loss = 1 / training.candidate.costs.macs
    return replace(training.candidate, trial_loss=loss, trial_epochs=training.epochs)


@pytest.mark.parametrize(("epochs", "longest"), [(200, 10), (100, 10), (30, 3)])
def test_random_draws_no_more_than_the_epochs_are_enough_for(epochs: int, longest: int) -> None:
    """Beside 3 uniform networks, and 2 champions that go on to three times the epochs."""
    found = Random(context(PROBLEM, settings("random", draws=None, epochs=epochs)))
    assert found.recipe.epochs == longest
    assert (found.draws + 3 + 2 * 2) * longest <= epochs < (found.draws + 4 + 2 * 2) * longest
    assert {each.epochs for each in found.ask(math.inf)} == {longest}
    assert Random(context(PROBLEM, settings("random", draws=None))).draws == 16


@pytest.mark.parametrize("kind", [Dnas, Ranked])
def test_trials_of_a_supernet_s_finalists_are_within_the_epochs(kind: type[SharedStrategy]) -> None:
    """3 finalists and 3 uniform networks take 10 epochs each, or half with inherited weights."""
    name = kind.Settings.model_fields["strategy"].default
    usual = kind(context(PROBLEM, settings(name))).plan().epochs
    assert kind(context(PROBLEM, settings(name, epochs=usual))).plan().epochs == usual
    for epochs in (usual - 1, 20):
        assert 6 <= kind(context(PROBLEM, settings(name, epochs=epochs))).plan().epochs <= epochs
    with pytest.raises(ConfigError, match=r"3 finalists .*epochs=5, smallest=\d+; give as many"):
        kind(context(PROBLEM, settings(name, epochs=5))).plan()
    # which halving can do with
    few = chosen(
        context(PROBLEM, settings("auto", draws=2, generations=0, epochs=13, finalists=20))
    )
    assert (few.name, "more epochs than given" in few.reason) == ("halving", True)


@pytest.mark.parametrize("generations", [0, 1, 3])
def test_draws_are_as_many_as_the_epochs_are_enough_for(generations: int) -> None:
    def strategy(draws: int | None, epochs: int | None) -> Halving:
        few = settings("halving", generations=generations, draws=draws, epochs=epochs)
        return Halving(context(PROBLEM, few))

    assert strategy(None, None).draws == 8
    for epochs in (150, 200, 300):
        found = strategy(None, epochs)
        assert found.recipe.epochs == 10
        assert 0.8 * epochs < found.plan().epochs <= epochs


@pytest.mark.parametrize(("draws", "epochs"), [(None, 12), (2, 12), (6, 40)])
@pytest.mark.parametrize("kind", [Halving, Random])
def test_trials_are_shorter_where_epochs_are_few(
    kind: type[Halving | Random], draws: int | None, epochs: int
) -> None:
    name = kind.Settings.model_fields["strategy"].default
    few = kind(context(PROBLEM, settings(name, draws=draws, epochs=epochs)))
    assert few.draws == draws or (draws is None and few.draws >= 2)
    assert 0 < few.recipe.epochs < 10
    assert few.plan().epochs <= epochs
    assert all(each.epochs <= few.recipe.epochs for each in few.ask(math.inf))
    with pytest.raises(ConfigError, match=rf"{draws or 2} draws .*epochs=1, smallest=\d+; give"):
        kind(context(PROBLEM, settings(name, draws=draws, epochs=1)))


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


@pytest.mark.parametrize(
    ("folds", "families", "champions", "trainings", "epochs"),
    [
        (1, 1, 0, 17 + 9 + 5, 17 * 5 + 9 * 5 + 5 * 10),
        (3, 2, 2, 3 * (31 + 2), 3 * (180 + 2 * 40)),
        # of 11 families 8 and then 6 stay, and so one network more than half of 9
        (1, 11, 2, 17 + 9 + 6 + 2, 17 * 5 + 9 * 5 + 6 * 10 + 2 * 40),
    ],
)
def test_epochs_of_a_race_by_hand(
    folds: int, families: int, champions: int, trainings: int, epochs: int
) -> None:
    """17 networks under a schedule of 60 epochs, compared after 5, 10 and 20."""
    within = context(PROBLEM, settings("halving", folds=folds))
    plan = Race(within, Recipe(epochs=60), (5, 10, 20), families, champions).plan([], 17)
    assert (plan.trainings, plan.epochs) == (trainings, epochs)


def test_the_best_networks_of_most_families_stay() -> None:
    """Of four families, one of them two networks at the top; each textbook network is a family."""
    (one,) = PROBLEM.draw(1, random.Random(0))

    def network(loss: float, family: str, origin: str = "search") -> Candidate:
        label = f"{family} {loss}"
        return replace(
            one, label=label, family=family, origin=origin, trial_loss=loss, trial_epochs=5
        )

    best = [network(loss, "rows") for loss in (0.1, 0.2, 0.3)]
    slow = [network(0.4, "", "textbook"), network(0.5, "flat"), network(0.6, "", "textbook")]
    within = context(PROBLEM, settings("halving"))
    asked, tried = [], None
    script = Race(within, Recipe(epochs=60), (5, 10, 20), 4, 2).rest([*slow, *best])
    with suppress(StopIteration):
        while trainings := script.send(tried):  # type: ignore[arg-type]  # None starts it
            asked.append([each.candidate.label for each in trainings])
            tried = [replace(each.candidate, trial_epochs=each.epochs) for each in trainings]
    first, last = [best[0], *slow[:2]], [best[0], slow[0]]
    assert asked == [[each.label for each in left] for left in (first, last, last)]


class Asked(TensorSplit):
    """Counts the batches that trainings ask for."""

    batches = 0

    def batch(self, index: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        self.batches += generator is not None
        return super().batch(index, generator)


@pytest.mark.long
def test_no_training_begins_twice() -> None:
    """Of 6 networks, one of them a descendant, 3 go on for a second epoch of 160 steps. Mean
    weights take 12 batches for their statistics each time."""
    toys = data()
    train = Asked(toys.train.inputs, toys.train.labels, groups=toys.train.groups)
    trial = Recipe(epochs=2, batch_size=2)
    found = search(
        SPACE,
        replace(toys, train=train),
        board=BOARD,
        budget=BUDGET,
        settings=settings("halving", draws=2, trial=trial, folds=1, champions=1),
        workers=1,
    )
    assert found.epochs == 6 + 3
    assert train.batches == (6 + 3) * (160 + 12)


@pytest.mark.long
def test_trials_begin_with_shared_weights() -> None:
    """At a rate of nearly zero they know what the supernet does; without, they begin anew."""
    trial = Recipe(epochs=2, batch_size=8, learning_rate=1e-6)
    shared = Checkpoint()
    few = {"trial": trial, "finalists": 2, "champions": 1, "inherited": 0.5}
    most = {"budget": BUDGET, "settings": settings("ranked", **few), "seed": 1, "shared": shared}
    found = search(SMALL, data(), board=BOARD, **most)
    assert fmean(each.trial_score or 0.0 for each in found.candidates) > 0.7
    assert found.history
    assert shared.load("search") is None  # who does not warm up leaves no warm-up to others
    alone = Ranked(context(PROBLEM, settings("ranked", inherited=0)))
    assert not alone.begins(alone.uniform)
    assert alone.recipe.epochs == 10


@pytest.mark.parametrize(
    ("examples", "processes", "supernet", "expected", "because"),
    [
        (100, 1, "budget", "halving", "0.59 times the examples of trials alone, more than 0.5"),
        (2000, 1, "budget", "ranked", "0.26 times the examples of trials alone, no more than 0.5"),
        (100, 2, "budget", "ranked", "2 processes"),
        (100, 1, "space", "ranked", "search.supernet=space trains shared weights"),
    ],
)
def test_shared_weights_where_they_save_half(
    examples: int, processes: int, supernet: str, expected: str, because: str
) -> None:
    """By hand, of 80 and 1,600 examples that trials train on, 8 and 160 steps an epoch.

    Halving, of 12 networks: all 10 epochs; or, as 3 epochs tell, 12 * 3 + 6 * 2 + 3 * 5; and 2 of
    them 20 epochs more. Ranking: 160 batches of 32, and of 6 networks all 5 epochs; or 6 * 3 +
    3 * 2.
    """
    assert SHARE == 0.5
    groups = replace(data(), train=split(examples, 0))
    few = settings("auto", supernet=supernet)
    found = chosen(Context(PROBLEM, groups, few, everyone=Ranks(0, processes)))
    assert found.name == expected
    assert because in found.reason


@pytest.mark.parametrize(("finalists", "trials"), [(3, 3), (0, 3)])
def test_uniform_networks_are_ranked_like_others_by_weights_of_a_whole_space(
    finalists: int, trials: int
) -> None:
    spared = RankedSettings(supernet="space")
    assert (spared.finalists, spared.inherited) == (3, 0.25)
    few = settings("ranked", supernet="space", finalists=finalists)
    ranked = Ranked(context(PROBLEM, few))
    assert {each.choice for each in ranked.uniform} <= set(ranked.pool)
    assert len(ranked.exempt) == trials - finalists


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


TINY = space_of("""
name: one
input: [12, 12, 1]
classes: 4
stem: {width: [4, 8], kernel: 3}
blocks:
- {type: separable, width: 8}
""")


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
    drawn = draw(Member(TINY, BOARD, BUDGET), count=1000, source=source)
    assert len(drawn) == 2
    assert source.draws < 1000


def test_finalists_have_small_and_large_kernels_in_turn() -> None:
    """The best of each kind, though the worst of one kind may be ahead of the best of the other."""
    budget = Budget(macs="0.5 MMACs")
    pool = draw(Member(KWS, BOARD, budget), count=30, source=random.Random(0))
    by_kind: dict[bool, list[Choice]] = {False: [], True: []}
    for choice in pool:
        blocks = KWS.architecture(choice).blocks
        by_kind[2 * sum(block.kernel[0] == (5, 5) for block in blocks) > len(blocks)].append(choice)
    small, large = by_kind.values()
    losses = {choice: float(place) for place, choice in enumerate(large + small)}
    pictures = replace(data(), input=KWS.input_shape)
    ranked = Ranked(Context(Problem(KWS, BOARD, budget), pictures, settings("ranked")))
    assert [*ranked.best(losses, 5)] == [large[0], small[0], large[1], small[1], large[2]]
    few = {choice: losses[choice] for choice in (*small[:3], large[0])}
    assert [*ranked.best(few, 4)] == [large[0], *small[:3]]


@pytest.mark.long
def test_finalists_are_the_best_by_more_examples_of_the_best_by_few() -> None:
    """All networks are asked about 256 pictures, 24 of them about 1,024; here of one kernel."""
    flat = SPACE.model_copy(
        update={
            "blocks": tuple(each.model_copy(update={"kernel": ((3, 3),)}) for each in SPACE.blocks)
        }
    )
    problem = Problem(flat, BOARD, BUDGET)
    ranked = Ranked(Context(problem, replace(data(), train=split(7500, 5)), settings("ranked")))
    few = ranked.score(ranked.pool, examples=SIFTED_BY)
    near = sorted(few, key=lambda choice: few[choice])[:24]
    many = ranked.score(near)
    assert many != {choice: few[choice] for choice in near}
    best = sorted(many, key=lambda choice: many[choice])[:3]
    finalists = ranked.finalists(ranked.proposals())
    assert [each.choice for each in finalists] == best
