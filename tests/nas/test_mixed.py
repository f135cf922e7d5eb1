"""Bits of weights as a choice: what a space says, what 4 bits cost, a search that picks them."""

import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
import yaml

from micronas.errors import BudgetError, ConfigError
from micronas.export.verify import verify
from micronas.graph.counts import count, per_op
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.hardware.targets import CMSIS_NN, plan
from micronas.nas.member import Member
from micronas.nas.prior import draw, moved, uniform_networks
from micronas.nas.search import SearchResult
from micronas.nas.strategies.dnas import draws
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.gates import Gates
from micronas.settings import read_settings
from micronas.space.blocks import Bottleneck, Separable
from micronas.space.decisions import Choice
from micronas.space.space import Head, Space, Stem
from micronas.tflite.metadata import describe
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from micronas.train.codes import quantize_inputs
from micronas.train.loop import evaluate
from micronas.train.network import Network, round_weights
from micronas.train.quantize import QuantizedNetwork
from micronas.train.recipe import Recipe
from tests import toy
from tests.cases import first
from tests.nas.brief import brief
from tests.nas.supernet.test_supernet import MIXED
from tests.train.test_network import run_float
from tests.training import cached, finetune, fit, search

pytestmark = pytest.mark.usefixtures("device")

SPACE = Space.load("kws_mixed")
BOARD = Board.load("stm32f446re")
TOY = toy.space_of("""
name: toy
input: [12, 12, 1]
classes: 4
stem: {width: {min: 4, max: 16, step: 4}, kernel: [3, 3], stride: [2, 2]}
blocks:
- {type: separable, width: {min: 16, max: 48, step: 8}, repeat: 3, skip: true, bits: [4, 8]}
""")
BUDGET = Budget(flash="7 KB", counts="network")


# What a space says.


def test_a_layer_has_a_decision_only_where_bits_are_spoken_of() -> None:
    names = [decision.name for decision in SPACE.decisions if decision.kind == "bits"]
    assert names == [f"block{number}.bits" for number in range(1, 6)]
    assert {d.options for d in SPACE.decisions if d.name in names} == {(4, 8)}


def test_eight_bits_alone_leave_a_space_as_it_was() -> None:
    """Same decisions, hence the same random numbers and the same searches."""
    values = yaml.safe_load(Path("search_spaces/kws_small.yaml").read_text())
    for part in (values["stem"], *values["blocks"]):
        part["bits"] = 8
    spoken, silent = Space.model_validate(values), Space.load("kws_small")
    assert spoken.decisions == silent.decisions
    assert spoken == silent


@pytest.mark.parametrize(
    ("part", "wrong", "message"),
    [
        ("stem", 6, "stem.bits: bits of weights must be 8, 4 or the choice [4, 8], but got 6"),
        ("stem", [], "must be 8, 4 or the choice [4, 8], but got []"),
        ("stem", [[4]], "must be 8, 4 or the choice [4, 8], but got [[4]]"),
        ("head", [4, 8], "bits are for the head's 1x1 convolution, which needs a width"),
    ],
)
def test_other_bits_are_refused(tmp_path: Path, part: str, wrong: object, message: str) -> None:
    values = yaml.safe_load(Path("search_spaces/kws_small.yaml").read_text())
    values[part]["bits"] = wrong
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError) as raised:
        read_settings(tmp_path / "space.yaml", Space)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def network() -> Space:
    return Space(
        input=(8, 6, 1),
        classes=3,
        stem=Stem(width=8, kernel=(3, 3)),
        blocks=(
            Separable(width=12, bits=4),
            Bottleneck(expansion=24, width=12, bits=4, residual=True),
            Separable(width=16),
        ),
        head=Head(width=20, bits=4),
    )


def test_a_file_speaks_of_bits_only_where_they_are_four(tmp_path: Path) -> None:
    mixed = network()
    mixed.save(tmp_path / "network.yaml")
    assert Space.load(tmp_path / "network.yaml") == mixed
    saved = yaml.safe_load((tmp_path / "network.yaml").read_text())
    parts = [saved["stem"], *saved["blocks"], saved["head"]]
    assert [part.get("bits") for part in parts] == [None, 4, 4, None, 4]
    assert str(mixed) == "8; 12b4 24-12b4 16; 20b4"


# What 4 bits cost.


