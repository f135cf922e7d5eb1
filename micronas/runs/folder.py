"""A run folder as a report reads it. Imports no torch.

Metrics must be there and sound. Of everything else a part that is missing or damaged is left out,
with the reason, so that an old run still has a report.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from micronas.errors import DataError, MicronasError
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.runs.stored import PARTS, Metrics
from micronas.settings import read_mapping
from micronas.space.load import model_bytes
from micronas.space.space import Space
from micronas.tflite.reader import read

_FILES = ("config.yaml", "architecture.yaml", "model.tflite", "metrics.json")


@dataclass(frozen=True)
class RunFolder:
    """One run."""

    path: Path
    metrics: Metrics
    settings: dict[str, Any]
    """Of `config.yaml`, as they stand there; {} where it cannot be read."""
    parts: dict[str, Any]
    """Parts of `history.json` that are there and sound, by their key in `stored.PARTS`."""
    graph: Graph | None
    """Of `model.tflite`."""
    architecture: Space | None
    board: Board | None
    absent: dict[str, str] = field(default_factory=dict)
    """Why something is not there, by its file or by its key in `stored.PARTS`."""

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def task(self) -> str:
        """The task of its data settings; empty where they do not say."""
        data = self.settings.get("data")
        return str(data.get("task", "")) if isinstance(data, dict) else ""

    @property
    def drawing(self) -> list[dict[str, Any]]:
        """The network block by block; [] where nothing says how it is built."""
        if "network" in self.parts:
            return [block.model_dump() for block in self.parts["network"]]
        return [] if self.architecture is None else self.architecture.drawing(())

    @property
    def kind(self) -> str | None:
        """What the board's latency models are looked up by."""
        space = self.parts.get("space")
        return (space.task or space.name) if space else self.task or None

    def texts(self) -> dict[str, str]:
        """The files one would read to repeat the run."""
        return {
            name: text
            for name in ("config.yaml", "architecture.yaml")
            if (text := self._bytes(name).decode("utf-8", "replace"))
        }

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file that is there."""
        contents = {name: self._bytes(name) for name in _FILES}
        return {name: hashlib.sha256(data).hexdigest() for name, data in contents.items() if data}

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return b""


def open_run(path: Path) -> RunFolder:
    """Read a run folder.

    Raises
    ------
    DataError
        If it has no sound `metrics.json`, which a finished run has.
    """
    metrics = _metrics(path / "metrics.json")
    absent: dict[str, str] = {}
    parts = _parts(path / "history.json", absent)
    settings: dict[str, Any] = {}
    graph = architecture = None
    board = parts.get("board")
    try:
        settings, _ = read_mapping(path / "config.yaml")
    except MicronasError as error:
        absent["config.yaml"] = _line(error)
    try:
        graph = read(model_bytes(path), unknown="keep")
    except MicronasError as error:
        absent["model.tflite"] = _line(error)
    try:
        architecture = Space.load(path / "architecture.yaml")
    except MicronasError as error:
        absent["architecture.yaml"] = _line(error)
    if board is None:
        try:
            shipped = Board.load(str(settings.get("board", metrics.board)))
            board = shipped.using(metrics.latency_form)  # type: ignore[arg-type]
        except MicronasError as error:
            absent["board"] = _line(error)
    return RunFolder(path, metrics, settings, parts, graph, architecture, board, absent)


def runs_in(path: Path) -> list[Path]:
    """Return the folder itself if it is a run, or else the runs in it, two levels deep at most.

    Raises
    ------
    DataError
        If there is none.
    """
    found: list[Path] = []
    try:
        if (path / "metrics.json").is_file():
            return [path]
        for pattern in ("*/metrics.json", "*/*/metrics.json"):
            found += sorted(file.parent for file in path.glob(pattern))
    except OSError as error:
        raise DataError(f"a run folder must be readable: {error}; choose another") from error
    if not found:
        raise DataError(
            f"a report needs finished runs, but {str(path)!r} neither is nor holds a folder with "
            "metrics.json; give the run folder that micronas search or train named, or finish the "
            "run with the same command"
        )
    return found


def _metrics(path: Path) -> Metrics:
    values = _json(path)
    try:
        return Metrics.model_validate(values)
    except ValidationError as error:
        raise DataError(
            f"a run's metrics must be those micronas wrote, but in {path} {_first(error)}; run "
            "the same command again, which writes them anew"
        ) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"a report needs {path.name} of a finished run: {error}; finish the run with the same "
            "command"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path.name} of a run must be JSON, but {path} is damaged ({error}); run the same "
            "command again, which writes it anew"
        ) from error


def _parts(path: Path, absent: dict[str, str]) -> dict[str, Any]:
    """Read the parts of a history that are sound, and note why the others are not there."""
    try:
        values = _json(path)
    except DataError as error:
        if path.exists():
            reason = _line(error)
        else:
            reason = "the run has no history.json: it is from before there was one"
        absent.update(dict.fromkeys(PARTS, reason))
        return {}
    found: dict[str, Any] = {}
    for key, kind in PARTS.items():
        if not isinstance(values, dict) or key not in values:
            absent[key] = f"history.json has no {key!r}"
            continue
        try:
            found[key] = kind.validate_python(values[key])
        except ValidationError as error:
            absent[key] = f"history.json is damaged: in {key!r} {_first(error)}"
    return found


def _first(error: ValidationError) -> str:
    """The first complaint, without what the value was: it may be large."""
    item = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, item["loc"])) or "the whole"
    return f"{place!r}: {item['msg']}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
