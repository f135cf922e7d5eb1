"""Expected costs: equal to counts on the exported graph when gates are certain."""

import random
from itertools import product

import pytest
import torch

from micronas.hardware.targets import CMSIS_NN, plan
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.gates import Gates
from micronas.space.space import Space
from micronas.tflite.metadata import placeholder
from micronas.tflite.writer import flatbuffer_bytes
from tests.cases import first
from tests.nas.supernet.test_supernet import CHAIN, MIXED, RESIDUAL

SHIPPED = ("kws", "vww", "ad", "kws_small", "kws_mixed", "kws_strides")


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*SHIPPED, "mixed"])
def test_certain_gates_cost_what_the_graph_counts(name: str, count: int) -> None:
    space = MIXED if name == "mixed" else Space.load(name)
    gates, source = Gates(space.decisions), random.Random(4)
    for _ in range(count):
        choice = space.random(source)
        counted = CMSIS_NN.features(space.architecture(choice).graph())
        features = expected(space, gates.one_hot(choice), target=CMSIS_NN).features
        for feature, value in features.items():
            assert float(value) == pytest.approx(counted[feature], rel=1e-12), feature
        assert features.keys() == counted.keys()


@pytest.mark.parametrize("space", [CHAIN, RESIDUAL, MIXED], ids=lambda space: str(space.name))
def test_uncertain_gates_cost_the_mean_over_all_networks(space: Space) -> None:
    """Enumerated over a part of the decisions; the others are certain."""
    gates, source = Gates(space.decisions), random.Random(5)
    free = source.sample(range(len(space.decisions)), 4)
    start = space.random(source)
    weights = gates.one_hot(start)
    for position in free:
        decision = space.decisions[position]
        weights[decision.name] = torch.rand(len(decision.options)).softmax(0)
    names = ("weights", "weights_bytes", "conv_macs", "instructions", "other_instructions")
    mean = dict.fromkeys(names, 0.0)
    options = [range(len(space.decisions[position].options)) for position in free]
    for picked in product(*options):
        choice = list(start)
        probability = 1.0
        for position, index in zip(free, picked, strict=True):
            choice[position] = index
            probability *= float(weights[space.decisions[position].name][index])
        counted = CMSIS_NN.features(space.architecture(tuple(choice)).graph())
        for name in mean:
            mean[name] += probability * counted[name]
    features = expected(space, weights, target=CMSIS_NN).features
    assert {name: float(features[name]) for name in mean} == pytest.approx(mean, rel=1e-6)


@first("name", SHIPPED, 2)
def test_smooth_stand_ins_follow_the_exact_arena_and_file(name: str) -> None:
    """The search corrects the arena's level; what must hold here is that they move together.

    Flash is that of the file within 5 percent. It has a logarithm in a search: the smallest
    network's must be above zero, too.
    """
    space = Space.load(name)
    gates, source = Gates(space.decisions), random.Random(6)
    ratios = []
    for choice in [space.smallest(), *(space.random(source) for _ in range(15))]:
        graph, smooth = space.architecture(choice).graph(), gates.one_hot(choice)
        costs = expected(space, smooth, target=CMSIS_NN)
        ratios.append(plan(graph).total / float(costs.sram))
        (inner,), (outer,) = graph.inputs, graph.outputs
        labels, depth = graph.tensors[outer].elements, graph.tensors[inner].shape[-1]
        exact = flatbuffer_bytes(graph, metadata=placeholder(labels, depth))
        assert float(costs.flash) == pytest.approx(exact, rel=0.05)
    assert max(ratios[1:]) / min(ratios[1:]) < 1.5


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
