"""Labels in recordings and their times, from a CSV file."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from micronas.errors import DataError
from micronas.files import regular
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

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, or an end comes before its start.
    """
    try:
        with regular(path).open(encoding="utf-8-sig", newline="") as file:
            rows = [*csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"--labels must be a CSV file, but {path} cannot be read ({error}); name another"
        ) from error
    found = []
    for line, row in enumerate(rows, 2):
        try:
            marked = Marked(row["recording"], row["label"], float(row["start"]), float(row["end"]))
            if not 0 <= marked.start <= marked.end < math.inf:
                raise ValueError(f"start={marked.start:g}, end={marked.end:g}")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"--labels must have the columns {', '.join(_COLUMNS)} with times in seconds of "
                f"sound or in readings, but line {line} of {path} has not ({error}); mend it"
            ) from error
        found.append(marked)
    return found


def assigned(
    paths: Sequence[Path], marked: Sequence[Marked]
) -> tuple[dict[Path, list[Marked]], int]:
    """Return the marks of each recording, and the number of marks of no recording.

    Recordings are named by the ends of their paths.
    """
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        parts = path.as_posix().split("/")
        for start in range(len(parts)):
            by_name.setdefault("/".join(parts[start:]), []).append(path)
    found: dict[Path, list[Marked]] = {}
    elsewhere = 0
    for each in marked:
        matching = by_name.get(each.recording, ())
        if len(matching) > 1:
            raise DataError(
                f"--labels must name one recording each, but {each.recording!r} is "
                f"{listed(map(str, matching))}; name it with its folder"
            )
        if matching:
            found.setdefault(matching[0], []).append(each)
        elsewhere += not matching
    return found, elsewhere
