import csv
from pathlib import Path

import pytest

from micronas import resources
from micronas.errors import ConfigError
from micronas.hardware.board import Board, available, is_board
from micronas.hardware.names import all_names, board_file, names_of
from tests.boards import shipped
from tests.command import command

FILE = resources.folder("latency_models") / "board_names.csv"


@pytest.mark.parametrize(
    ("name", "board"),
    [
        ("Arduino Nano 33 BLE", "nrf52840dk"),
        ("Pico-W", "rp2040"),
        ("STM32F446RE", "stm32f446re"),
        ("EK-RA8D1", "ek_ra8d1"),
        ("rp2040.yaml", "rp2040"),
    ],
)
def test_a_name_is_found_however_it_is_written(name: str, board: str) -> None:
    assert Board.load(name) == shipped(board)


def test_names_are_of_shipped_boards_and_stand_once() -> None:
    with FILE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 31
    assert {row["board"] for row in rows} <= set(available())
    names = [row["name"] for row in rows]
    assert len({*names, *available()}) == len(names) + len(available()) == len(all_names())
    for row in rows:
        assert row["name"] in names_of(row["board"])
        assert board_file(row["name"]).stem == row["board"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nrf52841", r"got 'nrf52841'; did you mean 'nrf52840' \(nRF52840, board nrf52840dk\)"),
        ("nano33", r"did you mean 'arduino_nano33' \(nRF52840, board nrf52840dk\)\?"),
        ("stm32f446", r"did you mean 'stm32f446re'"),
        ("teensy41", r"'teensy41'; `micronas boards` lists them; for another chip write a file"),
        ("x" * 100_000, r"a board must be a file or one of those shipped"),
    ],
)
def test_an_unknown_board_names_chips_that_are_near(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Board.load(name)


def test_commands_take_a_name_and_say_what_it_is() -> None:
    assert "also called  pico, pico_w," in command("boards", "pico").stdout
    profiled = command("profile", "published/kws_s", "--board", "Arduino Nano 33 BLE").stdout
    assert "ms on nrf52840dk" in profiled


def test_cores_with_helium_are_planned_as_such() -> None:
    measured, estimated = Board.load("ek_ra8d1"), Board.load("ensemble_e7")
    assert (measured.core, estimated.core) == ("Cortex-M85", "Cortex-M55")
    assert {each.arena.target.name for each in (measured, estimated)} == {"cmsis_nn_helium"}
    assert measured.latency_model().status == "prior, not validated"
    assert estimated.latency_model().status == "estimate, not measured"
    # MLPerf Tiny v1.2: image classification, 12.5 MMACs
    file = resources.folder("latency_models") / "published_latencies.csv"
    rows = [row for row in csv.DictReader(file.open()) if row["board"] == "ek_ra8d1"]
    assert [row["latency_ms"] for row in rows if row["network"] == "MLPerf-IC"] == ["8.4783"]


def test_a_name_is_a_board_to_the_command() -> None:
    assert is_board(Path("pico"))
    assert not is_board(Path("published/kws_s"))
