"""Save state so that it survives `kill -9`: named sections of one file, replaced atomically."""

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
"""Stands behind the sections, before the digest of all that precedes it."""
_PREVIOUS = ".previous"
"""Behind the name of the state before the last."""
_PAUSE, _SHARE = 1.0, 0.05
"""Seconds between files that may wait, at least, and the most of all time that writing takes."""
_log = logging.getLogger("micronas")


class Checkpoint:
    """Sections of saved state (tensors, numbers, strings, lists and dicts of them).

    The file carries a checksum, and the one before it is kept: where a disk or a transfer has
    damaged the last, work goes on from there, with a warning.

    Parameters
    ----------
    path
        The file; None keeps the sections in memory only.
    yields
        Whether another process may hold the file: while one does, this object writes nothing.

    Raises
    ------
    ConfigError
        If another process holds the file, unless `yields`.
    ModelError
        If the file is damaged and so is the one before, or there is none.
    OSError
        If its folder cannot be written, unless `yields`.
    """

    def __init__(self, path: Path | None = None, *, yields: bool = False) -> None:
        self._path = path
        self._yields = yields
        self._hold = None if path is None or yields else hold(path)
        self._sections: dict[str, State] = {}
        self._is_sound = True
        """Whether the file that is there may take the place of the one before it."""
        self._next = 0.0
        """When `save_soon` may write again, by the monotonic clock."""
        if path is None:
            return
        try:
            self._sections = _read(path)
        except FileNotFoundError:
            self._sections = _read_if_there(_previous(path))
        except ModelError:
            self._sections = _read_if_there(_previous(path))
            if not self._sections:
                raise
            self._is_sound = False
            _log.warning("%s is damaged: going on from the state before it", path)

    def load(self, section: str) -> State | None:
        """Return what was last saved under this name, or None."""
        return self._sections.get(section)

    def discard(self, sections: Iterable[str]) -> None:
        """Forget sections, where they are there; the next `save` drops them on disk."""
        for name in sections:
            self._sections.pop(name, None)

    def note(self, section: str, state: State) -> None:
        """Replace a section; the next `save` writes it."""
        self._sections[section] = state

    def save_soon(self, section: str, state: State) -> None:
        """Replace a section, and write the file unless that was done a moment ago.

        For steps of a training that ends with `save`: with many sections in the file, writing all
        of them after every step would take longer than the steps.
        """
        if time.monotonic() < self._next:
            self.note(section, state)
        else:
            self.save(section, state)

    def save(self, section: str, state: State) -> None:
        """Replace a section and write the file."""
        self._sections[section] = state
        began = time.monotonic()
        self._write(section)
        self._wait(time.monotonic() - began)

    def _wait(self, took: float = 0.0) -> None:
        """Let `save_soon` write nothing for a while."""
        self._next = time.monotonic() + max(_PAUSE, took / _SHARE)

    def _write(self, section: str) -> None:
        """Put on disk what has changed: a section at least."""
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
        if not seal:  # of the first edition, or not ours
            content = digest
        elif digest.decode() != hashlib.sha256(content).hexdigest():
            raise ValueError("its checksum is another")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's thoughts on files of others
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(found, dict) or not all(
            isinstance(each, dict) for each in found.values()
        ):
            raise TypeError("it holds something else")
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ModelError(
            f"a checkpoint must be a file micronas wrote, but {path} cannot be read "
            f"({type(error).__name__}); delete it to start over"
        ) from error
    return found
