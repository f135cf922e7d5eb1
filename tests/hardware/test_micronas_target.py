"""The engine as a target: what is predicted from shapes is what generated C takes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from micronas.cli import app
from micronas.engine.generate import generate
from micronas.errors import ConfigError, ModelError
from micronas.export.firmware.board import CORTEX_M4
from micronas.graph.ir import Op, Tensor
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, measure
from micronas.hardware.profile import profile
from micronas.hardware.table import profile_table
from micronas.hardware.targets import CMSIS_NN, MICRONAS
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.gates import Gates
from micronas.space.space import Space
from testing.builder import Builder
from testing.core_cycles import cycles_on
from testing.engine import THUMB_1, build, examples, on_core
from testing.engine_costs import measured, predicted, shapes_of
from testing.graphs import quantize_randomly, random_int8_graph
from testing.networks import random_network

BOARD = Board.load("stm32f446re")
ENGINE = BOARD.using(None, engine="micronas")


@pytest.mark.parametrize("family", ["ds_cnn", "mobilenet", "maps", "series", None])
def test_shapes_alone_give_the_generated_arena(family: str | None) -> None:
    for seed in range(4 if family else 10):
        graph = random_int8_graph(seed, family=family) if family else random_network(seed)
        files = generate(graph)
        planned = MICRONAS.plan(shapes_of(graph) if family else graph)
        assert planned.total == files.arena + files.state


@pytest.mark.firmware
@pytest.mark.parametrize("seed", [0, 1, 3, 22, 25, 35])
def test_an_emulated_core_takes_what_shapes_say(seed: int) -> None:
    """From 22 on: reference kernels, tables that two operators share, sums along dimensions."""
    usual = seed < 22
    family = ("ds_cnn", "mobilenet")[seed % 2]
    graph = random_int8_graph(seed, family=family) if usual else random_network(seed)
    ours, theirs = predicted(graph), measured(graph)
    assert ours["arena"] == theirs["arena"]
    for name in ("flash", "instructions", *["cycles"] * usual):
        assert ours[name] == pytest.approx(theirs[name], rel=0.02), name


@pytest.mark.parametrize("name", ["kws_small", "kws_mixed", "vww_small"])
def test_certain_gates_expect_what_the_graph_takes(name: str) -> None:
    space = Space.load(name)
    gates = Gates(space.decisions)
    for choice in (space.smallest(), space.largest()):
        counted = MICRONAS.features(space.resolve(choice))
        found = expected(space, gates.one_hot(choice), target=MICRONAS).features
        for feature, value in found.items():
            assert float(value) == pytest.approx(counted[feature], rel=1e-9), feature


def test_a_network_takes_less_than_with_an_interpreter() -> None:
    graph = Space.load("published/kws_s").graph()
    ours, theirs = (measure(graph, each, kind="kws") for each in (ENGINE, BOARD))
    assert ours.arena_bytes < 0.7 * theirs.arena_bytes
    assert ours.latency_ms < 0.8 * theirs.latency_ms
    code = [each.on(board).beside.flash for each, board in ((Budget(), ENGINE), (Budget(), BOARD))]
    assert code[0] < 0.05 * code[1]


@pytest.mark.parametrize("filters", ["int8", "int4"])
def test_channels_that_have_died_have_a_price(filters: Any) -> None:
    """Shifts of more than 22 bits take plain loops, which are slower than the usual ones."""
    builder = Builder((3, 3, 16))
    builder.conv(builder.input, "y", 8)
    graph = quantize_randomly(builder.finish("y"), filters=filters)
    quantization = graph.tensors["y"].quantization
    coarse = replace(quantization, scale=quantization.scale * np.float32(2**20))
    tensors = {**graph.tensors, "y": replace(graph.tensors["y"], quantization=coarse)}
    usual, plain = MICRONAS.prices(graph)[0], MICRONAS.prices(replace(graph, tensors=tensors))[0]
    assert plain.instructions > usual.instructions
    assert plain.cycles > usual.cycles


def test_several_maps_take_a_call_for_each() -> None:
    """Where the prices of batches ended in a traceback."""
    builder = Builder((6, 6, 4))
    graph = builder.finish(builder.conv(builder.input, "y", 4, (3, 3)))
    maps = {
        name: each if each.constant else replace(each, shape=(5, *each.shape[1:]))
        for name, each in graph.tensors.items()
    }
    one, five = (MICRONAS.prices(each)[0] for each in (graph, replace(graph, tensors=maps)))
    assert 4.9 * one.instructions < five.instructions < 5.1 * one.instructions


def test_layers_without_a_fast_kernel_are_marked() -> None:
    builder = Builder((6, 6, 4))
    value = builder.depthwise(builder.input, "large", (21, 21))
    graph = builder.finish(builder.conv(value, "y", 2))
    described = profile(graph, ENGINE)
    assert ["plain loop" in layer["flags"] for layer in described["layers"]] == [True, False]
    assert "TFLM may be faster" in profile_table(described)
    assert "plain loop" not in profile_table(profile(graph, BOARD))


def test_layers_make_up_the_whole_and_say_that_it_is_an_estimate() -> None:
    graph = Space.load("published/kws_s").graph()
    described = profile(graph, ENGINE)
    assert described["engine"] == "micronas"
    by_tflm = profile(graph, BOARD)
    for key in ("host_arena_bytes", "host_arena_head_bytes"):  # which `verify` finds by TFLM
        assert described[key] == by_tflm[key] > described["arena_bytes"]
    assert sum(layer["latency_share"] for layer in described["layers"]) == pytest.approx(1)
    assert (described["latency_form"], described["latency_excludes"]) == ("cycles", [])
    assert described["fits_estimates"] == []  # a latency was not limited
    limited = profile(Space.load("textbook/resnet8").graph(), ENGINE, budget=Budget(latency=100))
    assert limited["fits_estimates"] == ["latency"]


def test_cores_take_cycles_of_their_own() -> None:
    """A board waits for its memory as with TFLM: that is left of its time without the core's."""
    graph = Space.load("published/kws_s").graph()
    taken = {
        core: MICRONAS.chosen(core).target.features(graph)
        for core in ("Cortex-M7", "Cortex-M33", "Cortex-M4", "Cortex-M0+")
    }
    cycles = [each["cycles"] for each in taken.values()]
    assert cycles == sorted(cycles)
    assert len(set(cycles)) == 4
    assert len({each["instructions"] for each in taken.values()}) == 1
    for name, core in (("stm32f767zi", "Cortex-M7"), ("nucleo_u575zi", "Cortex-M33")):
        board = Board.load(name)
        theirs = board.using("instructions").latency_ms(CMSIS_NN.features(graph))
        ours = board.using(None, engine="micronas").latency_ms(taken[core])
        assert 0.4 < ours / theirs < 0.8
    helium = Board.load("ek_ra8d1").using(None, engine="micronas")
    cycles = helium.latency_ms(taken["Cortex-M4"]) * helium.clock_hz / 1e3
    assert cycles >= taken["Cortex-M4"]["cycles"]  # the engine has no kernels for Helium