def test_pointwise_weights_are_packed_and_nothing_else() -> None:
    """By hand: half a byte a weight and four bytes a bias; depthwise and dense keep a byte."""
    stored = {each.name: each.weights_bytes for each in per_op(network().graph())}
    assert stored["stem"] == 9 * 8 + 4 * 8
    assert stored["block1/depthwise"] == 9 * 8 + 4 * 8
    assert stored["block1/pointwise"] == 8 * 12 // 2 + 4 * 12
    assert stored["block2/expand"] == 12 * 24 // 2 + 4 * 24
    assert stored["block2/depthwise"] == 9 * 24 + 4 * 24
    assert stored["block2/project"] == 24 * 12 // 2 + 4 * 12
    assert stored["block3/pointwise"] == 12 * 16 + 4 * 16
    assert stored["head"] == 16 * 20 // 2 + 4 * 20
    assert stored["classifier"] == 20 * 3 + 4 * 3


def test_a_boards_arena_does_not_change_but_flash_and_time_do() -> None:
    """Of 19 pairs counted on a simulated Cortex-M4, no 1x1 convolution changed the arena."""
    eight = SPACE.architecture(SPACE.uniform(1.0)).graph()
    four = SPACE.architecture(SPACE.uniform(1.0, bits=4)).graph()
    assert plan(four).total == plan(eight).total
    pointwise = 5 * 96 * 96
    assert count(eight).weights_bytes - count(four).weights_bytes == pointwise // 2
    assert CMSIS_NN.features(four)["instructions"] > 1.3 * CMSIS_NN.features(eight)["instructions"]


def test_gates_see_flash_fall_and_instructions_rise() -> None:
    gates = Gates(MIXED.decisions)
    costs = expected(MIXED, gates.probabilities(), target=CMSIS_NN)
    free = [
        logits
        for decision, logits in zip(MIXED.decisions, gates.logits, strict=True)
        if decision.kind == "bits"
    ]
    assert len(free) == 4
    for cost, sign in ((costs.flash, 1), (costs.features["instructions"], -1)):
        slopes = torch.autograd.grad(cost, free, retain_graph=True)
        assert all(sign * float(slope[1]) > 0 for slope in slopes)
    assert all(
        slope is None or not slope.any()
        for slope in torch.autograd.grad(costs.sram, free, allow_unused=True)
    )


def test_smallest_and_quickest_bound_flash_and_latency() -> None:
    problem, source = Member(SPACE, BOARD, Budget()), random.Random(0)
    least, quickest = problem.costs(SPACE.smallest()), problem.costs(SPACE.quickest())
    assert quickest.latency_ms < least.latency_ms
    assert least.flash_bytes < quickest.flash_bytes
    for _ in range(60):
        costs = problem.costs(SPACE.random(source))
        assert least.flash_bytes <= costs.flash_bytes
        assert quickest.latency_ms <= costs.latency_ms


def test_a_budget_is_refused_only_if_neither_four_nor_eight_bits_can_meet_it() -> None:
    problem = Member(SPACE, BOARD, Budget())
    quickest = problem.costs(SPACE.quickest()).latency_ms
    Member(SPACE, BOARD, Budget(latency=f"{1.01 * quickest} ms")).check_feasible()
    with pytest.raises(BudgetError, match="latency budget must reach the smallest network"):
        Member(SPACE, BOARD, Budget(latency=f"{0.99 * quickest} ms")).check_feasible()
    least = problem.costs(SPACE.smallest()).flash_bytes
    Member(SPACE, BOARD, Budget(flash=f"{1.01 * least} B", counts="network")).check_feasible()


def test_sram_is_judged_on_the_board_alone_where_weights_have_four_bits() -> None:
    """The host's reference kernels unpack a whole filter into the arena, CMSIS-NN's do not."""
    problem = Member(SPACE, BOARD, Budget(sram="40 KB"))
    limits = problem.limits
    eight, four = (problem.costs(SPACE.uniform(1.0, bits=bits)) for bits in (8, 4))
    assert four.host_arena_bytes >= eight.host_arena_bytes + 96 * 96
    assert limits.used(four)["sram"] == four.arena_required_bytes / limits.sram
    assert limits.used(eight)["sram"] == eight.host_arena_bytes / limits.sram


