"""The run folder: the names of its files, and writing it; `micronas.runs.finished` reads it.

This is the only home of file names in a run folder. Imports no torch.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from micronas.errors import ConfigError, MicronasError
from micronas.files import is_passing, regular, remove_leftovers, text_hash, write_atomically
from micronas.settings import read_mapping
from micronas.space.searchable import Architecture

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
_ELSEWHERE = "choose another --out (folder= in Python)"


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
                    f"{_ELSEWHERE}"
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
            known = _without_place(values)
            keys = {**self._identity, **known}
            differing = [key for key in keys if known.get(key) != self._identity.get(key)]
            if differing:
                raise self._foreign(f"that differs in {', '.join(differing)}")

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
                f"config back, {_ELSEWHERE}, or delete the folder"
            )
        for name, content in named.items():
            if (stored or named).get(name, content) != content:
                raise self._foreign(f"of another {name}, or of an earlier form of it")
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

    def _foreign(self, other: str = "of other settings") -> ConfigError:
        return ConfigError(
            f"a run folder must belong to one run, but {self._folder} holds a run {other}; "
            f"{_ELSEWHERE}, or delete the folder"
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
        return ConfigError(f"a run folder must be writable: {error}; {_ELSEWHERE}")


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


def own_module(path: Path) -> str | None:
    """Return the class of the user's module that a run narrowed, which no file builds, if any."""
    try:
        described, _ = read_mapping(path / ARCHITECTURE)
    except MicronasError:
        return None
    return str(described.get("module")) if "widths" in described else None
