"""Targets, and which of them stands for a board; Helium and Arduino against measured arenas."""

import re
from pathlib import Path

import pytest

from micronas.export.firmware.tflm import arena
from micronas.graph.builder import Builder
from micronas.hardware.board import Board, available
from micronas.hardware.costs import Budget, estimates
from micronas.hardware.profile import on_boards, profile
from micronas.hardware.table import boards_table, profile_table
from micronas.hardware.targets import ARDUINO, CMSIS_NN, HELIUM, choose
from micronas.space.load import load
from tests.boards import shipped

CORTEX_M55 = {"kws_s": 67_412, "vww_2": 71_012, "ad_s": 114_404, "ds_cnn_s": 50_644}
"""Arenas of TFLM 90b983c2 with CMSIS-NN 4ab83cc3 on an emulated Cortex-M55, in bytes."""

LIBRARY = {"kws_s": 64_676, "vww_2": 69_620, "ad_s": 114_596, "ds_cnn_s": 47_524}
"""Arenas of tflite-micro-arduino-examples 7948b85 on an emulated Cortex-M4, in bytes."""


@pytest.mark.parametrize("name", CORTEX_M55)
def test_arenas_on_helium_are_predicted_to_the_byte(name: str) -> None:
    assert HELIUM.plan(load(Path("published") / name).graph).total == CORTEX_M55[name]


@pytest.mark.parametrize("name", LIBRARY)
def test_a_sketch_gives_what_the_arduino_library_takes(name: str) -> None:
    graph = load(Path("published") / name).graph
    planned = ARDUINO.plan(graph).total
    assert planned < LIBRARY[name] <= planned + 16 * len(graph.ops)
    given = arena([graph], "")
    assert int(given["BOARD"]) + int(given["MARGIN"]) >= LIBRARY[name]


@pytest.mark.parametrize(
    ("kernel", "stride", "depthwise", "measured"),
    [
        ((1, 5), (1, 1), False, 1_268),
        ((1, 4), (1, 2), False, 1_060),
        ((1, 5), (1, 2), False, 1_076),
        ((1, 5), (1, 1), True, 3_524),
    ],
)
def test_maps_of_one_row_on_helium(
    kernel: tuple[int, int], stride: tuple[int, int], depthwise: bool, measured: int
) -> None:
    """Measured on the same emulated core."""
    builder = Builder((1, 33, 8))
    if depthwise:
        output = builder.depthwise(builder.input, "a", kernel, stride=stride)
    else:
        output = builder.conv(builder.input, "a", 12, kernel, stride=stride)
    assert HELIUM.plan(builder.finish(output)).total == measured


@pytest.mark.parametrize(
    ("kernels", "core", "target", "is_upper_bound", "assumes"),
    [
        ("TFLM + CMSIS-NN", "Cortex-M4", CMSIS_NN, False, None),
        ("microTVM + CMSIS-NN", "Cortex-M33", CMSIS_NN, False, None),
        ("CMSIS-NN", "Cortex-M0+", CMSIS_NN, True, None),
        ("CMSIS-NN", "Cortex-M55", HELIUM, False, None),
        ("X-CUBE-AI", "Cortex-M7", CMSIS_NN, False, "not the kernels measured (X-CUBE-AI)"),
        ("ESP-NN", "Xtensa LX6", CMSIS_NN, False, "in place of Xtensa LX6, not the kernels"),
        ("CMSIS-NN", "RISC-V", CMSIS_NN, False, "on a Cortex-M4 in place of RISC-V"),
    ],
)
def test_what_stands_for_a_board(
    kernels: str, core: str, target: object, is_upper_bound: bool, assumes: str | None
) -> None:
    choice = choose(kernels, core)
    assert (choice.target, choice.is_upper_bound) == (target, is_upper_bound)
    assert (choice.assumes is None) == (assumes is None)
    assert (assumes or "") in (choice.assumes or "")


def test_every_output_says_where_the_arena_is_not_the_boards_own() -> None:
    graph = load(Path("published") / "kws_s").graph
    boards = [shipped(name) for name in available()]
    exact = [each.name for each in boards if each.arena.assumes is None and not each.like]
    assert exact == [
        *("ek_ra8d1", "nrf5340dk", "nucleo_l4r5zi"),
        *("stm32f446re", "stm32f746zg", "stm32f767zi"),
    ]
    small = Board.load("nucleo_g0b1re")
    found = profile(graph, small)
    assert found["arena_is_upper_bound"]
    assert found["arena_bytes"] == CMSIS_NN.plan(graph).total
    assert "at most 62,932 B" in profile_table(found)
    assert "arena planned for" in profile_table(found)
    assert "not the kernels measured (Bosch HALE)" in boards_table(on_boards(graph, [small]))
    assert small.view()["arena_is_upper_bound"]
    mine = small.model_copy(update={"core": "Cortex-M55"})
    assert profile(graph, mine)["arena_bytes"] == HELIUM.plan(graph).total


@pytest.mark.parametrize(
    ("board", "doubtful"),
    [
        ("stm32f446re", []),
        ("nucleo_h743zi", ["flash"]),
        ("rp2040", ["flash"]),
        ("esp32s3", ["sram", "flash"]),
    ],
)
def test_a_verdict_names_the_estimates_it_rests_on(board: str, doubtful: list[str]) -> None:
    """Code was linked for a Cortex-M4: elsewhere flash and what is said of it are estimates."""
    graph, known = load(Path("published") / "kws_s").graph, Board.load(board)
    found = profile(graph, known)
    assert (found["fits"], found["fits_estimates"]) == (True, doubtful)
    shown = profile_table(found)
    (verdict,) = re.findall(r"^fits +(true .*)$", shown, re.MULTILINE)
    assert re.findall(r"(\w+) \d+ % of [\d.]+ .B, estimated", verdict) == doubtful
    listed = f"true ({', '.join(doubtful)} estimated)" if doubtful else "true "
    assert listed in boards_table(on_boards(graph, [known]))
    is_estimate = "flash" in doubtful
    assert ("flash an estimated" in shown) == ("code measured for" in shown) == is_estimate
    assumed = found["device"]["code_assumes"]
    assert f"on a Cortex-M4 in place of {known.core}" in assumed if is_estimate else not assumed
    assert known.view()["code_assumes"] == assumed


@pytest.mark.parametrize(
    ("core", "assumed"),
    [
        ("Cortex-M3", "the engine on a Cortex-M4, cycles too, in place of Cortex-M3"),
        ("Xtensa LX7", "the engine on a Cortex-M4, cycles too, in place of Xtensa LX7"),
        ("Cortex-M0", "the engine on a Cortex-M4 in place of Cortex-M0"),
        ("Cortex-M0+", "the engine on a Cortex-M4 in place of Cortex-M0+"),
        ("Cortex-M35P", None),
    ],
)
def test_the_engine_says_whose_cycles_it_counts(core: str, assumed: str | None) -> None:
    """A Cortex-M0 has those of a Cortex-M0+; of others nothing was modelled."""
    assert choose("micronas", core).code_assumes == assumed


def test_a_budget_says_which_of_its_limits_are_estimates() -> None:
    """Time of a board like another is one; a budget of the network alone has no code in it."""
    measured, scaled = Board.load("stm32f446re"), Board.load("rp2040")
    budget = Budget(latency="50 ms", macs="1 MMACs")
    alone = Budget(latency="50 ms", counts="network")
    assert estimates(measured, budget.on(measured)) == []
    assert estimates(scaled, budget.on(scaled)) == ["flash", "latency"]
    assert estimates(scaled, alone.on(scaled)) == ["latency"]
