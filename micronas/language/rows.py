"""JSON lines: written in one form, read with errors that name file and line."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from micronas.errors import DataError


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as JSON lines; the same rows give the same bytes."""
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    return "".join(line + "\n" for line in lines).encode("utf-8")


def read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read a JSON-lines file as (line number, object) pairs; blank lines are passed over.

    Raises
    ------
    DataError
        If the file cannot be read or a line is no JSON object; names file and line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"a file of prompts must be readable: {error}") from error
    return parse_rows(data, path)


def parse_rows(data: bytes, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Parse the bytes of a JSON-lines file; `path` is only named in errors."""
    rows = []
    # only line feeds end a line: JSON strings may hold U+2028 and other separators
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: a line must be one JSON object in UTF-8: {error}"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a line must be a JSON object, but got {row!r:.60}")
        rows.append((number, row))
    return rows
