"""Figures of reports: what they show, in both formats, to the same bytes."""

from pathlib import Path

import pytest
from PIL import Image

from micronas.errors import DataError
from micronas.report.figures import write_figures
from micronas.report.write import write_report
from tests.report.runs import by_hand, found


@pytest.mark.long
def test_one_run_has_its_trials_and_training(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, data = write_report([found(tmp_path_factory)], tmp_path / "page.html")
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


@pytest.mark.long
def test_several_runs_have_a_front_for_each_cost(tmp_path: Path) -> None:
    by_hand(tmp_path / "runs/one")
    by_hand(tmp_path / "runs/two", int8=0.9, latency_ms=50.0)
    _, data = write_report([tmp_path / "runs"])
    written, again = (write_figures(data, tmp_path / name)[::2] for name in ("figures", "again"))
    assert [path.stem for path in written] == ["front_latency", "front_sram", "front_flash"]
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]
    assert "flash, KB" in (tmp_path / "figures/front_flash.svg").read_text()


def test_a_run_without_trials_or_epochs_has_none(tmp_path: Path) -> None:
    by_hand(tmp_path / "old")
    _, data = write_report([tmp_path / "old"])
    with pytest.raises(DataError, match="figures need trials or epochs"):
        write_figures(data, tmp_path / "figures")
