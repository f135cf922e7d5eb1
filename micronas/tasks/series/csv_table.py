"""Read a CSV file of numbers and texts with any common separator; name wrong lines."""

import csv
import math
import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.files import regular
from micronas.text import listed

ColumnKind = Literal["numbers", "text", "constant", "empty"]
"""Kind of a column: ``constant`` has one number throughout, ``empty`` no value."""
_SEPARATORS = ",;\t"
_SEPARATED = re.compile(r"\S[\s|]+\S")
"""What stands between columns of other files."""
_DECIMAL = re.compile(r"(?<=\d),(?=\d)")
"""A decimal comma where another separator stands beside it."""
_ABSENT = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none"}
_LONGEST_LINE = 2**17
"""Longest line in characters; no recording has longer lines, and no sensor that many columns."""
LONGEST_TEXT = 100
"""Longest label, group or time in characters."""


@dataclass(frozen=True)
class Header:
    """Layout of a CSV file by its first lines."""

    path: Path
    names: tuple[str, ...]
    """Names of the columns; ``c1``, ``c2`` and so on where the first line holds numbers already."""
    separator: str
    skipped: int
    """Number of lines before the values."""
    first: tuple[str, ...]
    """Texts of the first line of values."""

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def numeric(self) -> tuple[str, ...]:
        """Return the columns whose first value is a number or missing."""
        pairs = zip(self.names, self.first, strict=True)
        return tuple(name for name, text in pairs if _number(text, self.separator) is not None)

    def place(self, name: str) -> int:
        """Return the position of a column, or raise a DataError that lists the columns."""
        if name not in self._places:
            raise DataError(
                f"recordings must have the column {name!r}, but {self.path} has "
                f"{listed(self.names)}; set data.columns, data.label, data.group or data.time"
            )
        return self._places[name]


@dataclass
class Texts:
    """A column of texts, each different text stored once."""

    names: list[str] = field(default_factory=list)
    """Different texts in the order of their first lines."""
    codes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Index of each line's text in `names` [rows]."""

    def renamed(self, names: Sequence[str]) -> "Texts":
        """Return the column with other names in place of `names`; several may become one."""
        places = {name: place for place, name in enumerate(dict.fromkeys(names))}
        return Texts([*places], np.array([places[name] for name in names], np.int64)[self.codes])


def read_header(path: Path) -> Header:
    """Read the first lines of a CSV file, separated by commas, semicolons or tabs.

    Raises DataError if it cannot be read, has no line of values, or lines of different lengths.
    """
    with _lines(path) as lines:
        first = next((line for line in lines if line.strip()), None)
        if first is None:
            raise DataError(f"a recording must have lines, but {path} is empty; delete it")
        separator = max(_SEPARATORS, key=_DECIMAL.sub("", first).count)
        rows = [row for _, row in islice(_rows(chain([first], lines), separator), 2)]
    if all(len(row) == 1 and _SEPARATED.search(row[0]) for row in rows):
        raise DataError(
            f"columns must be separated by commas, semicolons or tabs, but {path} begins with "
            f"{rows[0][0]!r:.60}; save it anew, its header first"
        )
    has_names = any(_number(text, separator) is None for text in rows[0])
    if len(rows) < 1 + has_names:
        raise DataError(f"a recording must have lines of values, but {path} has none; delete it")
    names = rows[0] if has_names else [f"c{place + 1}" for place in range(len(rows[0]))]
    values = rows[1] if has_names else rows[0]
    if len(values) != len(names) or len(set(names)) < len(names):
        raise DataError(
            f"columns must have names of their own and a value in each line, but {path} has "
            f"{len(names)} names ({listed(names)}) and {len(values)} values; mend its header"
        )
    wrong = next((name for name in names if not name.isprintable()), None)
    if wrong is not None:
        raise DataError(
            f"columns must have names of characters that can be printed, but {path} has "
            f"{wrong!r:.60}; mend its header"
        )
    return Header(path, tuple(names), separator, int(has_names), tuple(values))


def column_kinds(headers: Iterable[Header], names: Collection[str]) -> dict[str, ColumnKind]:
    """Return the kinds of columns over all files.

    Reads each column only until it has shown two different numbers or a text. Unreadable files are
    skipped; `read_table` names their lines.
    """
    kinds: dict[str, ColumnKind] = dict.fromkeys(names, "empty")
    first: dict[str, float] = {}
    for header in headers:
        with suppress(DataError):
            _look_at(header, kinds, first)
    return kinds


