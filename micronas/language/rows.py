"""Files of rows: JSON lines and CSV, read with errors that name file and line."""

import csv
import errno
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.files import largest_unpacked, regular
from micronas.language.answers import whole_characters


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as JSON lines; the same rows give the same bytes."""
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    return "".join(line + "\n" for line in lines).encode("utf-8")


def read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read a file of rows as pairs of line number and row: CSV by its name, else JSON lines.

    Both may be gzipped (``.gz``); blank lines are skipped.

    Raises DataError if the file cannot be read, takes far more memory than its size, or a line is
    no row; names file and line.
    """
    try:
        data = regular(path).read_bytes()
        if path.suffix == ".gz":
            most = largest_unpacked(len(data))
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(most + 1)
            if len(data) > most:
                raise OSError(errno.EFBIG, f"it unpacks to more than {most:,} bytes", str(path))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"rows must stand in a readable file: {path} is none ({reason}); correct the path, or "
            "copy the file again"
        ) from error
    if path.name.removesuffix(".gz").endswith(".csv"):
        return list(_csv_rows(data, path))
    return parse_rows(data.removeprefix(b"\xef\xbb\xbf"), path)


def parse_rows(data: bytes, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Parse the bytes of a JSON-lines file; errors name `path`.

    Halves of a character, such as tools write that cut an emoji in two, become U+FFFD.
    """
    rows = []
    # only line feeds end a line: JSON strings may hold U+2028 and other separators
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if b"\\u" in line or b"\xed" in line:
                row = json.loads(whole_characters(json.dumps(row, ensure_ascii=False)))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: a line must be one JSON object in UTF-8: {error}"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a line must be a JSON object, but got {row!r:.60}")
        rows.append((number, row))
    return rows


def _csv_rows(data: bytes, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: a CSV file must be UTF-8: {error.reason}") from error
    # a prompt may be longer than the module's default limit of a field
    csv.field_size_limit(2**24)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    header: list[str] | None = None
    try:
        for cells in reader:
            if header is None:
                header = cells
                if len(set(header)) != len(header):
                    raise DataError(f"{path}:1: columns must have different names: {header}")
            elif cells:
                if len(cells) != len(header):
                    raise DataError(
                        f"{path}:{start}: a row must have {len(header)} cells as the header, "
                        f"separated by commas, but has {len(cells)}"
                    )
                yield start, dict(zip(header, cells, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{start}: a row must be valid CSV: {error}") from error
