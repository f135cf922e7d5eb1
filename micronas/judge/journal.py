"""A journal of paid answers, on disk before the store has them.

A store can be full, locked or damaged when an answer arrives. The journal is a file beside it, with
one line of JSON per answer, appended in space that is reserved before the request is sent.
"""

import json
import os
from pathlib import Path

from micronas.judge.endpoint import Reply

_ANSWER = 2**16
"""Bytes reserved for each awaited answer; longer ones may not fit on a full disk."""

_TRIES = 4
"""Number of tries of a write."""


class Journal:
    """The journal of one store; its file is made with the first request."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._end = self._awaited = 0

    def read(self) -> dict[str, Reply]:
        """Return the answers by the key of their request; cut lines are skipped."""
        found: dict[str, Reply] = {}
        for line in self._written().split(b"\n"):
            try:
                key, *reply = json.loads(line)
                found[str(key)] = Reply(*reply)
            except (ValueError, TypeError):
                continue
        return found

    def reserve(self) -> None:
        """Reserve space for an answer; `add` or `release` frees it."""
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            # on a new line after the contents of an earlier run
            self._end = len(self._written())
            self._append(b"\n" if self._end else b"")
        os.posix_fallocate(self._file, 0, self._end + (self._awaited + 1) * _ANSWER)
        self._awaited += 1

    def release(self) -> None:
        """Free the space of an answer that does not come."""
        self._awaited -= 1

    def add(self, key: str, reply: Reply) -> None:
        """Write an answer to disk."""
        self.release()
        row = [key, reply.text, reply.prompt_tokens, reply.completion_tokens, reply.usd]
        self._append(json.dumps(row).encode("ascii") + b"\n")

    def close(self, *, remove: bool) -> None:
        """Close the file; `remove` it where the store has all its answers."""
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
                # this is the only copy of the answer: a passing error must not lose it
                left -= 1
                if not left:
                    raise
                continue
            self._end, data = self._end + written, data[written:]
