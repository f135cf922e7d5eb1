"""The run folder: the names of its files, writing it, and reading it for a report.

This is the only home of file names in a run folder. Imports no torch.

Metrics are required. Any other part that is missing or damaged is left out, with the reason.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from micronas.errors import ConfigError, DataError, MicronasError
from micronas.files import is_passing, regular, remove_leftovers, text_hash, write_atomically
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.hardware.forms import FORMS
from micronas.runs.stored import PARTS, Listening, Metrics
from micronas.settings import read_mapping, validate_settings
from micronas.space.load import model_bytes
from micronas.space.searchable import Architecture
from micronas.space.space import Space
from micronas.tflite.reader import read

if TYPE_CHECKING:
    from micronas.checkpoint import Checkpoint

CONFIG = "config.yaml"
"""Settings of the run."""
ARCHITECTURE = "architecture.yaml"
CHECKPOINT = "checkpoint.pt"
"""State after each step, from which a killed run resumes."""
MODEL = "model.tflite"
METRICS = "metrics.json"
"""Metrics, written last: they mark a finished run."""
HISTORY = "history.json"
"""History for reports, beside the metrics."""
REPORT = "report.html"
DETECTOR = "detector.json"
"""Detector chosen on recordings by `micronas listen`."""
_SETTINGS = "settings"
"""Section of the checkpoint with the hash of its settings."""
LOG = "log"
"""Folder of TensorBoard's events."""


class Folder:
    """A run folder for one set of settings."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Check the folder; nothing is written before `claim`."""
        self._folder = folder
        self._config = folder / CONFIG
        self._text = yaml.safe_dump(settings, sort_keys=False).encode()
        self._identity = _without_place(settings)
        self._doubt: str | None = None
        """Reason why the config does not identify the run; the checkpoint may."""
        self._examine()

    def _examine(self) -> None:
        folder = self._folder
        try:
            if self._config.exists():
                self._check(regular(self._config).read_bytes())
            elif (folder / CHECKPOINT).exists():
                self._doubt = f"has no {CONFIG}"
            elif folder.exists() and not all(is_passing(each) for each in folder.iterdir()):
                raise ConfigError(
                    f"a run folder must be new or hold a run, but {folder} holds other files; "
                    "choose another --out"
                )
        except OSError as error:
            raise self._unusable(error) from error

    def _check(self, stored: bytes) -> None:
        if stored == self._text:
            return
        if self._text.startswith(stored):
            self._doubt = f"has a {CONFIG} that is cut short"
            return
        try:
            values, _ = read_mapping(self._config)
        except ConfigError as error:
            self._doubt = f"has a damaged {CONFIG} ({error})"
        else:
            if _without_place(values) != self._identity:
                raise self._foreign()

    def claim(self, named: Mapping[str, str] = MappingProxyType({})) -> "Checkpoint":
        """Lock the folder, write the settings and return the state of an earlier attempt.

        The lock lasts as long as the checkpoint object.

        Parameters
        ----------
        named
            Hashes of what the settings only name: ``space``, ``board``.
        """
        from micronas.checkpoint import Checkpoint

        digest = text_hash(yaml.safe_dump(self._identity, sort_keys=False))
        try:
            checkpoint = Checkpoint(self._folder / CHECKPOINT)
        except OSError as error:
            raise self._unusable(error) from error
        self._examine()  # another process may have written it a moment ago
        stored = checkpoint.load(_SETTINGS)
        if stored is not None and stored["sha256"] != digest:
            raise self._foreign()
        if stored is None and self._doubt and self._holds_more():
            raise ConfigError(
                f"a run folder must say whose it is, but {self._folder} {self._doubt}; put the "
                "config back, choose another --out, or delete the folder"
            )
        for name, content in named.items():
            if (stored or named).get(name, content) != content:
                raise self._foreign(f"another {name}, or of an earlier form of it")
        checkpoint.note(_SETTINGS, {"sha256": digest, **named})
        try:
            for name in (CONFIG, ARCHITECTURE, MODEL, HISTORY, METRICS):
                remove_leftovers(self._folder / name)
            write_atomically(self._config, self._text)
        except OSError as error:
            raise self._unusable(error) from error
        return checkpoint

    def _holds_more(self) -> bool:
        """Return whether there are files that a run of other settings could have left."""
        return any((self._folder / name).exists() for name in (CHECKPOINT, MODEL, METRICS))

    def _foreign(self, other: str = "other settings") -> ConfigError:
        return ConfigError(
            f"a run folder must belong to one run, but {self._folder} holds a run of {other}; "
            "choose another --out, or delete the folder"
        )

    def write(
        self,
        architecture: Architecture,
        model: bytes,
        *,
        history: Mapping[str, Any],
        metrics: Mapping[str, Any],
    ) -> None:
        """Write the results of a finished run, the metrics last, which mark it as finished."""
        write_atomically(self._folder / ARCHITECTURE, architecture.text().encode())
        write_atomically(self._folder / MODEL, model)
        text = json.dumps(history, separators=(",", ":")) + "\n"
        write_atomically(self._folder / HISTORY, text.encode())
        text = json.dumps(metrics, indent=2) + "\n"
        write_atomically(self._folder / METRICS, text.encode())

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(f"a run folder must be writable: {error}; choose another --out")


