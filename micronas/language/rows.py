"""JSON lines: written in one form, read with errors that name file and line."""

import errno
import gzip
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.files import largest_unpacked, regular


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
        data = regular(path).read_bytes()
    except OSError as error:
        raise DataError(f"a file of prompts must be readable: {error}") from error
    return parse_rows(data, path)


def read_unpacked(path: Path) -> bytes:
    """Return a file's bytes, unpacked where its name ends in .gz.

    Raises
    ------
    OSError
        If it cannot be read, or takes far more memory than the file.
    """
    data = regular(path).read_bytes()
    if path.suffix != ".gz":
        return data
    most = largest_unpacked(len(data))
    with gzip.open(io.BytesIO(data)) as file:
        unpacked = file.read(most + 1)
    if len(unpacked) > most:
        raise OSError(errno.EFBIG, f"it unpacks to more than {most:,} bytes", str(path))
    return unpacked


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