def test_bits_move_towards_what_binds() -> None:
    """With nothing else to move: upwards where time is short, downwards where flash is."""
    space = Space.model_validate(
        {
            **SPACE.model_dump(exclude={"stem", "blocks"}),
            "stem": {"width": 32, "kernel": [3, 3], "stride": [2, 2]},
            "blocks": [{"type": "separable", "width": 32, "repeat": 3, "bits": [4, 8]}],
        }
    )
    gates = Gates(space.decisions)
    ends = {
        "latency": (space.smallest(), space.quickest()),
        "flash": (space.largest(), space.smallest()),
    }
    for cost, (start, end) in ends.items():
        costs = Member(space, BOARD, Budget()).costs(end)
        limit = costs.latency_ms if cost == "latency" else costs.flash_bytes
        unit = "ms" if cost == "latency" else "B"
        budget = Budget(**{cost: f"{1.005 * limit} {unit}", "counts": "network"})
        problem = Member(space, BOARD, budget)
        for logits, index in zip(gates.logits, start, strict=True):
            logits.data.zero_()[index] = 50.0
        generator = torch.Generator().manual_seed(0)
        assert draws(problem, gates, 1, generator) == [end]


def test_uniform_networks_of_four_bits_are_wider() -> None:
    budget = Budget(flash="24 KB", counts="network")
    problem = Member(SPACE, BOARD, budget)
    *eight, four = [SPACE.architecture(choice) for choice in uniform_networks(problem)]
    assert all(block.bits == (8,) for each in eight for block in each.blocks)
    assert all(block.bits == (4,) for block in four.blocks)
    assert four.blocks[0].width > eight[0].blocks[0].width
    assert len(uniform_networks(Member(Space.load("kws_small"), BOARD, budget))) == 3


def bits_of(choice: Choice) -> set[int]:
    return {
        decision.options[index]
        for decision, index in zip(SPACE.decisions, choice, strict=True)
        if decision.kind == "bits"
    }


@first(
    ("budget", "some"),
    [
        (Budget(flash="24 KB", counts="network"), True),
        (Budget(latency="20 ms", counts="network"), False),
        (Budget(sram="12 KB", flash="100 KB", counts="network"), False),
        (Budget(counts="network"), False),
    ],
    1,
    ids=["flash", "latency", "sram", "roomy"],
)
def test_four_bits_are_drawn_where_flash_binds(budget: Budget, some: bool) -> None:
    """And make networks wider by far; elsewhere they would cost time and accuracy for nothing."""
    problem = Member(SPACE, BOARD, budget)
    drawn = draw(problem, count=30, source=random.Random(0))
    assert len(drawn) == 30
    assert all(problem.fits(each) for each in drawn)
    four = [each for each in drawn if 4 in bits_of(each)]
    assert bool(four) == some
    if some:
        assert 2 < len(four) < 25
        macs = [
            fmean(problem.costs(each).macs for each in part)
            for part in (four, [each for each in drawn if each not in four])
        ]
        assert macs[0] > 1.2 * macs[1]


def test_no_layer_goes_to_four_bits_to_fill_time() -> None:
    """A narrow network of 8 bits has time left, and takes it by growing."""
    problem = Member(SPACE, BOARD, Budget(latency="40 ms", counts="network"))
    start = SPACE.shaped((0.3,), depth=1.0)
    for seed in range(20):
        found = moved(problem, start, 0.9, random.Random(seed))
        assert problem.share(found) >= 0.9
        assert bits_of(found) == {8}


# How 4 bits are imitated.


def test_weights_are_rounded_to_fifteen_levels_of_each_channel() -> None:
    """By hand: steps of 0.1 and of 1, seven on each side."""
    weight = torch.tensor([[0.7, -0.33, 0.12], [-7.0, 2.4, 2.6]], requires_grad=True)
    rounded = round_weights(weight)
    torch.testing.assert_close(rounded, torch.tensor([[0.7, -0.3, 0.1], [-7.0, 2.0, 3.0]]))
    (gradient,) = torch.autograd.grad(rounded.sum(), weight)
    assert gradient.tolist() == [[1.0] * 3] * 2  # straight through
    whole = round_weights(weight, per_channel=False)
    torch.testing.assert_close(whole, torch.tensor([[1.0, 0.0, 0.0], [-7.0, 2.0, 3.0]]))


def test_inputs_that_do_not_exist_have_no_say_in_the_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 6, 1, 1, generator=generator)
    weight[:, 4:] *= 30
    present = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    masked = round_weights(weight, present=present)[:, :4]
    torch.testing.assert_close(masked, round_weights(weight[:, :4]), rtol=0, atol=0)


