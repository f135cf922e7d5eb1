"""Boards nobody measured: latency by clock and core of one that was, and never as if measured."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from micronas.calibration.fit import calibrate
from micronas.calibration.measurements import HOST, Measurement
from micronas.cli import app
from micronas.errors import ConfigError
from micronas.hardware.board import Board, available
from micronas.hardware.estimates import ESTIMATED, spread
from micronas.hardware.targets import CMSIS_NN
from testing.published import GRAPHS

PICO = "name: pico\nlike: nucleo_g0b1re\nclock: 128 MHz\nsram: 264 KB\nflash: 2 MB\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text)
    return path


def test_twice_the_clock_is_half_the_time_and_an_estimate(tmp_path: Path) -> None:
    pico, measured = Board.load(written(tmp_path, PICO)), Board.load("nucleo_g0b1re")
    counted = CMSIS_NN.features(GRAPHS["MicroNet-KWS-S"])
    assert pico.latency_ms(counted) == pytest.approx(measured.latency_ms(counted) / 2, rel=1e-4)
    assert (pico.sram_bytes, pico.flash_bytes, pico.clock_hz) == (264_000, 2_000_000, 128_000_000)
    assert pico.core == "Cortex-M0+"
    assert pico.power_mw is None
    for model in pico.latency:
        assert model.status == ESTIMATED
        assert model.within == spread("Cortex-M0+")
        assert model.leave_one_out_percent is None
    pico.save(tmp_path / "again.yaml")
    assert Board.load(tmp_path / "again.yaml") == pico  # what was scaled is not scaled again


def test_a_board_of_the_engine_reserves_no_interpreter(tmp_path: Path) -> None:
    """Whose 75 KB of flash were more than it has."""
    small = "name: small\nlike: nucleo_g0b1re\nsram: 20 KB\nflash: 64 KB\n"
    with pytest.raises(ConfigError, match="75,000 of 64,000"):
        Board.load(written(tmp_path, small))
    board = Board.load(written(tmp_path, f"{small}engine: micronas\n"))
    assert (board.arena_bytes, board.model_bytes) == (16_000, 26_000)
    given = "engine: micronas\nreserved: {sram_bytes: 9000, flash_bytes: 40000}\n"
    own = Board.load(written(tmp_path, small + given))
    assert own.arena_bytes == own.using(None, engine="tflm").arena_bytes == 11_000
    shipped = Board.load("nucleo_g0b1re")
    chosen = shipped.using(None, engine="micronas")
    assert chosen.arena_bytes - shipped.arena_bytes == 4_000
    assert chosen.using(None, engine="tflm").reserved == shipped.reserved


def test_the_clock_of_a_measured_board_matters(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "latency_models" / "stm32f446re.yaml"
    slower = source.read_text().replace("clock_hz: 180000000", "clock_hz: 90 MHz")
    half, whole = Board.load(written(tmp_path, slower)), Board.load("stm32f446re")
    counted = CMSIS_NN.features(GRAPHS["MicroNet-KWS-S"])
    assert half.latency_ms(counted) == pytest.approx(2 * whole.latency_ms(counted), rel=1e-4)
    assert half.latency_model().status == ESTIMATED
    assert "measured at 180 MHz, scaled to 90 MHz" in half.latency_model().source
    assert whole.latency_model().status == "validated"


def test_another_core_takes_its_own_cycles(tmp_path: Path) -> None:
    """An M7 at the clock of an M4 is faster, by the medians of measured boards of both."""
    text = "name: a\nlike: stm32f446re\ncore: Cortex-M7\nclock: 180 MHz\n"
    counted = CMSIS_NN.features(GRAPHS["MicroNet-KWS-S"])
    faster = Board.load(written(tmp_path, text)).latency_ms(counted)
    # by hand: M7 0.516 0.598 1.101 1.063, M4 0.986 1.577 2.092 cycles an instruction
    ratio = (0.598 + 1.063) / 2 / 1.577
    assert faster / Board.load("stm32f446re").latency_ms(counted) == pytest.approx(ratio, rel=0.01)
    own = Board.load(written(tmp_path, text.replace("Cortex-M7", "arm cortex_m7f")))
    assert (own.core, own.latency_ms(counted)) == ("Cortex-M7", faster)
    small = {
        Board.load(written(tmp_path, text.replace("Cortex-M7", core))).latency_ms(counted)
        for core in ("Cortex-M0+", "m0plus", "Cortex-M0", "Cortex-M3", "Cortex-M23")
    }
    assert len(small) == 1
    assert min(small) > 2 * faster


@pytest.mark.long
def test_what_ships_unmeasured_says_so() -> None:
    names = [name for name in available() if Board.load(name).like]
    assert names == [
        *("ensemble_e7", "esp32c3", "nrf52840dk", "nrf54l15dk", "nucleo_h743zi"),
        *("nucleo_l476rg", "rp2040", "rp2350"),
    ]
    for name in names:
        board = Board.load(name)
        assert all(model.status == ESTIMATED for model in board.latency)
        shown = (
            CliRunner()
            .invoke(app, ["profile", "published/kws_s", "--board", name, "--wide"])
            .output
        )
        assert f"({ESTIMATED}, boards lay at" in shown
    told = CliRunner().invoke(app, ["boards"]).output
    assert told.count("estimate x") == len(names)


def test_an_estimate_is_like_a_measured_board(tmp_path: Path) -> None:
    for like, message in (("rp2040", "like: nucleo_g0b1re"), ("rp2041", "did you mean 'rp2040'")):
        path = written(tmp_path, PICO.replace("nucleo_g0b1re", like))
        with pytest.raises(ConfigError, match=message):
            Board.load(path)
    with pytest.raises(ConfigError, match=r"\(Bosch HALE\), but are micronas; write engine: mi"):
        Board.load(written(tmp_path, PICO + "kernels: micronas\n"))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("like: other.yaml", "is an estimate like other.yaml; write another board"),
        ("name: other", "other.yaml: key 'title' is required"),
        ("latency: 5\nmeasured_hz: 1", "other.yaml: .*latency: must be a list, but got 5"),
        ("latency: [1]\nclock_hz: 2\nmeasured_hz: 1", r"latency.0: .*but got 1"),
        ("latency: [{coefficients: {macs: x}}]\nclock_hz: 2\nmeasured_hz: 1", "macs: must be a n"),
    ],
)
def test_a_board_like_no_board_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.yaml").write_text(other)
    path = written(tmp_path, PICO.replace("nucleo_g0b1re", "other.yaml"))
    with pytest.raises(ConfigError, match=message):
        Board.load(path)


def test_a_boards_file_is_shown_and_not_taken_for_a_network(tmp_path: Path) -> None:
    path = written(tmp_path, PICO)
    shown = CliRunner().invoke(app, ["boards", str(path)])
    assert shown.exit_code == 0
    assert "128 MHz" in shown.output
    assert "estimate: NUCLEO-G0B1RE (Cortex-M0+, 64 MHz) by clock" in shown.output
    wrong = CliRunner().invoke(app, ["boards", str(written(tmp_path, PICO + "sarm: 3\n"))])
    assert "unknown key 'sarm'" in str(wrong.exception)


def test_times_of_a_computer_validate_no_board() -> None:
    counted = [CMSIS_NN.features(graph) for graph in list(GRAPHS.values())[:8]]
    measured = [
        Measurement(f"n{place}", each, 1e-6 * each["ops"], board=f"{HOST}x86_64 by tflm")
        for place, each in enumerate(counted)
    ]
    sizes = {"sram_bytes": 264e3, "flash_bytes": 2e6, "clock_hz": 133e6}
    board = calibrate(measured, name="rp2040", **sizes).board
    assert {model.status for model in board.latency} == {"timed on a host, not the board"}
    assert "host: x86_64 by tflm, no board" in board.title
    with pytest.raises(ConfigError, match=r"Cortex-M0\+ must be timed itself, .*--from-log"):
        calibrate(measured, name="rp2040", core="Cortex-M0+", **sizes)