def _look_at(header: Header, kinds: dict[str, ColumnKind], first: dict[str, float]) -> None:
    left = {
        header.place(name): name
        for name in header.names
        if kinds.get(name) in ("empty", "constant")
    }
    if not left:
        return
    with _lines(header.path) as lines:
        for _, row in islice(_rows(lines, header.separator), header.skipped, None):
            for place, name in tuple(left.items()):
                number = _number(row[place], header.separator) if place < len(row) else math.nan
                if number is None:  # a text after numbers is a line to mend, not a column of text
                    kinds[name] = "numbers" if name in first else "text"
                elif not math.isnan(number):
                    kinds[name] = (
                        "numbers" if first.setdefault(name, number) != number else "constant"
                    )
                if kinds[name] in ("numbers", "text"):
                    del left[place]
            if not left:
                return


def read_table(
    header: Header, numbers: Sequence[str], texts: Sequence[str] = ()
) -> tuple[Floats, list[Texts]]:
    """Read columns of numbers as float64 [rows, columns], missing ones nan, and columns of texts.

    Raises DataError, which names the line, if a value is no number, a text too long or not
    printable, or a line has more or fewer values than the file has columns.
    """
    places = [header.place(name) for name in numbers]
    columns = [(header.place(name), dict[str, int](), array("q")) for name in texts]
    values = array("d")
    with _lines(header.path) as lines:
        for line, row in islice(_rows(lines, header.separator), header.skipped, None):
            if len(row) != len(header.names):
                raise DataError(
                    f"lines must have {len(header.names)} values, but {header.path} line {line} "
                    f"has {len(row)}; mend or delete it"
                )
            try:
                values.extend([float(row[place]) for place in places])
            except ValueError:  # a missing value, a decimal comma, or no number
                values.extend(_numbers(header, line, row, places))
            for place, known, codes in columns:
                text = row[place]
                if text not in known:
                    _check_text(header, line, text, place)
                    known[text] = len(known)
                codes.append(known[text])
    return (
        np.frombuffer(values, np.float64).reshape(-1, len(places)),
        [Texts([*known], np.frombuffer(codes, np.int64)) for _, known, codes in columns],
    )


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    """Open a file and yield its lines; DataError for anything that cannot be read."""
    try:
        with regular(path).open(encoding="utf-8-sig", newline="") as file:
            yield map(_bounded, iter(partial(file.readline, _LONGEST_LINE + 1), ""))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"a recording must be a readable CSV file in UTF-8, but {path} is not: {error}; "
            "save it anew"
        ) from error


def _bounded(line: str) -> str:
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"a line has more than {_LONGEST_LINE:,} characters")
    return line


def _rows(lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line numbers and values of lines that are not empty."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    for row in reader:
        if row:
            yield reader.line_num, [text.strip() for text in row]


def _numbers(header: Header, line: int, row: Sequence[str], places: Sequence[int]) -> list[float]:
    found = []
    for place in places:
        number = _number(row[place], header.separator)
        if number is None:
            raise DataError(
                f"values must be numbers, but {header.path} line {line} has {row[place]!r:.60} in "
                f"column {header.names[place]!r:.60}; write a number (1 for true, 0 for false), "
                "leave it empty where it is missing, or name other columns"
            )
        found.append(number)
    return found


def is_plain(text: str) -> bool:
    """Return whether a text can be a label: on one line, in tables and in a file's name."""
    return 0 < len(text) <= LONGEST_TEXT and text.isprintable()


def _check_text(header: Header, line: int, text: str, place: int) -> None:
    if text and not is_plain(text):  # a line without a label is left out
        raise DataError(
            f"labels, groups and times must have at most {LONGEST_TEXT} characters that can be "
            f"printed, but {header.path} line {line} has {len(text)} in column "
            f"{header.names[place]!r:.60}: {text!r:.60}; mend the line, or set data.label, "
            "data.group or data.time"
        )


def _number(text: str, separator: str) -> float | None:
    """Return a number, nan for a missing one, None for other text."""
    if text.lower() in _ABSENT:
        return float("nan")
    try:
        return float(text if separator == "," else text.replace(",", "."))
    except ValueError:
        return None
