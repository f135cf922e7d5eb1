"""Save state so that it survives `kill -9`: named sections of one file, replaced atomically."""

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from micronas.errors import ModelError
from micronas.files import write_atomically

State = dict[str, Any]


class Checkpoint:
    """Sections of saved state (tensors, numbers, strings, lists and dicts of them).

    Parameters
    ----------
    path
        The file; None keeps the sections in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._sections: dict[str, State] = {}
        if path is not None and path.exists():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # torch's thoughts on files of others
                    self._sections = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:
                raise ModelError(
                    f"a checkpoint must be a file micronas wrote, but {path} cannot be read "
                    f"({type(error).__name__}); delete it to start over"
                ) from error

    def load(self, section: str) -> State | None:
        """Return what was last saved under this name, or None."""
        return self._sections.get(section)

    def discard(self, prefix: str) -> None:
        """Forget the sections whose names start like this; the next `save` drops them on disk."""
        for name in [name for name in self._sections if name.startswith(prefix)]:
            del self._sections[name]

    def save(self, section: str, state: State) -> None:
        """Replace a section and write the file."""
        self._sections[section] = state
        if self._path is not None:
            buffer = io.BytesIO()
            torch.save(self._sections, buffer)
            write_atomically(self._path, buffer.getvalue())