def _without_place(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the path of the run's own arrays, whose hash tells them apart: a
    folder may be moved, or named in another way."""
    data = settings.get("data")
    if not isinstance(data, Mapping) or data.get("sha256") is None:
        return dict(settings)
    return {**settings, "data": {**data, "path": None}}


def model_file(path: Path) -> Path:
    """Return the .tflite of a run folder, or the path itself if it is no folder."""
    return path / MODEL if path.is_dir() else path


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

    Raises
    ------
    ConfigError
        If the settings are damaged.
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

    Raises
    ------
    DataError
        If `metrics.json`, which a finished run has, is missing or invalid.
    """
    metrics = _metrics(path / METRICS)
    absent: dict[str, str] = {}
    parts = _parts(path / HISTORY, absent)
    settings: dict[str, Any] = {}
    graph = architecture = None
    board = None
    try:
        settings, _ = read_mapping(path / CONFIG)
    except MicronasError as error:
        absent[CONFIG] = _line(error)
    try:
        graph = read(model_bytes(model_file(path)), unknown="keep")
    except MicronasError as error:
        absent[MODEL] = _line(error)
    try:
        architecture = Space.load(path / ARCHITECTURE)
    except MicronasError as error:
        absent[ARCHITECTURE] = _line(error)
    try:
        board = _board(parts, settings.get("board", metrics.board), metrics.latency_form, settings)
    except MicronasError as error:
        absent["board"] = _line(error)
    return RunFolder(path, metrics, settings, parts, graph, architecture, board, absent)


def own_module(path: Path) -> str | None:
    """Return the class of the user's module that a run narrowed, which no file builds, if any."""
    try:
        described, _ = read_mapping(path / ARCHITECTURE)
    except MicronasError:
        return None
    return str(described.get("module")) if "widths" in described else None


def listening(path: Path) -> Listening:
    """Read the detector that `micronas listen` chose for a run.

    Raises
    ------
    DataError
        If there is none, or the file is damaged.
    """
    if not (path / DETECTOR).exists():
        raise DataError(
            f"no recordings were listened to: micronas listen {path.name} RECORDINGS --labels "
            "events.csv --false-alarms 1 chooses thresholds on them"
        )
    try:
        return Listening.model_validate(_json(path / DETECTOR))
    except ValidationError as error:
        raise DataError(
            f"{DETECTOR} must be as micronas wrote it, but in {path / DETECTOR} {_first(error)}; "
            "listen again"
        ) from error


def runs_in(path: Path) -> list[Path]:
    """Return the folder itself if it is a run, else the runs in it, at most two levels deep,
    unfinished ones included.

    Raises
    ------
    DataError
        If there is no finished run.
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
        return json.loads(regular(path).read_bytes())
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
