"""Save state that survives `kill -9`: named sections of one file, replaced atomically."""

import hashlib
import io
import logging
import os
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from micronas.errors import ConfigError, ModelError
from micronas.files import hold, regular, write_atomically

State = dict[str, Any]
_SEAL = b"\nmicronas sha256 "
"""Mark after the sections, before their digest."""
_PREVIOUS = ".previous"
"""Suffix of the file with the state before the last."""
_PAUSE, _SHARE = 1.0, 0.05
"""Least seconds between writes of `save_soon`, and the largest share of time for writing."""
_log = logging.getLogger("micronas")


class Checkpoint:
    """Sections of saved state (tensors, numbers, strings, lists and dicts of them).

    The file has a checksum, and the one before it is kept: where a disk or a transfer has damaged
    the last, work continues from the one before, with a warning.

    Parameters
    ----------
    path
        File of the sections; None keeps them in memory only.
    yields
        Let another process hold the file; while one does, this object writes nothing.

    Raises
    ------
    ConfigError
        If another process holds the file, unless `yields`.
    ModelError
        If the file is damaged, and the one before is damaged or missing.
    OSError
        If its folder cannot be written, unless `yields`.
    """

    def __init__(self, path: Path | None = None, *, yields: bool = False) -> None:
        self._path = path
        self._yields = yields
        self._hold = None if path is None or yields else hold(path)
        self._sections: dict[str, State] = {}
        self._is_sound = True
        """The existing file is undamaged and may replace the one before it."""
        self._next = 0.0
        """Time by the monotonic clock when `save_soon` may write again."""
        if path is None:
            return
        try:
            self._sections = _read(path)
        except FileNotFoundError:
            self._sections = _read_if_there(_previous(path))
        except ModelError:
            try:
                self._sections = _read_if_there(_previous(path))
            except ModelError as error:
                raise ModelError(
                    f"a checkpoint must be a file micronas wrote, but neither {path} nor "
                    f"{_previous(path)} can be read; delete both to start over"
                ) from error
            if not self._sections:
                raise
            self._is_sound = False
            _log.warning("%s is damaged: going on from the state before it", path)

    def load(self, section: str) -> State | None:
        """Return the section last saved under this name, or None."""
        return self._sections.get(section)

    def discard(self, sections: Iterable[str]) -> None:
        """Remove sections that exist; the next `save` removes them on disk."""
        for name in sections:
            self._sections.pop(name, None)

    def note(self, section: str, state: State) -> None:
        """Replace a section; the next `save` writes it."""
        self._sections[section] = state

    def save_soon(self, section: str, state: State) -> None:
        """Replace a section, and write the file unless it was written a moment ago.

        It is for steps of a training that ends with `save`: writing a file of many sections after
        every step would take longer than the steps.
        """
        if self.due:
            self.save(section, state)
        else:
            self.note(section, state)

    @property
    def due(self) -> bool:
        """Return whether `save_soon` would write; if not, a large state need not be copied."""
        return time.monotonic() >= self._next

    def save(self, section: str, state: State) -> None:
        """Replace a section and write the file."""
        self._sections[section] = state
        began = time.monotonic()
        self._write(section)
        self._wait(time.monotonic() - began)

    def _wait(self, took: float = 0.0) -> None:
        """Delay the next write of `save_soon`."""
        self._next = time.monotonic() + max(_PAUSE, took / _SHARE)

    def _write(self, section: str) -> None:
        """Write the file if this process holds it."""
        if self._path is None or not self._holds(self._path):
            return
        buffer = io.BytesIO()
        torch.save(self._sections, buffer)
        content = buffer.getvalue()
        if self._is_sound and self._path.exists():
            _keep(self._path)
        write_atomically(self._path, content + _SEAL + hashlib.sha256(content).hexdigest().encode())
        self._is_sound = True

    def _holds(self, path: Path) -> bool:
        if self._hold is None:
            try:
                self._hold = hold(path)
            except ConfigError:
                if not self._yields:
                    raise
        return self._hold is not None


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}{_PREVIOUS}")


def _keep(path: Path) -> None:
    previous = _previous(path)
    try:
        previous.unlink(missing_ok=True)
        os.link(path, previous)
    except OSError:  # a file system without links
        os.replace(path, previous)


def _read_if_there(path: Path) -> dict[str, State]:
    try:
        return _read(path)
    except FileNotFoundError:
        return {}


def _read(path: Path) -> dict[str, State]:
    try:
        content, seal, digest = regular(path).read_bytes().rpartition(_SEAL)
        if not seal or digest.decode() != hashlib.sha256(content).hexdigest():
            raise ValueError("its checksum is another")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about untrusted files
            found: dict[str, State] = torch.load(
                io.BytesIO(content), map_location="cpu", weights_only=True
            )
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ModelError(
            f"a checkpoint must be a file micronas wrote, but {path} cannot be read "
            f"({type(error).__name__}); delete it to start over"
        ) from error
    return found
