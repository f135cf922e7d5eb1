"""What is written, once each: checkpoints, runs, logs, sweeps, caches, corpora, exports."""

import hashlib
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from micronas import cli
from micronas.checkpoint import Checkpoint
from micronas.errors import DataError
from micronas.event_file import EventFile
from micronas.export.firmware.shared import write_folder
from micronas.files import is_passing
from micronas.language.embedders import Cached
from micronas.runs.folder import Folder
from micronas.sweeps.points import plan
from micronas.sweeps.store import leading, points_of
from micronas.tasks.arrays import store
from micronas.tasks.cache import Notes, cached
from micronas.tasks.corpus import write_corpus
from micronas.tasks.waveform import write_samples
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph
from tests import toy
from tests.report.runs import by_hand

State = dict[str, Any]


def files(folder: Path) -> State:
    """Contents by name, but for files that are there for a while."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(map(is_passing, (path, *path.parents)))
    }


@dataclass(frozen=True)
class Scenario:
    """A way to write."""

    name: str
    act: Callable[[Path], object]
    """Writes below a folder; done again, it changes nothing."""
    prepare: Callable[[Path], object] = lambda folder: None
    state: Callable[[Path], State] = files
    """What a reader finds; each entry must be as before or as after."""
    last: str = ""
    """The entry that says that all others are there."""
    held: bool = False
    """Whether who goes on removes what a killed process left."""
    syncs: bool = True
    """Whether files are renamed by `micronas.files`."""


def _checkpoint(folder: Path, *numbers: int) -> None:
    checkpoint = Checkpoint(folder / "checkpoint.pt")
    for number in numbers:
        checkpoint.save("train", {"epoch": number, "weights": torch.full((9000,), float(number))})


def _epoch(folder: Path) -> State:
    state = Checkpoint(folder / "checkpoint.pt", yields=True).load("train")
    return {} if state is None else {"epoch": state["epoch"], "sum": float(state["weights"].sum())}


def _run(folder: Path) -> None:
    run = Folder(folder / "run", {"seed": 0})
    checkpoint = run.claim()
    checkpoint.save("train", {"epoch": 1})
    network = toy.SPACE.architecture(toy.SPACE.uniform(0.5))
    run.write(network, b"model" * 5000, history={"a": 1}, metrics={"b": 2})


def _run_files(folder: Path) -> State:
    """All but the checkpoints, one of which may be the other's copy."""
    found = files(folder)
    return {name: found[name] for name in found if "checkpoint" not in name}


def _log(folder: Path) -> None:
    EventFile(folder / "log").add({"train/loss": 0.5}, step=1)


def _logged(folder: Path) -> State:
    written = b"".join(each.read_bytes() for each in folder.rglob("events*"))
    return {"loss": True} if b"train/loss\x15\x00\x00\x00?" in written else {}


_PLANNED = plan("kws_small", {"seed": [0, 1]}, ["board=stm32f446re", "data.path=words"])


def _plan(folder: Path) -> None:
    with leading(folder / "sweep", _PLANNED):
        pass


def _sweep(folder: Path) -> None:
    with leading(folder / "sweep", _PLANNED) as points:
        if "seed=0" in points.waiting():
            points.start("seed=0")
            points.end("seed=0", "done", state="done", reason="", metrics='{"a": 1}')


def _points(folder: Path) -> State:
    try:
        found = points_of(folder / "sweep")
    except DataError as error:
        return {} if "start it" in str(error) else {"damaged": str(error)}
    return {each.name: each.metrics or "to do" for each in found}


def _cache(folder: Path, key: str = "new", size: int = 9000) -> None:
    def build(notes: Notes) -> Iterator[np.ndarray]:
        for start in range(0, size, 4000):
            yield np.arange(start, min(start + 4000, size)).reshape(-1, 1)
        notes["of"] = key

    found = cached(folder / "x.bin", key, tail=(1,), dtype="<i4", build=build)
    assert found.notes == {"of": key}
    assert np.array_equal(found.array[:, 0], np.arange(size))


def _vectors(folder: Path) -> None:
    Cached(lambda texts: np.ones((len(texts), 300), "<f4"), "ones", folder / "v.sqlite")(["a", "b"])


def _kept(folder: Path) -> State:
    path = folder / "v.sqlite"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as kept:
        tables = kept.execute("select count(*) from sqlite_master where name = 'vectors'")
        rows = kept.execute("select count(*) from vectors") if tables.fetchone()[0] else [(0,)]
        (count,) = next(iter(rows))
    return {"vectors": count} if count else {}


def _corpus(folder: Path) -> None:
    def write(partial: Path) -> None:
        for word in ("yes", "no"):
            (partial / word).mkdir(parents=True)
            write_samples(partial / word / "a.wav", np.zeros(16000, np.int16))
        (partial / "README.txt").write_text("words")

    write_corpus(folder / "corpus", ("made.json", "{}"), write)


def _project(folder: Path) -> None:
    if not (folder / "project").exists():
        write_folder({"a.h": "int a;", "src/b.cc": b"int b;" * 3000}, folder / "project")


def _model(folder: Path) -> None:
    (folder / "net.tflite").write_bytes(to_flatbuffer(random_int8_graph(0, family="ds_cnn")))


def _command(text: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        sys.argv = ["micronas", *text.replace("HERE", str(folder)).split()]
        cli.main()

    return act


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("a first checkpoint", lambda f: _checkpoint(f, 1), state=_epoch, held=True),
        Scenario(
            "a checkpoint",
            lambda f: _checkpoint(f, 3),
            prepare=lambda f: _checkpoint(f, 1, 2),
            state=_epoch,
            held=True,
        ),
        Scenario("a run", _run, state=_run_files, last="run/metrics.json", held=True),
        Scenario("a log", _log, state=_logged),
        Scenario("a first sweep", _plan, state=_points, syncs=False),
        Scenario("a sweep", _sweep, prepare=_plan, state=_points, syncs=False),
        Scenario("a cache", _cache, prepare=lambda f: _cache(f, "old", 5000)),
        Scenario("vectors", _vectors, state=_kept, syncs=False),
        Scenario("a corpus", _corpus),
        Scenario("a project", _project),
        Scenario("arrays", lambda f: store.save(toy.data(), f / "data.npz")),
        Scenario(
            "an architecture",
            lambda f: toy.SPACE.architecture(toy.SPACE.uniform(0.5)).save(f / "a.yaml"),
        ),
        Scenario("a model", _command("export HERE/net.tflite --out HERE/b.tflite"), prepare=_model),
        Scenario(
            "a report",
            _command("report HERE/run --out HERE/page.html"),
            prepare=lambda f: by_hand(f / "run"),
        ),
    )
}
