"""The shipped boards, a user's own, and what goes wrong."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from micronas import resources
from micronas.errors import ConfigError
from micronas.graph.counts import count
from micronas.hardware import board
from micronas.hardware.latency import fit, mean_worst_percent
from tests.published import NETWORKS, load_script

OWN = """\
name: mine
title: My board
core: Cortex-M33
sram_bytes: 262144
flash_bytes: 1048576
clock_hz: 160000000
reserved: {sram_bytes: 10000, flash_bytes: 80000}
source: data sheet
latency:
  terms: {coefficients: {conv_macs: 1.0e-5, constant: 2}, networks: 3, source: my bench}
  plain: {coefficients: {ops: 4.0e-6}, networks: 5, source: my bench}
use: {kws: plain, other: terms}
"""


def own(tmp_path: Path, text: str = OWN) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_shipped_boards() -> None:
    assert board.available() == ["stm32f446re", "stm32f746zg", "stm32f767zi"]
    small, medium, large = (board.Board.load(name) for name in board.available())
    assert (small.sram_bytes, small.flash_bytes, small.clock_hz) == (2**17, 2**19, 180_000_000)
    assert (medium.sram_bytes, medium.flash_bytes) == (320 * 2**10, 2**20)
    assert (large.sram_bytes, large.flash_bytes) == (2**19, 2**21)
    assert (small.arena_bytes, small.model_bytes) == (131_072 - 8_000, 524_288 - 75_000)
    assert (small.power_mw, medium.power_mw, large.power_mw) == (161.1, 444.5, None)


@pytest.mark.parametrize(
    ("name", "macs_ms", "outputs_ms", "mean", "networks"),
    [
        ("stm32f446re", 12.32, 1363, 6.0, 7),
        ("stm32f746zg", 6.31, 571, 4.8, 11),
        ("stm32f767zi", 5.53, 590, 6.9, 13),
    ],
)
def test_two_terms_over_all_tasks_as_an_earlier_analysis_found_them(
    name: str, macs_ms: float, outputs_ms: float, mean: float, networks: int
) -> None:
    """Coefficients in ms per million and the mean error of each network without itself."""
    with (resources.folder("latency_models") / "micronets_table4.csv").open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["board"] == name and row["network"] in NETWORKS and row["estimated"] == "no"
        ]
    fitted = fit(
        [count(NETWORKS[row["network"]]).features for row in rows],
        [float(row["latency_ms"]) for row in rows],
        terms=("conv_macs", "conv_outputs"),
    )
    assert fitted.model.coefficients["conv_macs"] * 1e6 == pytest.approx(macs_ms, abs=0.005)
    assert fitted.model.coefficients["conv_outputs"] * 1e6 == pytest.approx(outputs_ms, abs=0.5)
    assert fitted.left_out is not None
    assert mean_worst_percent(fitted.left_out)[0] == pytest.approx(mean, abs=0.05)
    assert len(rows) == networks


def test_shipped_models_price_large_depthwise_kernels_and_err_below_eight_percent() -> None:
    for name in board.available():
        model = board.Board.load(name).latency_model()
        assert model.coefficients["depthwise_macs"] > model.coefficients["conv_macs"]
        assert model.leave_one_out_percent is not None
        assert model.leave_one_out_percent.mean < 8


def test_shipped_models_are_what_the_measurements_give() -> None:
    script = load_script()
    with (resources.folder("latency_models") / "micronets_table4.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in board.available():
        fitted = script.board(name, [row for row in rows if row["board"] == name])
        assert fitted == board.Board.load(name)


@pytest.mark.parametrize(
    ("name", "network", "space", "measured"),
    [
        ("stm32f446re", "MicroNet-KWS-M", "kws", 426),
        ("stm32f746zg", "MicroNet-AD-M", "ad", 608),
        ("stm32f767zi", "MicroNet-VWW-4", "vww", 298),
    ],
)
def test_latency_of_published_networks(
    name: str, network: str, space: str, measured: float
) -> None:
    target = board.Board.load(name)
    latency = target.latency_ms(count(NETWORKS[network]).features, space=space)
    worst = target.latency_model(space).in_sample_percent
    assert worst is not None
    assert abs(latency / measured - 1) * 100 <= worst.worst + 0.1


def test_energy() -> None:
    small = board.Board.load("stm32f446re")
    assert small.energy_mj(426.0) == pytest.approx(426 * 0.1611)  # published: 70.56
    assert board.Board.load("stm32f767zi").energy_mj(426.0) is None
    latency = torch.tensor(10.0, requires_grad=True)
    small.energy_mj(latency).backward()
    assert latency.grad is not None
    assert float(latency.grad) == pytest.approx(0.1611)


def test_a_board_of_ones_own(tmp_path: Path) -> None:
    mine = board.Board.load(own(tmp_path))
    features = {"conv_macs": 1e6, "ops": 3e6}
    assert mine.latency_ms(features) == 10 + 2
    assert mine.latency_ms(features, space="unheard of") == 10 + 2
    assert mine.latency_ms(features, space="kws") == 12
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
        ("{ops: 4.0e-6}", "{ops: .nan}", "ops must be a number of ms that is not negative"),
        ("{ops: 4.0e-6}", "{}", "latency.plain.coefficients"),
        ("{kws: plain", "{kws: plan", "use.kws: unknown model.*'plain'"),
        (", other: terms}", "}", "use must name a latency model for 'other'"),
        ("{sram_bytes: 10000", "{sram_bytes: 262144", "reserved.sram_bytes must be less"),
        ("flash_bytes: 80000}", "flash_bytes: 1048576}", "reserved.flash_bytes must be less"),
        ("name: mine", "name: [", "not valid YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in OWN
    with pytest.raises(ConfigError, match=message) as raised:
        board.Board.load(own(tmp_path, OWN.replace(old, new)))
    assert "\n" not in str(raised.value)


def test_unknown_board_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'stm32f446'; did you mean 'stm32f446re'"):
        board.Board.load("stm32f446")


def test_view_is_json_with_the_promised_keys(tmp_path: Path) -> None:
    for each in (*board.available(), own(tmp_path)):
        view = json.loads(json.dumps(board.Board.load(each).view()))
        assert view.keys() >= {"name", "sram_bytes", "flash_bytes", "clock_hz", "latency"}
        latency = view["latency"]
        assert latency.keys() >= {"terms", "networks", "leave_one_out_percent", "source"}
    assert latency["terms"] == {"conv_macs": 1e-5, "constant": 2}
    assert latency["leave_one_out_percent"] is None
    assert view["latency_by_space"]["kws"]["terms"] == {"ops": 4e-6}


def test_a_board_survives_a_round_trip(tmp_path: Path) -> None:
    mine = board.Board.load(own(tmp_path))
    text = yaml.safe_dump(mine.model_dump(exclude_none=True))
    assert board.Board.load(own(tmp_path, text)) == mine


def test_boards_and_graphs_need_no_torch() -> None:
    program = (
        "import sys; import micronas.hardware.board, micronas.hardware.latency; "
        "import micronas.graph.counts, micronas.graph.memory; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
