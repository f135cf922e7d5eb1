"""Expected costs: equal to counts on the exported graph when gates are certain."""

import random

import pytest
import torch

from micronas.hardware.targets import CMSIS_NN
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.gates import Gates
from micronas.space.space import Space
from tests.cases import first
from tests.nas.priced import arena_ratios, counted, mean_over_networks, priced
from tests.nas.supernet.test_supernet import CHAIN, MIXED, RESIDUAL

SHIPPED = ("kws", "vww", "ad", "kws_small", "kws_mixed", "kws_strides")


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*SHIPPED, "mixed"])
def test_certain_gates_cost_what_the_graph_counts(name: str, count: int) -> None:
    space = MIXED if name == "mixed" else Space.load(name)
    gates, source = Gates(space.decisions), random.Random(4)
    for _ in range(count):
        choice = space.random(source)
        found = priced(space, gates.one_hot(choice))
        assert found == pytest.approx(counted(space, choice), rel=1e-12)
        assert space.architecture(choice).graph() == space.resolve(choice)


@pytest.mark.parametrize("space", [CHAIN, RESIDUAL, MIXED], ids=lambda space: str(space.name))
def test_uncertain_gates_cost_the_mean_over_all_networks(space: Space) -> None:
    """Enumerated over a part of the decisions; the others are certain."""
    source = random.Random(5)
    sample = Gates(space.decisions).one_hot(space.random(source))
    for decision in source.sample(space.decisions, 4):
        sample[decision.name] = torch.rand(len(decision.options)).double().softmax(0)
    names = ("weights", "weights_bytes", "conv_macs", "instructions", "other_instructions")
    found, mean = priced(space, sample), mean_over_networks(space, sample)
    assert {name: found[name] for name in names} == pytest.approx(
        {name: mean[name] for name in names}, rel=1e-6
    )


@first("name", SHIPPED, 2)
def test_smooth_stand_ins_follow_the_exact_arena_and_file(name: str) -> None:
    """The search corrects the arena's level; what must hold here is that they move together.

    Flash has a logarithm in a search: the smallest network's must be above zero, too.
    """
    space, source = Space.load(name), random.Random(6)
    choices = [space.smallest(), *(space.random(source) for _ in range(15))]
    _, *ratios = arena_ratios(space, choices)
    assert max(ratios) / min(ratios) < 1.5


def test_every_decision_moves_every_cost() -> None:
    space = RESIDUAL
    gates = Gates(space.decisions)
    costs = expected(space, gates.probabilities(), target=CMSIS_NN)
    instructions = costs.features["instructions"]
    for value in (costs.features["macs"], instructions, costs.flash, costs.sram):
        gates.zero_grad()
        value.backward(retain_graph=True)
        for decision, logits in zip(space.decisions, gates.logits, strict=True):
            assert float(logits.grad.abs().max()) > 0, decision.name
