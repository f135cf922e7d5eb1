"""One stream of numbers, in each tracker's own files."""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from micronas.errors import ConfigError
from micronas.runs.folder import METRICS, MODEL
from micronas.runs.tracking import tracked

SETTINGS = {"seed": 3, "budget": {"sram": "24 KB"}, "data": {"path": "x" * 600}}


def go(folder: Path, *names: str, first: int = 1, last: int = 3, ends: bool = True) -> None:
    """A run that tells loss 1 / step in two phases, and then writes its folder."""
    folder.mkdir(exist_ok=True)
    with tracked(folder, SETTINGS, names) as progress:
        progress("trials", 0, 2, {})
        for step in range(first, last + 1):
            progress("training", step, 3, {"loss": 1 / step, "validation_accuracy": float("nan")})
        progress("trials", 2, 2, {"loss": 0.25})
        if not ends:
            raise KeyboardInterrupt
        (folder / MODEL).write_bytes(b"a model")
        (folder / METRICS).write_text(json.dumps({"int8_accuracy": 0.75, "board": "x"}))


def test_a_wrong_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of mlflow, wandb, but got 'mlfow'; did you mean"):
        go(tmp_path / "run", "mlfow")
    assert not [*(tmp_path / "run").iterdir()]


def test_what_is_shown_is_told_of_every_step(tmp_path: Path) -> None:
    told: list[tuple[object, ...]] = []
    with tracked(tmp_path, {}, shown=lambda *step: told.append(step)) as progress:
        progress("search", 0, 1, {})
        progress("search", 1, 1, {"loss": 2.0})
    assert told == [("search", 0, 1, {}), ("search", 1, 1, {"loss": 2.0})]
    assert len([*(tmp_path / "log").iterdir()]) == 1


def test_a_tracker_that_is_not_installed_or_cannot_begin_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"--track mlflow needs .* pip install '\.\[mlflow\]'"):
        go(tmp_path / "run", "mlflow")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/wandb.py").write_text("def init(**_): raise OSError('no key')")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ConfigError, match=r"before a run begins, but wandb is not \(no key\)"):
        go(tmp_path / "run", "wandb")


@pytest.mark.tracking
def test_a_tracker_that_fails_later_takes_no_run_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The store is a folder, which is taken away in the middle."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    (tmp_path / "run").mkdir()
    with tracked(tmp_path / "run", SETTINGS, ["mlflow"]) as progress:
        progress("training", 1, 2, {"loss": 1.0})
        shutil.rmtree(tmp_path / "store")
        progress("training", 2, 2, {"loss": 0.5})
        progress("training", 2, 2, {"loss": 0.5})
    assert [
        each.message.partition(":")[0] for each in caplog.records if each.name == "micronas"
    ] == ["mlflow failed and gets no more numbers"]
    assert len([*(tmp_path / "run/log").iterdir()]) == 1


@pytest.mark.tracking
def test_mlflows_store_holds_steps_settings_and_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "run", "mlflow", last=2, ends=False)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("micronas")
    (killed,) = client.search_runs([experiment.experiment_id])
    assert killed.info.status == "KILLED"
    go(tmp_path / "run", "mlflow", first=3)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params["budget.sram"] == "24 KB"
    assert len(run.data.params["data.path"]) == 500
    assert run.data.metrics["int8_accuracy"] == 0.75
    steps = client.get_metric_history(run.info.run_id, "training/loss")
    assert [(each.step, each.value) for each in steps] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert client.get_metric_history(run.info.run_id, "trials/loss")[-1].value == 0.25
    assert "training/validation_accuracy" not in run.data.metrics
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == [MODEL]


def written(log: bytes, *, header: int = 7, block: int = 2**15) -> Iterator[bytes]:
    """Read the records of a W&B file: a log as of LevelDB, blocks of fragments with a head each."""
    place, found = header, b""
    while place < len(log):
        left = block - place % block
        if left < 7:
            place += left
            continue
        size, kind = struct.unpack("<HB", log[place + 4 : place + 7])
        found += log[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last fragment
            yield found
            found = b""


def by_key(items: Iterable[Any]) -> dict[str, Any]:
    return {
        each.key or "/".join(each.nested_key): json.loads(each.value_json or "null")
        for each in items
    }


@pytest.mark.tracking
def test_wandbs_offline_file_holds_steps_settings_and_the_model(tmp_path: Path) -> None:
    """In a process of its own: W&B leaves threads and hooks behind."""
    program = f"""
from pathlib import Path
from tests.runs.test_tracking import go
go(Path({str(tmp_path / "run")!r}), "wandb")
"""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "WANDB_SILENT": "true",
        "PYTHONPATH": ":".join(sys.path),
    }
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=root)
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    rows, settings, summary, said = [], {}, {}, []
    for data in written(file.read_bytes()):
        record = Record.FromString(data)
        said.append(str(record))
        settings |= by_key(record.run.config.update)
        summary |= by_key(record.summary.update)
        rows.append(by_key(record.history.item))
    told = [(row["training/step"], row["training/loss"]) for row in rows if "training/loss" in row]
    assert told == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [row["trials/loss"] for row in rows if "trials/loss" in row] == [0.25]
    assert settings["budget.sram"] == "24 KB"
    assert summary["int8_accuracy"] == 0.75
    assert any("run-model" in each for each in said)
