"""Sheets for labelling by hand: prompts as CSV, and the categories filled in."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.files import write_atomically
from micronas.judge.sources import text_at
from micronas.language.rows import read_rows
from micronas.settings import nearest


def write_review(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write prompts as CSV for a human to fill the column ``category``; `read_labels` reads it.

    Rows have ``id``, ``text`` and other helpful columns (``suggested``, ``entropy``).
    """
    file = io.StringIO()
    names = list(dict.fromkeys(("id", "category", *(rows[0] if rows else ()))))
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        # a spreadsheet runs a cell that begins like a formula; the text is not read back
        text = str(row["text"])
        guarded = f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
        writer.writerow({"category": "", **row, "text": guarded})
    write_atomically(path, file.getvalue().encode("utf-8"))


def read_labels(
    path: Path, categories: Iterable[str] | None = None, *, name: str = "id"
) -> dict[str, str]:
    """Return the category of each id in a CSV, such as a filled file of `write_review`.

    Ids stand in the column `name`; rows of blank category are left out. By default all categories
    are allowed.

    Raises DataError if a column is missing, a category unknown, or an id has two categories.
    """
    known = None if categories is None else set(categories)
    labels: dict[str, str] = {}
    for line, row in read_rows(path):
        place = f"{path}:{line}"
        key, category = (text_at(row, each, place).strip() for each in (name, "category"))
        if not category:
            continue
        if not key:
            raise DataError(f"{place}: {category!r} must have its prompt, but {name} is blank")
        if known is not None and category not in known:
            raise DataError(f"{place}: unknown category {category!r}; {nearest(category, known)}")
        if labels.setdefault(key, category) != category:
            raise DataError(
                f"{place}: {key!r} must have one category, but has {labels[key]!r} and {category!r}"
            )
    return labels


def merge_review(review: Path, labels: Path, categories: Iterable[str]) -> int:
    """Move the categories that a human filled into a review file to a file of labels; count them.

    Later labels replace earlier ones of the same prompt. A missing review file holds none.

    Raises DataError if the review file names an unknown category or is damaged.
    """
    filled = read_labels(review, categories) if review.exists() else {}
    if filled:
        known = read_labels(labels, categories) if labels.exists() else {}
        rows = [{"id": key, "category": name, "text": ""} for key, name in (known | filled).items()]
        write_review(labels, rows)
    return len(filled)
