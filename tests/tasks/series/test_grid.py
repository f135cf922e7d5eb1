"""Samples at equal steps of time: what lies between, what is missing, what is too fast."""

from pathlib import Path

import numpy as np
import pytest

from micronas.errors import DataError
from micronas.tasks.series.grid import on_grid
from micronas.tasks.series.load import load
from micronas.tasks.series.recording import Recording
from micronas.tasks.series.recordings import read_recordings
from tests.tasks.series.tables import settings, write


def recording(values: list[float], **more: object) -> Recording:
    column = np.array(values, np.float32)[:, None]
    return Recording("r", "a", "g", column, **more)  # type: ignore[arg-type]


def test_between_samples_lie_straight_lines() -> None:
    times = np.array([0.0, 0.1, 0.25, 0.4])
    made = on_grid(recording([0, 1, 4, 7]), times, 20)
    # at 0, .05, .10, ... .40 s; between .1 and .25 the line rises by 20 a second
    assert made.values[:, 0].tolist() == pytest.approx([0, 0.5, 1, 2, 3, 4, 5, 6, 7])
    assert made.rate_hz == 20


def test_a_lower_rate_is_the_mean_around_each_sample() -> None:
    """A tone at half of the old rate, which would else show as a constant, is gone."""
    times = np.arange(64) / 64
    made = on_grid(recording([1.0, -1.0] * 32), times, 16)
    assert len(made.values) == 16
    assert np.abs(made.values[1:]).max() <= 1 / 3
    slow = np.sin(2 * np.pi * times)
    kept = on_grid(recording(slow.tolist()), times, 16)
    assert np.abs(kept.values[1:, 0] - slow[::4][1:]).max() < 0.06


def test_gaps_are_filled_up_to_their_length_and_no_further() -> None:
    nan = float("nan")
    times = np.arange(10) / 10
    values = [0, nan, 2, 3, nan, nan, nan, 7, 8, nan]
    made = on_grid(recording(values), times, 10, fill=0.2)
    assert made.values[:4, 0].tolist() == pytest.approx([0, 1, 2, 3])
    assert np.isnan(made.values[4:7, 0]).all(), "three steps are longer than 0.2 s"
    assert made.values[7:9, 0].tolist() == [7, 8]
    assert np.isnan(made.values[9, 0]), "nothing follows"
    assert made.filled == 1
    untouched = on_grid(recording(values), times, 10)
    assert np.isnan(untouched.values[:, 0]).tolist() == np.isnan(values).tolist()
    assert untouched.filled == 0


def test_labels_and_targets_are_those_of_the_last_sample_before() -> None:
    times = np.array([0.0, 1.0, 2.0, 3.0])
    targets = np.array([[9.0], [8.0], [7.0], [6.0]])
    made = on_grid(recording([0, 1, 2, 3], changes=((2, "b"),), targets=targets), times, 2)
    assert made.label == "a"
    assert made.changes == ((4, "b"),)
    assert made.targets[:, 0].tolist() == [9, 9, 8, 8, 7, 7, 6]


def test_files_of_other_rates_with_gaps_become_one_data_set(tmp_path: Path) -> None:
    """Ramps of one unit a second, at 50 and 20 Hz, with a sample gone, and a gap of two seconds."""
    for label, rate in (("fast", 50), ("slow", 20)):
        for person in range(8):
            times = [n / rate for n in range(8 * rate) if n != 30 and not 4 < n / rate < 6]
            lines = (f"{at:.4f},{at + person}" for at in times)
            write(tmp_path / label / f"p{person}.csv", "time_s,x", *lines)
    given = {"window": 16, "group": "prefix"}
    plain = load(settings(tmp_path, **given))
    assert "data.rate=20 brings all to one" in plain.summary
    even = settings(tmp_path, **given, rate=20, fill=0.5)
    found = read_recordings(even).recordings
    assert len(found) == 32, "the gap of two seconds ends a recording"
    for each in found:
        steps = np.diff(each.values[:, 0])
        assert np.allclose(steps[1:], 1 / 20, atol=1e-2)
    data = load(even)
    assert data.meaning["rate_hz"] == 20.0
    assert "Samples are at equal steps of time" in data.summary
    assert "Rates differ" not in data.summary


def test_without_times_nothing_can_be_resampled(tmp_path: Path) -> None:
    write(tmp_path / "a/x.csv", "x", *range(40))
    for more in ({"rate": 20}, {"fill": 0.1}):
        with pytest.raises(DataError, match=r"must have a column of time to be resampled"):
            read_recordings(settings(tmp_path, **more))
    np.savez(tmp_path / "b.npz", a=np.arange(40.0), b=np.arange(40.0))
    with pytest.raises(DataError, match=r"is an \.npz"):
        read_recordings(settings(tmp_path / "b.npz", rate=20))


def test_a_sample_without_a_time_cannot_be_resampled(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    lines = [f"{'' if at == 5 else at / 50},{at % 7}" for at in range(40)]
    (tmp_path / "a/x.csv").write_text("\n".join(["time,x", *lines]))
    assert len(read_recordings(settings(tmp_path)).recordings) == 1
    for more in ({"rate": 20}, {"fill": 0.1}):
        with pytest.raises(DataError, match=r"a time in each line .*x\.csv has none in line 7"):
            read_recordings(settings(tmp_path, **more))


def test_a_rate_in_another_unit_takes_no_memory(tmp_path: Path) -> None:
    write(tmp_path / "a/x.csv", "time,x", *(f"{at / 50},{at % 7}" for at in range(40)))
    with pytest.raises(DataError, match=r"most 100 times .* is 50000, .*x\.csv has 50 Hz"):
        read_recordings(settings(tmp_path, rate=50_000))
