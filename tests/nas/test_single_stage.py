"""Shared weights of a family, and the strategy that ships them."""

import pickle
import random
from collections import defaultdict

import pytest
import torch

from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.candidate import Candidate
from micronas.nas.problem import Problem
from micronas.nas.settings import SingleStageSettings
from micronas.nas.strategies.base import Context
from micronas.nas.strategies.family_training import Family
from micronas.nas.strategies.single_stage import SingleStage
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.space.open_space import OpenSpace
from micronas.space.space import Space
from micronas.train.network import Network
from micronas.train.recipe import Recipe
from tests.cases import first
from tests.nas.test_open_problem import OPEN
from tests.toy import SPACE, data, few
from tests.training import search

BUDGET = Budget(sram="6 KB", macs="60000")
BOARD = Board.load("stm32f446re")


def families() -> list[tuple[Family, list[Candidate]]]:
    """All families of a space, with draws of several members each."""
    problem = Problem(OPEN, BOARD, BUDGET)
    groups = defaultdict(list)
    for each in problem.draw(40, random.Random(0)):
        groups[each.family].append(each)
    return [
        (Family({each.picks: each.space for each in candidates}), candidates)
        for candidates in groups.values()
    ]


def test_networks_of_all_members_are_those_they_hand_down() -> None:
    torch.manual_seed(0)
    together = families()
    assert any(len({each.picks for each in group}) > 1 for _, group in together)
    seen = data()
    for family, candidates in together:
        for each in candidates:
            network = Network(each.architecture.graph()).train()
            family.hand_down(network, each.picks, each.choice)
            split = seen.seen_as(each.space.input_shape).train
            x = split.batch(torch.arange(16), None)
            with torch.no_grad():
                torch.testing.assert_close(
                    family.sliced(x, each.picks, each.choice), network(x), rtol=1e-4, atol=1e-5
                )


def test_filters_cut_to_the_networks_in_use_compute_and_learn_the_same() -> None:
    for whole, candidates in families():
        used = candidates[-2:]
        cut = Family({each.picks: each.space for each in candidates}, used)
        sizes = [sum(each.numel() for each in family.parameters()) for family in (cut, whole)]
        assert sizes[0] < sizes[1]
        with torch.no_grad():
            for own, full in zip(cut.parameters(), whole.parameters(), strict=True):
                own.copy_(full[tuple(slice(size) for size in own.shape)])
        for each in used:
            split = data().seen_as(each.space.input_shape).train
            x = split.batch(torch.arange(16), None)
            for family in (cut, whole):
                family.zero_grad()
                family.sliced(x, each.picks, each.choice).square().sum().backward()
            for own, full in zip(cut.parameters(), whole.parameters(), strict=True):
                if own.grad is not None and full.grad is not None:
                    part = tuple(slice(size) for size in own.shape)
                    assert torch.equal(own.grad, full.grad[part])
                    full.grad[part] = 0.0
                    assert not full.grad.any()


def test_members_share_filters_and_a_smaller_kernel_is_the_centre_of_a_larger() -> None:
    for family, candidates in families():
        picks = {each.picks for each in candidates}
        own = sum(each.numel() for each in family.parameters())
        largest = max(
            sum(p.numel() for p in Family({each.picks: each.space}).parameters())
            for each in candidates
        )
        assert own == largest, picks


def test_operators_that_differ_in_channels_have_weights_of_their_own() -> None:
    """With a convolution before the classifier, or without: the classifier reads 24 or 20."""
    flat = OPEN.families["flat"]
    space = OPEN.model_copy(
        update={"families": {"flat": {**flat, "head": {"width": {"any": [None, 24]}}}}}
    )
    plain, headed = (space.member(*way) for way in space.ways())
    assert plain.head.width is None
    both = sum(each.numel() for each in Family({0: plain, 1: headed}).parameters())
    units = SharedNetwork(plain).units
    own = sum(each.numel() for each in units[[*units][-1]].parameters())  # the classifier's
    assert both == own + sum(p.numel() for p in SharedNetwork(headed).parameters())


@first("epochs", [7, 20], 1)
def test_all_steps_of_the_effort_are_taken_by_any_number_of_workers(epochs: int) -> None:
    seen = few()
    settings = SingleStageSettings(epochs=epochs, draws=4, trial=Recipe(epochs=1, batch_size=16))
    result, other = (
        search(OPEN, seen, board=BOARD, budget=BUDGET, settings=settings, seed=1, workers=workers)
        for workers in (1, 2)
    )
    assert result.history[-1]["step"] == epochs * (len(seen.train.labels) * 4 // 5 // 16)
    assert result == other
    assert all(torch.equal(value, other.weights[name]) for name, value in result.weights.items())


def test_a_family_is_sent_to_another_machine_as_it_is() -> None:
    settings = SingleStageSettings(epochs=10, draws=4, trial=Recipe(epochs=1, batch_size=16))
    context = Context(Problem(OPEN, BOARD, BUDGET), few(), settings)
    for family in SingleStage(context).families():
        family.set_rate(1e-3)
        family.round(context.data, 2)
        sent = pickle.loads(pickle.dumps(family))
        for each in (family, sent):
            each.round(context.data, 4)
        assert sent.rounds == family.rounds
        assert sent.scores(context.data) == family.scores(context.data)


@pytest.mark.parametrize(("space", "expected"), [(OPEN, (2, 10, 4)), (SPACE, (1, 10, 10))])
def test_the_plan_says_which_epochs_run_in_turn(
    space: OpenSpace | Space, expected: tuple[int, int, int]
) -> None:
    settings = SingleStageSettings(epochs=10, draws=4, race=0.6)
    plan = SingleStage(Context(Problem(space, BOARD, BUDGET), data(), settings)).plan()
    assert (plan.trainings, plan.epochs, plan.in_turn) == expected
