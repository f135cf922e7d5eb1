"""Compositions on the device: what they compute, what they cost, and what they refuse."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.errors import ConfigError, ModelError
from micronas.export.verify import tflm_arena, tflm_run
from micronas.graph.counts import count
from micronas.graph.ir import Graph, Quantization
from micronas.hardware.board import Board
from micronas.router.decision import GENERAL
from micronas.router.device import Composition, with_softmax
from micronas.testing.graphs import random_inputs
from micronas.tflite.writer import to_flatbuffer
from tests.compositions import CATEGORIES, CLASSES, composition, network, with_input

BOARD = Board.load("stm32f446re")


def by_hand(parts: Composition, example: np.ndarray[Any, Any]) -> tuple[str, str]:
    """Class and expert of one input: TFLM runs each network in turn, decisions are spelt out."""
    codes = tflm_run(to_flatbuffer(parts.router), example[None])[0].tolist()
    category = list(parts.categories)[codes.index(max(codes))]
    name = parts.expert_of[category if max(codes) >= parts.threshold else GENERAL]
    expert = next(each for each in parts.experts if each.name == name)
    answer = tflm_run(to_flatbuffer(expert.graph), example[None])[0].tolist()
    return expert.labels[answer.index(max(answer))], name


@pytest.mark.parametrize("seed", [0, 20, 30])
def test_every_answer_is_that_of_tflm_run_network_by_network(seed: int) -> None:
    parts = composition(seed, threshold=2)
    inputs = random_inputs(parts.router, 60)
    outcome = parts.predict(inputs)
    found = [
        (parts.classes[label], parts.experts[expert].name)
        for label, expert in zip(outcome.labels, outcome.experts, strict=True)
    ]
    assert {name for _, name in found} == {"painter", "guide", "polymath"}
    assert found == [by_hand(parts, example) for example in inputs]


def test_the_lowest_threshold_sends_nothing_to_the_general_expert() -> None:
    inputs = random_inputs(composition().router, 100)
    outcome = composition(threshold=-128).predict(inputs)
    assert (outcome.experts == outcome.categories).all()  # in this order there
    assert (composition(threshold=127).predict(inputs).experts == 2).all()


@settings(max_examples=30)
@given(st.integers(-128, 126), st.integers(1, 20))
def test_a_higher_threshold_only_adds_to_the_general_experts_inputs(low: int, more: int) -> None:
    inputs = random_inputs(composition().router, 40)
    high = min(low + more, 127)
    first, second = (composition(threshold=code).predict(inputs) for code in (low, high))
    assert set(np.flatnonzero(first.experts == 2)) <= set(np.flatnonzero(second.experts == 2))
    kept = second.experts != 2
    assert (first.labels[kept] == second.labels[kept]).all()


def test_mean_macs_are_those_of_the_inputs_one_by_one() -> None:
    parts = composition()
    outcome = parts.predict(random_inputs(parts.router, 50))
    parts = replace(parts, shares=parts.shares_of(outcome))
    each = [count(parts.experts[expert].graph).macs for expert in outcome.experts]
    costs = parts.costs(BOARD)
    assert costs.macs == pytest.approx(count(parts.router).macs + np.mean(each), rel=1e-12)
    # stem 6x5x3x3x2 a channel; blocks 6x5x(9 + width) a channel; dense 6x5 a channel and output
    router = 540 * 3 + 30 * 12 * 3 + 90 * 2
    general = 540 * 12 + 30 * 21 * 12 + 360 * 7
    assert costs.worst_macs == router + general


def test_flash_is_the_files_and_the_arena_that_of_the_largest_network() -> None:
    parts, costs = composition(), composition().costs(BOARD)
    files = [to_flatbuffer(graph) for graph in parts.graphs]
    assert costs.flash_bytes == sum(map(len, files))
    assert costs.host_arena_bytes >= max(tflm_arena(file).total for file in files)
    assert costs.host_arena_bytes < sum(tflm_arena(file).total for file in files)
    assert costs.fits
    small = BOARD.model_copy(update={"flash_bytes": costs.flash_bytes})
    assert not parts.costs(small).fits


def test_latency_is_the_routers_and_the_mean_experts() -> None:
    parts = composition()
    alone = [replace(parts, shares=shares).costs(BOARD).latency_ms for shares in (
        {"painter": 1, "guide": 0, "polymath": 0},
        {"painter": 0, "guide": 1, "polymath": 0},
        {"painter": 0, "guide": 0, "polymath": 1},
    )]  # fmt: skip
    assert parts.costs(BOARD).latency_ms == pytest.approx(np.dot([0.5, 0.25, 0.25], alone))


def test_categories_of_classes_are_numbered_as_the_routers_outputs() -> None:
    assert composition().category_of.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_softmax_needs_logits_in_a_row() -> None:
    graph = with_softmax(network(3, 1))
    assert graph.tensors[graph.outputs[0]].quantization == Quantization(
        np.array([1 / 256], np.float32), -128
    )
    flat = replace(graph, outputs=(graph.ops[0].outputs[0],))
    with pytest.raises(ConfigError, match=r"logits must be \[1, categories\]"):
        with_softmax(flat)


def _with_two_outputs(graph: Graph) -> Graph:
    return replace(graph, outputs=(*graph.outputs, graph.ops[0].outputs[0]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": (*CLASSES[:-1], "red")}, "classes must have different names, but 'red'"),
        ({"categories": {"colours": CLASSES}}, "must be two or more"),
        ({"categories": {GENERAL: CLASSES[:3], "ways": CLASSES[3:]}}, "none be named 'general'"),
        ({"categories": {**CATEGORIES, "ways": CLASSES[4:]}}, r"\['up'\] stand in none or several"),
        ({"categories": {**CATEGORIES, "more": ("x",)}}, r"\['x'\] are no classes"),
        ({"router": network(2, 0)}, "a router must end in SOFTMAX"),
        ({"router": _with_two_outputs(network(2, 0))}, "must take one tensor and give one"),
        ({"router": with_softmax(network(3, 0))}, "has 3 outputs for 2 categories"),
        ({"expert_of": {"colours": "painter", "ways": "guide"}}, r"\['general'\] have none"),
        ({"expert_of": {"ways": "guide", GENERAL: "polymath"}}, r"\['colours'\] have none"),
        (
            {"expert_of": {"colours": "guide", "ways": "guide", GENERAL: "polymath"}},
            r"'guide', which serves 'colours', lacks \['blue', 'green', 'red'\]",
        ),
        (
            {"expert_of": {"colours": "painter", "ways": "guide", GENERAL: "guide"}},
            "which serves 'general', lacks",
        ),
        (
            {"expert_of": {"colours": "painted", "ways": "guide", GENERAL: "polymath"}},
            "'colours' goes to 'painted'",
        ),
        (
            {"expert_of": {"colours": "polymath", "ways": "guide", GENERAL: "polymath"}},
            r"\['painter'\] take flash for nothing",
        ),
        ({"threshold": 128}, "threshold=128; -128 sends nothing"),
        ({"shares": {"painter": 1.0}}, "one number of 0 to 1 an expert"),
        ({"shares": {"painter": 0.5, "guide": 0.5, "polymath": 0.5}}, "add up to 1"),
        ({"shares": {"painter": 2.0, "guide": -1.0, "polymath": 0.0}}, "0 to 1"),
    ],
)
def test_parts_that_do_not_belong_together_are_one_clear_line(
    change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        replace(composition(), **change)
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)


@pytest.mark.parametrize(
    "quantization",
    [Quantization(np.array([0.06], np.float32), 3), Quantization(np.array([0.05], np.float32), 4)],
)
def test_experts_that_read_other_codes_are_refused(quantization: Quantization) -> None:
    parts = composition()
    other = replace(parts.experts[1], graph=with_input(parts.experts[1].graph, quantization))
    with pytest.raises(ConfigError, match=r"must take the router's input.*'guide' takes"):
        replace(parts, experts=(parts.experts[0], other, parts.experts[2]))


def test_an_expert_has_one_label_an_output() -> None:
    parts = composition()
    other = replace(parts.experts[0], labels=CLASSES[:2])
    with pytest.raises(ConfigError, match="'painter' has 3 outputs and 2 labels"):
        replace(parts, experts=(other, *parts.experts[1:]))


def test_two_experts_of_one_name_are_refused() -> None:
    parts = composition()
    twin = replace(parts.experts[1], name="painter")
    with pytest.raises(ConfigError, match="experts must have different names, but 'painter'"):
        replace(parts, experts=(parts.experts[0], twin, parts.experts[2]))


def test_inputs_of_another_shape_are_refused() -> None:
    with pytest.raises(ModelError, match="inputs must be int8"):
        composition().predict(np.zeros((3, 5, 6, 2), np.int8))


def test_a_composition_runs_without_torch_and_scipy() -> None:
    code = "import sys, micronas.router.device; print(*{'torch', 'scipy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