def trained_a_little() -> Network:
    """Batch norm with statistics and factors of either sign."""
    torch.manual_seed(0)
    float_network = Network(network().graph())
    for name, parameter in float_network.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, -1.0, 1.5)
    for _ in range(5):
        float_network(torch.randn(16, 1, 8, 6))
    return float_network.eval()


def test_rounding_before_batch_norm_is_rounding_after_folding() -> None:
    """So a network trained with 4 bits is the network that quantization starts from."""
    float_network = trained_a_little()
    graph = float_network.graph()
    marked = {name for name, tensor in graph.tensors.items() if tensor.dtype == "int4"}
    assert len(marked) == 4

    tensors = dict(graph.tensors)
    for name in marked:
        weight = tensors[name].data.astype(np.float64)
        step = np.abs(weight).max((1, 2, 3), keepdims=True) / 7
        rounded = (np.rint(weight / step) * step).astype(np.float32)
        tensors[name] = replace(tensors[name], data=rounded)
    x = torch.randn(7, 1, 8, 6)
    with torch.no_grad():
        wanted = run_float(replace(graph, tensors=tensors), x).flatten(1)
        torch.testing.assert_close(float_network(x), wanted, rtol=1e-4, atol=1e-4)


def int4_layers(graph: Graph) -> set[str]:
    return {
        name.removesuffix("/weights")
        for name, tensor in graph.tensors.items()
        if tensor.dtype == "int4"
    }


def test_quantization_keeps_to_the_marks_unless_told_otherwise() -> None:
    graph, x = trained_a_little().graph(), torch.randn(8, 1, 8, 6)
    found = {}
    for name, bits in (("default", 8), ("one", {"block1/*": 8}), ("all", {"*": 8})):
        quantized = QuantizedNetwork(graph, bits=bits)  # type: ignore[arg-type]
        quantized.calibrate([x])
        found[name] = int4_layers(quantized.graph())
    marked = {"block1/pointwise", "block2/expand", "block2/project", "head"}
    assert found == {"default": marked, "one": marked - {"block1/pointwise"}, "all": set()}


# From the space to the device.


@cached
def found() -> SearchResult:
    trial = Recipe(epochs=1, batch_size=32, learning_rate=1e-2)
    few = {"steps": 40, "warmup": 40, "batch_size": 32, "candidates": 20, "finalists": 2}
    settings = brief("dnas", **few, trial=trial)
    return search(TOY, toy.data(), board=BOARD, budget=BUDGET, settings=settings, seed=0)


@pytest.mark.long
def test_a_search_short_of_flash_picks_layers_of_four_bits() -> None:
    searched = [each.architecture for each in found().candidates if each.origin == "search"]
    assert searched
    assert all(BUDGET.on(BOARD).fits(each.costs) for each in found().candidates)
    assert any(block.bits == (4,) for each in searched for block in each.blocks)
    assert len({str(each.architecture) for each in found().candidates}) == len(found().candidates)


@pytest.mark.long
def test_a_mixed_network_is_exported_as_it_was_counted() -> None:
    mixed = next(
        each
        for each in found().candidates
        if any(block.bits == (4,) for block in each.architecture.blocks)
    )
    recipe = Recipe(epochs=4, batch_size=32, learning_rate=1e-2)
    float_network = Network(mixed.architecture.graph(), generator=torch.Generator().manual_seed(0))
    fit(float_network, toy.data().train, recipe, seed=0)
    quantized = finetune(
        float_network, toy.data().train, Recipe(epochs=1, batch_size=32, learning_rate=1e-3), seed=0
    )
    graph = quantized.graph()
    wanted = int4_layers(mixed.architecture.graph())
    assert int4_layers(graph) == wanted != set()
    model = to_flatbuffer(graph, metadata=describe(classes=toy.CLASSES, meaning={}))
    split = toy.data().validation
    inputs = quantize_inputs(graph, split.batch(torch.arange(60), None))
    checked = verify(model, inputs)
    assert checked.bytes_compared == 60 * len(toy.CLASSES)
    assert checked.mismatches == 0
    assert int4_layers(read(model)) == wanted
    assert len(model) == mixed.costs.flash_bytes
    assert count(graph) == count(mixed.architecture.graph())
    assert CMSIS_NN.features(graph) == CMSIS_NN.features(mixed.architecture.graph())
    assert evaluate(quantized, split).accuracy > 0.8
    assert evaluate(quantized, split).accuracy > evaluate(float_network, split).accuracy - 0.06
