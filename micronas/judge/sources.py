"""Reading prompts from JSON lines and CSV; every error names file and line."""

import csv
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.judge.recipe import Source
from micronas.language.rows import parse_rows, read_unpacked
from micronas.settings import nearest


@dataclass(frozen=True)
class Record:
    """A prompt on its way into an evaluation set."""

    id: str
    text: str
    source: str
    line: int
    licence: str
    language: str = ""
    """Empty until it is known."""
    category: str = ""
    """Empty until it is known."""
    origin: str = ""
    """Where the category comes from: seed, hand, language, knn or general."""


def read_source(source: Source, folder: Path, categories: Iterable[str]) -> list[Record]:
    """Read every prompt of a source, in order; nothing is left out.

    Parameters
    ----------
    folder
        What the source's path is relative to.
    categories
        The names a category field may hold.

    Raises
    ------
    DataError
        If the file cannot be read, a line is no object, or a field is missing or no text.
    """
    path = folder / source.path
    known = set(categories)
    records: dict[str, Record] = {}
    for line, row in rows_of(path):
        place = f"{path}:{line}"
        key = text_at(row, source.id, place) if source.id else str(line)
        record = Record(
            id=f"{source.title}-{key}",
            text=text_at(row, source.text, place),
            source=source.title,
            line=line,
            licence=source.licence or text_at(row, source.licence_field or "", place),
            language=_language(text_at(row, source.language, place)) if source.language else "",
            category=_category(row, source, known, place),
        )
        if not key.strip() or not key.isprintable():
            raise DataError(f"{place}: an id must be printable text, but got {key!r:.60}")
        if record.id in records:
            raise DataError(
                f"{place}: an id must be unique, but {key!r} stands in line "
                f"{records[record.id].line} too; name another field as id, or none"
            )
        records[record.id] = record
    if not records:
        raise DataError(f"{path} must hold at least one prompt, but is empty")
    return list(records.values())


def _language(code: str) -> str:
    """Return ``en`` of ``en_US``; categories know languages, not countries."""
    return code.strip().lower().replace("_", "-").split("-")[0]


def _category(row: dict[str, Any], source: Source, known: set[str], place: str) -> str:
    if source.category is None:
        return ""
    value = text_at(row, source.category, place).strip()
    if source.category_names is not None:
        return source.category_names.get(value, "")
    if value and value not in known:
        raise DataError(
            f"{place}: unknown category {value!r}; {nearest(value, known)} "
            "Or translate it with category_names"
        )
    return value


def text_at(row: dict[str, Any], field: str, place: str) -> str:
    """Return the text at ``a.0.b``; a number is its decimal text."""
    value: Any = row
    for part in [field] if field in row else field.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise DataError(
                f"{place}: field {field!r} is missing; the line has {', '.join(map(str, row))}"
            )
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{place}: field {field!r} must be text, but got {value!r:.60}")
    return value


def rows_of(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    """Read JSON lines or CSV, gzipped or not, as pairs of line number and row."""
    try:
        data = read_unpacked(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"a source must be a readable file: {path}: {error}") from error
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "csv":
        return _csv_rows(data, path)
    if kind in ("jsonl", "ndjson"):
        return parse_rows(data.removeprefix(b"\xef\xbb\xbf"), path)
    raise DataError(
        f"a source must be .jsonl, .ndjson or .csv, with or without .gz, but got {path}"
    )


def _csv_rows(data: bytes, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: a CSV file must be UTF-8: {error.reason}") from error
    # a prompt may be longer than what the module allows a field by default
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
                        f"but has {len(cells)}"
                    )
                yield start, dict(zip(header, cells, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{start}: a row must be valid CSV: {error}") from error
