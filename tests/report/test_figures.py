"""Figures of reports: what they show, in both formats, to the same bytes."""

from pathlib import Path

import pytest
from PIL import Image

from micronas.errors import DataError
from micronas.report.figures import write_figures
from micronas.report.write import write_report
from tests.report.runs import by_hand, searched


def test_one_run_has_its_trials_and_training(tmp_path: Path) -> None:
    searched(tmp_path / "run")
    _, data = write_report([tmp_path / "run"])
    written = write_figures(data, tmp_path / "figures")
    assert [path.name for path in written] == [
        f"{name}.{ending}"
        for name in ("trials", "training", "costs", "gates")
        for ending in ("svg", "png")
    ]
    trials, training, costs, gates = (path.read_text() for path in written[::2])
    assert "latency, ms" in trials
    assert "trial accuracy, %" in trials
    for row in data["candidates"]["rows"]:
        assert f"{row['origin']}, {row['trial_epochs']} epochs" in trials
    assert "training, int8 in the loop" in training
    assert "expected SRAM" in costs
    assert "share of the limit" in costs
    for decision in data["search"]["gates"]["decisions"]:
        for option in decision["options"]:
            assert f">{decision['name']} {option}<" in gates
    with Image.open(written[1]) as picture:
        assert picture.size == (1200, 800)
    again = write_figures(data, tmp_path / "again")
    assert [path.read_bytes() for path in again[::2]] == [
        path.read_bytes() for path in written[::2]
    ]


def test_several_runs_have_a_front_for_each_cost(tmp_path: Path) -> None:
    by_hand(tmp_path / "runs/one")
    by_hand(tmp_path / "runs/two", int8_accuracy=0.9, latency_ms=50.0)
    _, data = write_report([tmp_path / "runs"])
    names = [path.stem for path in write_figures(data, tmp_path / "figures")[::2]]
    assert names == ["front_latency", "front_sram", "front_flash"]
    assert "flash, KB" in (tmp_path / "figures/front_flash.svg").read_text()


def test_a_run_without_trials_or_epochs_has_none(tmp_path: Path) -> None:
    by_hand(tmp_path / "old")
    _, data = write_report([tmp_path / "old"])
    with pytest.raises(DataError, match="figures need trials or epochs"):
        write_figures(data, tmp_path / "figures")
