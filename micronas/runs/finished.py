"""Read a run folder, for a report and for the commands that take one. Imports no torch.

Metrics are required. Any other part that is missing or damaged is left out, with the reason.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from micronas.errors import ConfigError, DataError, MicronasError
from micronas.files import regular
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.hardware.forms import FORMS
from micronas.runs.folder import (
    ARCHITECTURE,
    CHECKPOINT,
    CONFIG,
    DETECTOR,
    HISTORY,
    METRICS,
    MODEL,
    model_file,
)
from micronas.runs.stored import PARTS, Listening, Metrics
from micronas.settings import read_mapping, validate_settings
from micronas.space.load import model_bytes
from micronas.space.space import Space
from micronas.tflite.reader import read

Part = TypeVar("Part")
Stored = TypeVar("Stored", bound=BaseModel)


@dataclass(frozen=True)
class Own:
    """A run's own board, budget and kind; defaults for a file outside a run folder."""

    board: Board | None = None
    """Board at the time of the run, with the latency model in use; None where unknown."""
    gone: str | None = None
    """Reason why the named board cannot be read."""
    budget: Budget = field(default_factory=Budget)
    kind: str | None = None
    """Key of the board's latency models."""


def own(path: Path) -> Own:
    """Return a run folder's own board, budget and kind; defaults for a file.

    Raises ConfigError if the settings are damaged.
    """
    if not path.is_dir():
        return Own()
    parts = _parts(path / HISTORY, {})
    settings = read_mapping(path / CONFIG)[0] if (path / CONFIG).is_file() else {}
    budget = settings.get("budget", {})
    limits = validate_settings(budget, Budget, source=str(path / CONFIG))
    known = Own(budget=limits, kind=_kind(parts, settings))
    try:
        board = _board(parts, settings.get("board"), settings.get("latency_form"), settings)
    except ConfigError as error:
        return replace(known, gone=str(error))
    return replace(known, board=board)


def _board(
    parts: Mapping[str, Any], name: object, form: object, settings: Mapping[str, Any]
) -> Board | None:
    """Return the board in the history, or else the current one of a name."""
    if name is None or "board" in parts:
        return parts.get("board")
    form = form if form in FORMS else None  # an engine's latency model has no choice of form
    return Board.load(str(name)).using(form, engine=settings.get("engine"))


