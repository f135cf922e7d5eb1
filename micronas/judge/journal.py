"""Answers that were paid for, on disk before the store has them.

A store can be full, locked or damaged when an answer comes. The journal is a file beside it that
is appended to, one line of JSON an answer, in space that was taken before the request left.
"""

import json
import os
from pathlib import Path

from micronas.judge.endpoint import Reply

_ANSWER = 2**16
"""Bytes taken for each answer that is awaited; longer ones may find no room on a full disk."""

_TRIES = 4
"""Times that a write is tried."""


class Journal:
    """The journal of one store; its file is made with the first request.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._end = self._awaited = 0

    def read(self) -> dict[str, Reply]:
        """Return the answers by the key of their request; a line that was cut holds none."""
        found: dict[str, Reply] = {}
        for line in self._written().split(b"\n"):
            try:
                key, *reply = json.loads(line)
                found[str(key)] = Reply(*reply)
            except (ValueError, TypeError):
                continue
        return found

    def reserve(self) -> None:
        """Take space for an answer; `add` or `release` gives it back."""
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            # after what an earlier run left, on a line of its own
            self._end = len(self._written())
            self._append(b"\n" if self._end else b"")
        os.posix_fallocate(self._file, 0, self._end + (self._awaited + 1) * _ANSWER)
        self._awaited += 1

    def release(self) -> None:
        """Give back the space of an answer that does not come."""
        self._awaited -= 1

    def add(self, key: str, reply: Reply) -> None:
        """Put an answer on disk."""
        self.release()
        row = [key, reply.text, reply.prompt_tokens, reply.completion_tokens, reply.usd]
        self._append(json.dumps(row).encode("ascii") + b"\n")

    def close(self, *, remove: bool) -> None:
        """Let go of the file; `remove` it where the store has all its answers."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if remove:
            self._path.unlink(missing_ok=True)

    def _written(self) -> bytes:
        return self._path.read_bytes().rstrip(b"\0") if self._path.exists() else b""

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        left = _TRIES
        while data:
            try:
                written = os.pwrite(self._file, data, self._end)
            except OSError:
                # nowhere else is the answer kept: an error that passes must not lose it
                left -= 1
                if not left:
                    raise
                continue
            self._end, data = self._end + written, data[written:]
