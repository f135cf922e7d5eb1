"""The shipped boards, a user's own, and what goes wrong."""

import json
from pathlib import Path

import pytest
import torch

from micronas.errors import ConfigError
from micronas.hardware import board
from testing import boards as fit_boards
from tests.boards import shipped

OWN = """\
name: mine
title: My board
core: Cortex-M33
sram_bytes: 262144
flash_bytes: 1048576
clock_hz: 160000000
reserved: {sram_bytes: 10000, flash_bytes: 80000}
source: data sheet
kernels: CMSIS-NN
form: terms
latency:
- {form: terms, coefficients: {conv_macs: 1.0e-5, constant: 2}, networks: 3, source: my bench}
- {form: ops, coefficients: {ops: 4.0e-6}, networks: 5, source: mine}
- {form: ops, spaces: [kws], coefficients: {ops: 5.0e-6}, networks: 5, source: my bench}
"""
PAPER = ("stm32f446re", "stm32f746zg", "stm32f767zi")


def own(tmp_path: Path, text: str = OWN) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def measured_boards() -> list[str]:
    """Names of those that ship and are no estimates."""
    return [name for name in board.available() if shipped(name).like is None]


def test_shipped_boards() -> None:
    assert set(measured_boards()) == set(fit_boards.BOARDS)
    assert len(measured_boards()) == 15
    assert len(board.available()) == 23
    small, medium, large = (shipped(name) for name in PAPER)
    assert (small.sram_bytes, small.flash_bytes, small.clock_hz) == (2**17, 2**19, 180_000_000)
    assert (medium.sram_bytes, medium.flash_bytes) == (320 * 2**10, 2**20)
    assert (large.sram_bytes, large.flash_bytes) == (2**19, 2**21)
    assert (small.arena_bytes, small.model_bytes) == (131_072 - 8_000, 524_288 - 75_000)
    assert (small.power_mw, medium.power_mw, large.power_mw) == (161.1, 444.5, None)


@pytest.mark.parametrize("name", PAPER)
def test_boards_of_the_paper_err_below_eight_percent_on_networks_left_out(name: str) -> None:
    target = board.Board.load(name)
    errors = {
        model.form: model.leave_one_out_percent.mean
        for model in target.latency
        if model.leave_one_out_percent is not None and not model.spaces
    }
    assert errors[target.form] == min(errors.values())
    assert errors[target.form] < 8 < 15 < errors["ops"]
    assert target.latency_model().status == "validated"


def test_a_large_depthwise_kernel_is_never_free() -> None:
    for name in board.available():
        for model in shipped(name).latency:
            if model.form == "terms":
                assert model.coefficients["depthwise_macs"] > 0, name


def test_few_networks_are_a_prior_and_boards_without_power_have_no_energy() -> None:
    for name in measured_boards():
        target = board.Board.load(name)
        for model in target.latency:
            few = model.networks < board.VALIDATED_FROM
            assert (model.status == "prior, not validated") == few
        measured = any(row["energy_mj"] for row in fit_boards.measurements()[name])
        assert (target.power_mw is not None) == measured
        assert (target.energy_mj(1.0) is not None) == measured


def test_shipped_models_are_what_the_measurements_give() -> None:
    for name, rows in fit_boards.measurements().items():
        assert fit_boards.board(name, rows) == board.Board.load(name)


def test_energy() -> None:
    small = board.Board.load("stm32f446re")
    assert small.energy_mj(426.0) == pytest.approx(426 * 0.1611)  # published: 70.56
    assert board.Board.load("stm32f767zi").energy_mj(426.0) is None
    latency = torch.tensor(10.0, requires_grad=True)
    small.energy_mj(latency).backward()
    assert float(latency.grad) == pytest.approx(0.1611)


def test_a_board_of_ones_own(tmp_path: Path) -> None:
    mine = board.Board.load(own(tmp_path))
    counts = {"conv_macs": 1e6, "ops": 3e6}
    assert mine.latency_ms(counts) == 10 + 2
    assert mine.latency_ms(counts, space="unheard of") == 10 + 2
    assert mine.latency_ms(counts, space="kws") == 10 + 2
    assert mine.using("ops").latency_ms(counts) == 12
    assert mine.using("ops").latency_ms(counts, space="kws") == pytest.approx(15)
    assert mine.using(None) is mine
    with pytest.raises(ConfigError, match="measured for, but got 'instructions'; choose ops or"):
        mine.using("instructions")
    assert mine.energy_mj(12.0) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sram_bytes: 262144", "sram_byte: 262144", r"line 4: unknown key .*'sram_bytes'"),
        ("core: Cortex-M33\n", "", "key 'core' is required"),
        ("flash_bytes: 80000}", "flash: 80000}", "line 7: unknown key .*'flash_bytes'"),
        ("sram_bytes: 262144", "sram_bytes: -4", r"line 4: sram_bytes: .* -4"),
        ("{conv_macs: 1.0e-5, ", "{conv_mac: 1.0e-5, ", "unknown term .*'conv_macs'"),
        ("{ops: 4.0e-6}", "{ops: -4.0e-6}", "ops must be a number of ms that is not negative"),
        ("{ops: 4.0e-6}", "{ops: .nan}", "coefficients.ops: input should be a finite number"),
        ("{ops: 4.0e-6}", "{}", "latency.1.coefficients"),
        ("form: terms\nlatency", "form: term\nlatency", "form: .*'term'"),
        ("form: terms\nlatency", "form: instructions\nlatency", "hold a model of the form 'instr"),
        (
            "{sram_bytes: 10000",
            "{sram_bytes: 262144",
            r"reserved.sram_bytes .*: 262,144 of 262,144; write",
        ),
        ("flash_bytes: 80000}", "flash_bytes: 1048576}", "reserved.flash_bytes must be less"),
        ("name: mine", "name: [", "not valid YAML"),
        # the one complaint, not also that there is no latency model
        (
            OWN[OWN.index("- {") :],
            "- {form: ops, coefficients: {ops: -1}, networks: 3, source: mine}",
            "ops must be a number of ms that is not negative$",
        ),
        ("{ops: 4.0e-6}", "{ops: 0}", "one term must be above 0"),
        ("clock_hz: 160000000", "clock: 160", "at least 1 MHz, but is 160 Hz; write 80 MHz"),
        ("source: data", "sram: 1 MB\nsource: data", "each size once, but has sram and sram_bytes"),
        ("source: data", "power_mw: .inf\nsource: data", "power_mw: .*finite"),
        ("sram_bytes: 262144", "sram: 264 Q", r"\.yaml: a quantity of bytes .* got '264 Q'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in OWN
    with pytest.raises(ConfigError, match=message) as raised:
        board.Board.load(own(tmp_path, OWN.replace(old, new)))
    assert "\n" not in str(raised.value)


def test_view_is_json_with_the_promised_keys(tmp_path: Path) -> None:
    view = json.loads(json.dumps(board.Board.load(own(tmp_path)).view()))
    latency = view["latency"]
    assert latency["terms"] == {"conv_macs": 1e-5, "constant": 2}
    assert latency["leave_one_out_percent"] is None
    assert latency["status"] == "prior, not validated"
    assert [form["spaces"] for form in view["latency_forms"]] == [[], [], ["kws"]]


def test_a_board_survives_a_round_trip(tmp_path: Path) -> None:
    mine = board.Board.load(own(tmp_path))
    mine.save(str(tmp_path / "again.yaml"))
    assert board.Board.load(tmp_path / "again.yaml") == mine
    with pytest.raises(ConfigError, match="board's file must be writable"):
        mine.save(tmp_path / "again.yaml" / "below.yaml")
