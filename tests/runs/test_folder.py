"""Run folders, whole, old and damaged: what is read, and what is said of what is not."""

import json
import multiprocessing
import re
import shutil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from micronas.checkpoint import Checkpoint
from micronas.cli import app
from micronas.errors import ConfigError, DataError
from micronas.files import text_hash
from micronas.hardware.board import Board
from micronas.report.write import report_line, write_report
from micronas.runs.finished import open_run, runs_in
from micronas.runs.folder import Folder
from micronas.runs.stored import PARTS
from micronas.space.content import content
from tests.report.runs import by_hand, found, searched
from tests.toy import SPACE


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(found(tmp_path_factory), tmp_path_factory.mktemp("runs") / "whole")


def sections(path: Path) -> dict[str, Any]:
    """Return all but what long recordings chose, which these runs lack."""
    _, data = write_report([path])
    assert "micronas listen" in data.pop("listening")["absent"]
    return data


def test_a_whole_run_leaves_nothing_out(whole: Path) -> None:
    run = open_run(whole)
    assert run.absent == {}
    assert run.parts.keys() == PARTS.keys()
    assert run.kind == "toy"
    data = sections(whole)
    assert not [name for name, each in data.items() if "absent" in each]
    shown = data["candidates"]  # the winner first
    assert shown["rows"][0]["origin"] == shown["winner"]
    assert shown["rows"][0]["macs"] == run.metrics.macs


@pytest.mark.long
@pytest.mark.parametrize(
    ("strategy", "said"),
    [("halving", "no supernet was trained"), ("ranked", "ranked has no gates")],
)
def test_what_a_strategy_does_not_have_is_said(strategy: str, said: str, tmp_path: Path) -> None:
    data = sections(searched(tmp_path / "run", strategy=strategy))
    search = data["search"]
    assert said in (search.get("absent") or search["gates"]["absent"])
    others = [name for name, each in data.items() if "absent" in each and name != "search"]
    assert others == []
    assert len(data["candidates"]["rows"]) > 1


def test_metrics_alone_are_a_report(tmp_path: Path) -> None:
    data = sections(by_hand(tmp_path / "old"))
    absent = {n: s["absent"] for n, s in data.items() if isinstance(s, dict) and "absent" in s}
    assert absent.keys() == {
        *("network", "arena", "layers", "search", "candidates", "training", "outcome"),
        "quantization",
    }
    assert "needs history.json" in absent["training"]
    assert "model.tflite" in absent["arena"]
    assert "not searched for" in absent["search"]
    used = {row["name"]: (row["used"], row["limit"]) for row in data["budget"]["rows"]}
    assert used == {"sram": (12_000, 16_000), "flash": (14_000, 20_000), "latency": (33.5, 40)}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "must be JSON"),
        (b"\xff", "must be JSON"),
        (b"[]", "must be as micronas wrote"),
        (b"{}", "'board': Field required"),
    ],
)
def test_damaged_metrics_are_one_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    run = by_hand(tmp_path / "run")
    (run / "metrics.json").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        write_report([run])
    line = report_line(run)
    assert line.startswith("no report: ")
    assert len(line.splitlines()) == 1


def test_every_limit_must_be_used(tmp_path: Path) -> None:
    run = by_hand(tmp_path / "run", used={"sram": 0.5})
    with pytest.raises(DataError, match="the same keys"):
        open_run(run)