def _kind(parts: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    space = parts.get("space")
    return (space.task or space.name) if space else _task(settings) or None


def _task(settings: Mapping[str, Any]) -> str:
    return str(_data(settings).get("task", ""))


def _data(settings: Mapping[str, Any]) -> dict[str, Any]:
    data = settings.get("data")
    return data if isinstance(data, dict) else {}


@dataclass(frozen=True)
class RunFolder:
    """One run."""

    path: Path
    metrics: Metrics
    settings: dict[str, Any]
    """Settings as written in `config.yaml`; {} where it cannot be read."""
    parts: dict[str, Any]
    """Valid parts of `history.json`, by their key in `stored.PARTS`."""
    graph: Graph | None
    """Graph of `model.tflite`."""
    architecture: Space | None
    board: Board | None
    absent: dict[str, str] = field(default_factory=dict)
    """Reasons for missing parts, by file or by key in `stored.PARTS`."""

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def task(self) -> str:
        """Task of the data settings; empty without one."""
        return _task(self.settings)

    @property
    def data(self) -> str:
        """Name of the data: their path, or the hash of arrays, which each run keeps a copy of."""
        data = _data(self.settings)
        return str(data.get("sha256") or data.get("path") or "")

    @property
    def drawing(self) -> list[dict[str, Any]]:
        """Network block by block; [] where its structure is unknown."""
        if "network" in self.parts:
            return [block.model_dump() for block in self.parts["network"]]
        return [] if self.architecture is None else self.architecture.drawing(())

    @property
    def kind(self) -> str | None:
        """Key of the board's latency models."""
        return _kind(self.parts, self.settings)

    def texts(self) -> dict[str, str]:
        """Return the files needed to repeat the run."""
        return {
            name: text
            for name in (CONFIG, ARCHITECTURE)
            if (text := self._bytes(name).decode("utf-8", "replace"))
        }

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each existing file."""
        files = (CONFIG, ARCHITECTURE, MODEL, METRICS)
        contents = {name: self._bytes(name) for name in files}
        return {name: hashlib.sha256(data).hexdigest() for name, data in contents.items() if data}

    def _bytes(self, name: str) -> bytes:
        try:
            return regular(self.path / name).read_bytes()
        except OSError:
            return b""


def open_run(path: Path) -> RunFolder:
    """Read a run folder.

    Raises DataError if `metrics.json`, which a finished run has, is missing or invalid.
    """
    metrics = _valid(Metrics, path / METRICS, "run the same command again, which writes it anew")
    absent: dict[str, str] = {}

    def part(name: str, read_part: Callable[[], Part]) -> Part | None:
        try:
            return read_part()
        except MicronasError as error:
            absent[name] = _line(error)
            return None

    parts = _parts(path / HISTORY, absent)
    settings = part(CONFIG, lambda: read_mapping(path / CONFIG)[0]) or {}
    graph = part(MODEL, lambda: read(model_bytes(model_file(path)), unknown="keep"))
    architecture = part(ARCHITECTURE, lambda: _architecture(path / ARCHITECTURE))
    name, form = settings.get("board", metrics.board), metrics.latency_form
    board = part("board", lambda: _board(parts, name, form, settings))
    return RunFolder(path, metrics, settings, parts, graph, architecture, board, absent)


def listening(path: Path) -> Listening:
    """Read the detector that `micronas listen` chose for a run.

    Raises DataError if there is none, or the file is damaged.
    """
    if not (path / DETECTOR).exists():
        raise DataError(
            f"no recordings were listened to: micronas listen {path.name} RECORDINGS --labels "
            "events.csv --false-alarms 1 chooses thresholds on them"
        )
    return _valid(Listening, path / DETECTOR, "listen again")


def runs_in(path: Path) -> list[Path]:
    """Return the folder itself if it is a run, else the runs in it, at most two levels deep,
    unfinished ones included.

    Raises DataError if there is no finished run.
    """
    found: list[Path] = []
    try:
        if (path / METRICS).is_file():
            return [path]
        for level in ("*", "*/*"):
            files = (
                file for name in (METRICS, CHECKPOINT) for file in path.glob(f"{level}/{name}")
            )
            found += sorted({file.parent for file in files})
        is_finished = any((each / METRICS).is_file() for each in found)
    except OSError as error:
        raise DataError(f"a run folder must be readable: {error}; choose another") from error
    if not is_finished:
        raise DataError(
            f"a report needs finished runs, but {str(path)!r} neither is nor holds a folder with "
            f"{METRICS}; give the run folder that micronas search or train named, or finish the "
            "run with the same command"
        )
    return found


def _architecture(path: Path) -> Space:
    network = Space.load(path)
    network.graph()  # refuses open decisions
    return network


def _valid(model: type[Stored], path: Path, way: str) -> Stored:
    """Return the contents of a file; DataError, with the way out, where they are no such model."""
    try:
        return model.model_validate(_json(path))
    except ValidationError as error:
        raise DataError(
            f"{path.name} must be as micronas wrote it, but in {path} {_first(error)}; {way}"
        ) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(regular(path).read_bytes())
    except OSError as error:
        raise DataError(
            f"a report needs {path.name} of a finished run, but {path} cannot be read "
            f"({error.strerror}); finish the run with the same command"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path.name} of a run must be JSON, but {path} is damaged ({error}); run the same "
            "command again, which writes it anew"
        ) from error


def _parts(path: Path, absent: dict[str, str]) -> dict[str, Any]:
    """Read the valid parts of a history, and note the reasons for the others."""
    try:
        values = _json(path)
    except DataError as error:
        absent.update(dict.fromkeys(PARTS, _line(error)))
        return {}
    found: dict[str, Any] = {}
    for key, kind in PARTS.items():
        if not isinstance(values, dict) or key not in values:
            absent[key] = f"{HISTORY} has no {key!r}"
            continue
        try:
            found[key] = kind.validate_python(values[key])
        except ValidationError as error:
            absent[key] = f"{HISTORY} is damaged: in {key!r} {_first(error)}"
    return found


def _first(error: ValidationError) -> str:
    """Return the first complaint, without the value, which may be large."""
    item = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, item["loc"])) or "the whole"
    return f"{place!r}: {item['msg']}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
