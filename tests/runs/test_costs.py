"""A run is profiled, exported and verified by its own board and settings."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, measure
from micronas.hardware.front_ends import mfcc
from micronas.runs.costs import describe_boards, describe_costs
from micronas.runs.device import device
from micronas.tflite.reader import read
from testing.graphs import ds_cnn
from tests.command import command
from tests.runs.test_device import run_folder as decided

SETTINGS = {
    "board": "nucleo_l476rg",
    "latency_form": "ops",
    "budget": {"sram": 24_000.0, "flash": None, "latency": 30.0, "macs": None, "counts": "device"},
    "data": {"task": "kws", "path": "gone"},
}


def run_folder(folder: Path, **history: Any) -> bytes:
    model = decided(folder, ds_cnn())
    (folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    (folder / "history.json").write_text(json.dumps(history))
    return model


def test_a_run_is_profiled_on_its_board_by_its_latency_model_and_budget(tmp_path: Path) -> None:
    model = run_folder(tmp_path / "run")
    board = Board.load("nucleo_l476rg").using("ops")
    found = describe_costs(tmp_path / "run")
    assert (found["board"], found["latency_form"]) == ("nucleo_l476rg", "ops")
    costs = measure(read(model), board, kind="kws")
    assert found["latency_ms"] == costs.latency_ms
    any_network = measure(read(model), board, kind="vww")
    assert costs.latency_ms != any_network.latency_ms, "the board has a line for kws alone"
    front_end = mfcc(40)
    assert found["budget"] == {"sram": 24_000, "flash": board.flash_bytes, "latency": 30}
    assert (
        found["used"]["sram"]
        == (max(costs.arena_required_bytes, costs.host_arena_bytes) + front_end.buffer_bytes)
        / 24_000
    )
    assert found["fits"] is False, "the board has 96 KB, the run was given 24"
    assert describe_costs(tmp_path / "run" / "model.tflite")["board"] == "stm32f446re"


def test_a_board_that_is_named_judges_a_run_by_its_own_limits(tmp_path: Path) -> None:
    run_folder(tmp_path / "run")
    found = describe_costs(tmp_path / "run", ["stm32f767zi"])
    board = Board.load("stm32f767zi")
    assert (found["board"], found["fits"]) == ("stm32f767zi", True)
    assert found["budget"] == {"sram": board.arena_bytes, "flash": board.flash_bytes}
    rows = describe_boards(tmp_path / "run")
    assert {row["board"]: row["fits"] for row in rows}["stm32f767zi"] is True


def test_the_board_is_the_one_of_the_day_of_the_run(tmp_path: Path) -> None:
    shipped = Board.load("nucleo_l476rg")
    as_it_was = shipped.model_copy(update={"name": "mine", "sram_bytes": 40_000})
    run_folder(tmp_path / "run", board=as_it_was.model_dump(mode="json", exclude_none=True))
    model = (tmp_path / "run/model.tflite").read_bytes()
    assert describe_costs(tmp_path / "run")["board"] == "mine"
    emulated = device(tmp_path / "run", model, read(model)).board
    assert (emulated.memory_of, emulated.ram_bytes) == ("mine", 40_000)


def test_a_run_whose_board_is_gone_is_not_judged_on_another_in_silence(tmp_path: Path) -> None:
    run_folder(tmp_path / "run")
    settings = SETTINGS | {"board": "my_board.yaml"}
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ConfigError, match=r"'my_board.yaml'; .*; name one with --board"):
        describe_costs(tmp_path / "run")
    assert describe_costs(tmp_path / "run", ["stm32f446re"])["board"] == "stm32f446re"


@pytest.mark.long
def test_the_commands_say_the_runs_board(tmp_path: Path) -> None:
    run_folder(tmp_path / "run")
    table = command("profile", "run", cwd=tmp_path).stdout
    assert "ms on nucleo_l476rg, by ops" in table
    assert re.search(r"^fits +false \(sram 1", table, re.M)
    checked = command("verify", "run", "--samples", 2, "--json", cwd=tmp_path)
    found = json.loads(checked.stdout)
    assert (found["board"], found["fits"]) == ("nucleo_l476rg", False)
    assert found["arena_bytes"] == describe_costs(tmp_path / "run")["arena_bytes"]


def test_the_boards_own_limits_are_a_budget_left_out(tmp_path: Path) -> None:
    """As `Problem` has it: `Limits` is the one place where "fits" is computed."""
    model = run_folder(tmp_path / "run")
    for name in ("stm32f446re", "nucleo_l476rg", "nucleo_g0b1re"):
        board = Board.load(name)
        costs = measure(read(model), board, kind="kws")
        found = describe_costs(tmp_path / "run", [name])
        limits = Budget().on(board, operators={op.kind for op in read(model).ops})
        assert limits.used(costs)["sram"] < found["used"]["sram"], "its front end has buffers"
        assert found["fits"] is limits.fits(costs)