def test_a_core_that_is_not_modelled_is_a_cortex_m4() -> None:
    assert MICRONAS.chosen("ESP32").target is MICRONAS
    assert MICRONAS.chosen("Cortex-M0").target is MICRONAS.chosen("Cortex-M0+").target


@pytest.mark.firmware
@pytest.mark.parametrize("core", ["Cortex-M0+", "Cortex-M33", "Cortex-M7"])
def test_an_emulated_core_is_modelled_as_shapes_say(core: str, tmp_path: Path) -> None:
    graph = random_int8_graph(7, family="ds_cnn")
    board = THUMB_1 if core == "Cortex-M0+" else CORTEX_M4
    program = build(graph, tmp_path, board)
    on_core(program, examples(graph, 2), graph, board)
    (cycles,) = cycles_on([core], program, [tmp_path / "examples"]).values()
    assert MICRONAS.chosen(core).target.features(graph)["cycles"] == pytest.approx(cycles, rel=0.1)


def test_a_run_and_a_command_choose_the_engine(tmp_path: Path) -> None:
    assert BOARD.using(None, engine="tflm").target is CMSIS_NN
    with pytest.raises(ConfigError, match="unknown engine 'micronaut'"):
        BOARD.using(None, engine="micronaut")
    path = tmp_path / "net.yaml"
    Space.load("published/kws_s").save(path)
    board = tmp_path / "mine.yaml"
    board.write_text("like: stm32f446re\nname: mine\nengine: micronas\n")
    arenas = []
    for options in (("--board", "stm32f446re", "--engine", "micronas"), ("--board", str(board))):
        done = CliRunner().invoke(app, ["profile", str(path), *options, "--json"])
        assert done.exit_code == 0, done.output
        arenas.append(json.loads(done.stdout)["arena_bytes"])
    assert arenas == [MICRONAS.plan(Space.load("published/kws_s").graph()).total] * 2


def test_an_operator_nobody_knows_is_refused() -> None:
    builder = Builder((4, 4, 2))
    graph = builder.finish(builder.conv(builder.input, "y", 3))
    tensors = {**graph.tensors, "z": Tensor("z", (1, 4, 4, 3))}
    odd = Op("UNKNOWN", "SVDF", ("y",), ("z",))
    with pytest.raises(ModelError, match="SVDF"):
        profile(replace(graph, tensors=tensors, ops=(*graph.ops, odd), outputs=("z",)), ENGINE)
