"""A board that is calibrated with the engine: its times are those of the engine."""

from pathlib import Path

import pytest

from micronas.calibration.fit import calibrate
from micronas.calibration.measurements import add_times, read_measurements
from micronas.calibration.plan import read_plan, write_plan
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.hardware.profile import profile
from micronas.hardware.targets import choose
from micronas.space.space import Space
from micronas.tflite.reader import read

MS = 3e-6
"""Of an instruction of the engine, on the board that is made up."""


@pytest.mark.long
@pytest.mark.parametrize("core", ["Cortex-M4", "Cortex-M7"])
def test_times_of_the_engine_are_predicted_as_they_were_measured(core: str, tmp_path: Path) -> None:
    target = choose("micronas", core).target
    plan = tmp_path / "plan"
    write_plan(plan, 10, spaces=("kws_small", "vww_small"), target=target)
    assert "_invoke" in (plan / "firmware/network.h").read_text()
    times = {
        name: MS * target.features(read(path.read_bytes()))["instructions"]
        for name, path in read_plan(plan).items()
    }
    fitted = calibrate(
        read_measurements(add_times(plan, times), target=target),
        name="mine",
        sram_bytes=128_000,
        flash_bytes=512_000,
        clock_hz=180e6,
        core=core,
        kernels="micronas",
    )
    fitted.board.save(tmp_path / "mine.yaml")
    board = Board.load(tmp_path / "mine.yaml")
    assert board.target.name == "micronas"
    graph = Space.load("published/kws_s").graph()
    found = profile(graph, board, budget=Budget(latency=100))
    taken = MS * board.target.features(graph)["instructions"]
    assert found["latency_ms"] == pytest.approx(taken, rel=0.01)
    assert found["latency_status"] == "validated"
    assert "latency" not in found["fits_estimates"]