@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_part_takes_no_other_with_it(whole: Path, tmp_path: Path, part: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    history = json.loads((run / "history.json").read_text())
    (run / "history.json").write_text(json.dumps({**history, part: 7}))
    assert open_run(run).absent.keys() == {part}
    assert "is damaged" in open_run(run).absent[part]
    shown = [n for n, s in sections(run).items() if isinstance(s, dict) and "absent" in s]
    assert len(shown) <= 1


def test_a_network_without_blocks_or_with_open_choices_is_left_out(
    whole: Path, tmp_path: Path
) -> None:
    """A KeyError and a ValueError ended the report."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    history = json.loads((run / "history.json").read_text())
    (run / "history.json").write_text(json.dumps({**history, "network": []}))
    assert sections(run)["network"]["absent"] == "the run names no block"
    del history["network"]
    (run / "history.json").write_text(json.dumps(history))
    (run / "architecture.yaml").write_text(SPACE.text())
    assert "nothing left to choose" in sections(run)["network"]["absent"]


@pytest.mark.parametrize("name", ["config.yaml", "architecture.yaml", "model.tflite"])
def test_a_file_that_is_gone_or_damaged_is_left_out(whole: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for damage in (lambda path: path.write_bytes(b"\x00[:"), lambda path: path.unlink()):
        damage(run / name)
        assert open_run(run).absent.keys() == {name}
        assert sections(run)["name"] == "run"


def test_folders_of_runs_are_opened_two_levels_deep(tmp_path: Path) -> None:
    for name in ("a", "b", "sweep/c"):
        by_hand(tmp_path / name)
    (tmp_path / "aa").mkdir()
    (tmp_path / "aa/checkpoint.pt").touch()
    assert [run.name for run in runs_in(tmp_path)] == ["a", "aa", "b", "c"]
    said = CliRunner().invoke(app, ["report", str(tmp_path)]).stdout
    assert re.search(r"left out: .*/aa/metrics.json cannot be read \(No such .*; finish the", said)
    assert runs_in(tmp_path / "a") == [tmp_path / "a"]
    with pytest.raises(DataError, match="needs finished runs"):
        runs_in(tmp_path / "nothing")
    with pytest.raises(DataError, match="must be readable"):
        runs_in(tmp_path / ("long" * 100))


def test_what_cannot_be_written_loses_nothing(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="must be writable"):
        write_report([whole], tmp_path / "file" / "report.html")
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    shutil.copytree(whole, tmp_path / "run", dirs_exist_ok=True, ignore=lambda *_: ["report.html"])
    assert report_line(tmp_path / "run").startswith("no report: a report's file must be writable")
    assert report_line(whole) == f"report: {whole / 'report.html'}"


SETTINGS = {"board": "x", "seed": 1, "train": {"epochs": 3}}


def claimed(folder: Path, **changes: Any) -> Checkpoint:
    return Folder(folder, SETTINGS | changes).claim()


def test_a_folder_is_of_one_space_and_board_though_settings_only_name_them(tmp_path: Path) -> None:
    folder, board = Folder(tmp_path, SETTINGS), Board.load("stm32f446re")
    known = {"space": content(SPACE), "board": text_hash(board.model_dump_json())}
    folder.claim(known).save("train", {"epoch": 2})
    other = SPACE.model_copy(update={"blocks": SPACE.blocks[:0]})
    slower = board.model_copy(update={"clock_hz": 1_000_000})
    for name, changed in (("space", content(other)), ("board", slower.model_dump_json())):
        with pytest.raises(ConfigError, match=f"of another {name}, or .*; choose another --out"):
            folder.claim({**known, name: changed})
    assert folder.claim(known).load("train") == {"epoch": 2}


def test_a_folder_of_arrays_may_be_moved_or_named_in_another_way(tmp_path: Path) -> None:
    def arrays(folder: Path, sha256: str = "1") -> dict[str, Any]:
        return {"task": "arrays", "path": str(folder / "data.npz"), "sha256": sha256}

    old, new = tmp_path / "old", tmp_path / "new"
    claimed(old, data=arrays(old)).save("train", {"epoch": 2})
    assert claimed(old / ".." / "old", data=arrays(old / ".." / "old")).load("train")
    old.rename(new)
    assert claimed(new, data=arrays(new)).load("train") == {"epoch": 2}
    with pytest.raises(ConfigError, match=r"a run that differs in data; .* \(folder= in Python\)"):
        claimed(new, data=arrays(new, "2"))


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "gone"])
def test_a_damaged_config_is_written_again_where_the_checkpoint_says_whose_it_is(
    tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "run"
    claimed(folder).save("train", {"epoch": 2})
    config = folder / "config.yaml"
    whole = config.read_bytes()
    broken = {"cut": whole[:20], "empty": b"", "noise": b"\x00{[" + whole}
    config.write_bytes(broken.get(damage, b""))
    if damage == "gone":
        config.unlink()
    with pytest.raises(ConfigError, match="holds a run of other settings"):
        claimed(folder, seed=2)
    assert claimed(folder).load("train") == {"epoch": 2}
    assert config.read_bytes() == whole


def test_a_damaged_config_that_nothing_vouches_for_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    claimed(folder)
    (folder / "model.tflite").write_bytes(b"kept")
    for damage, said in ((b"board: x\n", "cut short"), (b"board: [", "damaged")):
        (folder / "config.yaml").write_bytes(damage)
        with pytest.raises(ConfigError, match=f"{said}.*put the config back"):
            claimed(folder)
    (folder / "model.tflite").unlink()
    claimed(folder)  # nothing but the damaged config is there: the run had not begun


def test_what_a_killed_run_left_half_written_is_no_file_of_others(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.0123456789abcdef.tmp").write_text("board: x")
    claimed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    (tmp_path / "config.yaml").unlink()
    (tmp_path / ".config.yaml.mine.tmp").write_text("")
    with pytest.raises(ConfigError, match="holds other files"):
        claimed(tmp_path)


def test_two_processes_in_one_folder_exclude_each_other_with_one_line(tmp_path: Path) -> None:
    def claims(folder: Path, ends: Connection) -> None:
        checkpoint = Folder(folder, {"seed": 0}).claim()
        ends.send(checkpoint.load("settings"))
        ends.recv()

    fork, run = multiprocessing.get_context("fork"), tmp_path / "run"
    for end in ("kill", "join"):
        here, there = fork.Pipe()
        process = fork.Process(target=claims, args=(run, there))
        second = Folder(run, {"seed": 0})  # looked at the folder before the first was there
        other = Folder(run, {"seed": 1}) if end == "kill" else None
        process.start()
        here.recv()
        with pytest.raises(ConfigError, match="another is at work") as refused:
            second.claim()
        assert len(str(refused.value).splitlines()) == 1
        here.send("end") if end == "join" else process.kill()
        process.join()
        if other is not None:
            with pytest.raises(ConfigError, match="holds a run that differs in seed"):
                other.claim()
        second.claim()
        assert [path.name for path in run.iterdir()] == ["config.yaml"]
