"""Read prompts from JSON lines and CSV; every error names file and line."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.judge.recipe import Source
from micronas.language.rows import read_rows
from micronas.settings import nearest


@dataclass(frozen=True)
class Record:
    """A prompt during the build of an evaluation set."""

    id: str
    text: str
    source: str
    line: int
    licence: str
    language: str = ""
    """Empty while unknown."""
    category: str = ""
    """Empty while unknown."""
    origin: str = ""
    """Origin of the category: seed, hand, language, knn or general."""


def read_source(source: Source, folder: Path, categories: Iterable[str]) -> list[Record]:
    """Read every prompt of a source, its path relative to a folder, in order; none is left out.

    Raises DataError if the file cannot be read, a line is no object, a field is missing or no text,
    or a category is not one of those given.
    """
    path = folder / source.path
    known = set(categories)
    records = []
    for line, row in read_rows(path):
        place = f"{path}:{line}"
        key = text_at(row, source.id, place) if source.id else str(line)
        record = Record(
            id=f"{source.title}-{key}",
            text=text_at(row, source.text, place),
            source=source.title,
            line=line,
            licence=source.licence or text_at(row, source.licence_field, place, optional=True),
            language=_language(text_at(row, source.language, place, optional=True)),
            category=_category(row, source, known, place),
        )
        if not key.strip() or not key.isprintable():
            raise DataError(f"{place}: an id must be printable text, but got {key!r:.60}")
        records.append(record)
    if not records:
        raise DataError(f"{path} must hold at least one prompt, but is empty")
    return records


def _language(code: str) -> str:
    """Return ``en`` for ``en_US``: categories have languages, not countries."""
    return code.strip().lower().replace("_", "-").split("-")[0]


def _category(row: dict[str, Any], source: Source, known: set[str], place: str) -> str:
    value = text_at(row, source.category, place, optional=True).strip()
    if source.category_names is not None:
        return source.category_names.get(value, "")
    if value and value not in known:
        raise DataError(
            f"{place}: unknown category {value!r}; {nearest(value, known)} (category_names leads "
            "names to categories, and all others to none)"
        )
    return value


def text_at(row: dict[str, Any], field: str | None, place: str, *, optional: bool = False) -> str:
    """Return the text at ``a.0.b``; a number is its decimal text, an optional null is empty."""
    if field is None:
        return ""
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
    if value is None and optional:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{place}: field {field!r} must be text, but got {value!r:.60}")
    return value
