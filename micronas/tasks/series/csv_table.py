"""Read a CSV file of numbers and labels, whatever its separator; name the line that is wrong."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from micronas.errors import DataError

Floats = npt.NDArray[np.float64]
_SEPARATORS = ",;\t"
_ABSENT = {"", "nan", "na", "null", "none"}


@dataclass(frozen=True)
class Header:
    """What the first lines of a CSV file say of it."""

    path: Path
    names: tuple[str, ...]
    """Of its columns; ``c1``, ``c2`` and so on where the first line holds numbers already."""
    separator: str
    skipped: int
    """Lines before the values."""
    first: tuple[str, ...]
    """Texts of the first line of values."""

    def numeric(self) -> tuple[str, ...]:
        """Return the columns whose first value is a number, or missing."""
        pairs = zip(self.names, self.first, strict=True)
        return tuple(name for name, text in pairs if _number(text, self.separator) is not None)

    def place(self, name: str) -> int:
        """Return the position of a column, or raise DataError that lists those there are."""
        if name not in self.names:
            raise DataError(
                f"recordings must have the column {name!r}, but {self.path} has "
                f"{', '.join(self.names)}; set data.columns, data.label, data.group or data.time"
            )
        return self.names.index(name)


def read_header(path: Path) -> Header:
    """Read the first lines of a CSV file; commas, semicolons and tabs separate.

    Raises
    ------
    DataError
        If it cannot be read, has no line of values, or lines of different lengths.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for _, line in zip(range(2), file, strict=False)]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"a recording must be a readable CSV file: {error}") from error
    if not lines:
        raise DataError(f"a recording must have lines, but {path} is empty; delete it")
    separator = max(_SEPARATORS, key=lines[0].count)
    rows = [[text.strip() for text in row] for row in csv.reader(lines, delimiter=separator)]
    has_names = any(_number(text, separator) is None for text in rows[0])
    if len(rows) < 1 + has_names:
        raise DataError(f"a recording must have lines of values, but {path} has none; delete it")
    names = rows[0] if has_names else [f"c{place + 1}" for place in range(len(rows[0]))]
    first = rows[1] if has_names else rows[0]
    if len(first) != len(names) or len(set(names)) < len(names):
        raise DataError(
            f"columns must have names of their own and a value in each line, but {path} has "
            f"{len(names)} names ({', '.join(names):.200}) and {len(first)} values; mend its header"
        )
    return Header(path, tuple(names), separator, int(has_names), tuple(first))


def read_numbers(header: Header, columns: Sequence[str]) -> Floats:
    """Read columns of numbers as float64 [rows, columns]; a missing value is nan.

    Raises
    ------
    DataError
        If a value is no number; names its line.
    """
    places = [header.place(name) for name in columns]
    try:
        values = np.loadtxt(
            header.path,
            delimiter=header.separator,
            skiprows=header.skipped,
            usecols=places,
            ndmin=2,
            encoding="utf-8-sig",
            comments=None,
        )
    except (ValueError, OSError):  # a missing value, a decimal comma, or truly no number
        values = _slowly(header, places)
    return values


def read_texts(header: Header, column: str) -> npt.NDArray[np.str_]:
    """Read a column of texts [rows]."""
    place = header.place(column)
    texts = [row[place].strip() for _, row in _rows(header)]
    return np.array(texts, np.str_)


def _rows(header: Header) -> list[tuple[int, list[str]]]:
    """Return the lines of values that are not empty, with their numbers."""
    try:
        with header.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=header.separator)
            rows = [(reader.line_num, row) for row in reader if row][header.skipped :]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"a recording must be a readable CSV file: {error}") from error
    for line, row in rows:
        if len(row) != len(header.names):
            raise DataError(
                f"lines must have {len(header.names)} values, but {header.path} line {line} has "
                f"{len(row)}; mend or delete it"
            )
    return rows


def _slowly(header: Header, places: Sequence[int]) -> Floats:
    values = []
    for line, row in _rows(header):
        numbers = [_number(row[place].strip(), header.separator) for place in places]
        if None in numbers:
            wrong = places[numbers.index(None)]
            raise DataError(
                f"values must be numbers, but {header.path} line {line} has {row[wrong]!r:.60} in "
                f"column {header.names[wrong]!r}; mend the line, or set data.columns"
            )
        values.append(numbers)
    return np.array(values, np.float64)


def _number(text: str, separator: str) -> float | None:
    """Return a number, nan for a missing one, None for other text."""
    if text.lower() in _ABSENT:
        return float("nan")
    try:
        return float(text.replace(",", ".") if separator == ";" else text)
    except ValueError:
        return None
