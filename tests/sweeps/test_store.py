"""The sweep's file: nothing twice, nothing lost."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from micronas.errors import ConfigError, DataError, DiskError
from micronas.sweeps.points import Point, plan
from micronas.sweeps.store import leading, points_of

PLANNED = plan("kws_small", {"seed": [0, 1]}, ["board=stm32f446re", "data.path=words"])


def lead(folder: Path, planned: list[Point] = PLANNED) -> None:
    with leading(folder, planned):
        pass


def test_a_point_ends_once(tmp_path: Path) -> None:
    with leading(tmp_path, PLANNED) as store:
        store.start("seed=0")
        store.end("seed=0", "done", state="done", reason="", metrics="{}")
        with pytest.raises(DataError, match="must be running to end"):
            store.end("seed=0", "done", state="done", reason="", metrics='{"other": 1}')
        with pytest.raises(DataError, match="must be running to end"):
            store.end("seed=1", "done", state="done", reason="", metrics="{}")
    first, second = points_of(tmp_path)
    assert (first.state, first.metrics, first.attempts) == ("done", {}, 1)
    assert (second.state, second.metrics, second.attempts) == ("waiting", None, 0)


def test_what_was_cut_short_or_failed_waits_again(tmp_path: Path) -> None:
    with leading(tmp_path, PLANNED) as store:
        store.start("seed=0")
        store.end("seed=0", "failed", state="failed", reason="why", metrics=None)
        store.start("seed=1")
        assert [point.state for point in points_of(tmp_path)] == ["failed", "running"]
        assert points_of(tmp_path)[0].reason == "why"
        # all that a killed leader leaves behind
        shutil.copytree(tmp_path, tmp_path / "killed")
        shutil.copytree(tmp_path / "killed", tmp_path / "copy", ignore=lambda *_: [".leader"])
        for folder in (tmp_path / "killed", tmp_path / "copy"):
            assert [point.state for point in points_of(folder)] == ["failed", "waiting"]
        assert not (tmp_path / "copy/.leader").exists(), "who looks writes no file"
    assert [point.state for point in points_of(tmp_path)] == ["failed", "waiting"]
    with leading(tmp_path, PLANNED) as store:
        assert store.waiting() == {"seed=0", "seed=1"}


def test_one_leader_at_a_time_and_one_sweep_a_folder(tmp_path: Path) -> None:
    with leading(tmp_path, PLANNED), pytest.raises(ConfigError, match="must be led by one process"):
        lead(tmp_path)
    with pytest.raises(ConfigError, match="1 points differ, among them 'seed=1'"):
        lead(tmp_path, PLANNED[:1])
    assert len(points_of(tmp_path)) == 2


@pytest.mark.parametrize("key", ["board", "space"])
def test_points_keep_to_one_board_and_space_though_settings_only_name_them(
    tmp_path: Path, key: str
) -> None:
    files = {key: tmp_path / f"{key}.yaml" for key in ("board", "space")}
    files["board"].write_text("name: mine\nlike: nucleo_g0b1re\nclock: 133 MHz\n")
    files["space"].write_text(Path("search_spaces/kws_small.yaml").read_text())
    given = [f"board={files['board']}", f"space={files['space']}", "data.path=words"]
    config = tmp_path / "run.yaml"
    config.write_text("seed: 1")
    lead(tmp_path / "out", plan(config, {"seed": [0]}, given))
    text = files[key].read_text()
    files[key].write_text(text.replace("133", "132").replace("max: 64", "max: 56", 1))
    with pytest.raises(ConfigError, match=r"a space, board or function that .*: 1 points"):
        lead(tmp_path / "out", plan(config, {"seed": [0]}, given))


def test_a_full_disk_is_no_damaged_file(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskError, match=r"room for what is written, but .*sqlite; free some"),
        leading(tmp_path, PLANNED),
    ):
        raise sqlite3.OperationalError("database or disk is full")


def test_the_file_is_in_write_ahead_mode(tmp_path: Path) -> None:
    lead(tmp_path)
    connection = sqlite3.connect(tmp_path / "sweep.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_folder_without_a_sweep_and_a_damaged_file_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold sweep\.sqlite"):
        points_of(tmp_path)
    (tmp_path / "sweep.sqlite").write_text("not a database, and long enough to be read as one")
    with pytest.raises(DataError, match="must be sound and writable"):
        points_of(tmp_path)
    with pytest.raises(DataError, match=r"delete it if .* goes on"):
        lead(tmp_path)
    (tmp_path / "sweep.sqlite").unlink()
    with leading(tmp_path, PLANNED) as store:
        assert store.waiting() == {"seed=0", "seed=1"}
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="folder must be writable"):
        lead(tmp_path / "file")
