"""Labels in recordings and their times, from a CSV file."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from micronas.errors import DataError
from micronas.files import regular
from micronas.tasks.series.csv_table import read_header
from micronas.tasks.spelling import same_but_for_case
from micronas.text import listed

_COLUMNS = ("recording", "label", "start", "end")


class Marked(NamedTuple):
    """A label that occurs in a recording, in seconds of sound or in readings."""

    recording: str
    label: str
    start: float
    end: float


def read_marks(path: Path) -> list[Marked]:
    """Read a CSV file with the columns recording, label, start and end.

    Separators and decimal commas are those of `micronas.tasks.series.csv_table`; what stands there
    twice occurs once. Raises DataError if the file cannot be read, lacks a column, or an end comes
    before its start.
    """
    try:
        lines = regular(path).read_text(encoding="utf-8-sig").splitlines()
        separator = max(",;\t", key=(lines or [""])[0].count)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        rows = [(reader.line_num, [each.strip() for each in row]) for row in reader if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"--labels must be a CSV file, but {path} cannot be read ({error}); name another"
        ) from error
    header = rows[0][1] if rows else []
    if not {*_COLUMNS} <= {*header}:
        raise DataError(
            f"--labels must have the columns {', '.join(_COLUMNS)}, but {path} begins with "
            f"{listed(header) or 'nothing'}; write them into its first line"
        )
    found = []
    for line, row in rows[1:]:
        try:
            if len(row) != len(header):
                raise ValueError(f"{len(row)} values of {len(header)}")
            recording, label, *texts = (row[header.index(name)] for name in _COLUMNS)
            if not (recording and label):
                raise ValueError(f"recording={recording!r}, label={label!r}")
            if separator != ",":
                texts = [text.replace(",", ".") for text in texts]
            marked = Marked(recording, label, *map(float, texts))
            if not 0 <= marked.start <= marked.end < math.inf:
                raise ValueError(f"start={marked.start:g}, end={marked.end:g}")
        except ValueError as error:
            raise DataError(
                f"--labels must have a value in each column, with times in seconds of sound or in "
                f"readings, but line {line} of {path} has not ({error}); mend it"
            ) from error
        found.append(marked)
    return [*dict.fromkeys(found)]


def is_marks(path: Path) -> bool:
    """Return whether a file is one for `read_marks`, which may lie beside recordings of sensors."""
    try:
        return {*_COLUMNS} <= {*read_header(path).names}
    except DataError:
        return False


def foreign(marked: Sequence[Marked], labels: Sequence[str]) -> list[str]:
    """Return the marked labels that a network does not have.

    Raises DataError if one differs from a label of the network in case or spaces alone, or all are
    foreign.
    """
    found = sorted({each.label for each in marked} - {*labels})
    for label in found:
        meant = [own for own in labels if same_but_for_case({label, own})]
        if meant:
            raise DataError(
                f"--labels must spell labels as the network does, but has {label!r} for "
                f"{meant[0]!r}; mend it"
            )
    if found and not {each.label for each in marked} & {*labels}:
        raise DataError(
            f"--labels must have labels of the network, {listed(labels)}, but has {listed(found)} "
            "alone; mend it"
        )
    return found


def assigned(
    paths: Sequence[Path], marked: Sequence[Marked]
) -> tuple[dict[Path, list[Marked]], list[str]]:
    """Return the marks of each recording, and the recordings of all other marks.

    Recordings are named by the ends of their paths. Raises DataError if a name fits several
    recordings, or none of the names fits any.
    """
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        parts = path.as_posix().split("/")
        for start in range(len(parts)):
            by_name.setdefault("/".join(parts[start:]), []).append(path)
    found: dict[Path, list[Marked]] = {}
    elsewhere = []
    for each in marked:
        matching = by_name.get(each.recording, ())
        if len(matching) > 1:
            raise DataError(
                f"--labels must name one recording each, but {each.recording!r} is "
                f"{listed(map(str, matching))}; name it with its folder"
            )
        if matching:
            found.setdefault(matching[0], []).append(each)
        else:
            elsewhere.append(each.recording)
    if elsewhere and not found:
        raise DataError(
            f"--labels must name recordings by the ends of their paths, such as {paths[0].name}, "
            f"but has {listed(dict.fromkeys(elsewhere))}; mend them"
        )
    return found, elsewhere
