"""Tables for a terminal. Imports no torch."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_LONGEST = 60
"""Characters of a name in a list."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns as wide as their widest cell, numbers to the right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [
        all(row[column][:1].isdigit() or row[column] in ("", "-") for row in rows)
        for column in range(len(header))
    ]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if side else cell.ljust(width)
            for cell, width, side in zip(row, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> str:
    """Return a table for a notebook; every text is escaped."""

    def line(kind: str, cells: Sequence[object]) -> str:
        inner = "".join(f"<{kind}>{html.escape(str(cell))}</{kind}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    head = line("th", header) if header else ""
    body = "".join(line("td", row) for row in rows)
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def pairs(values: Mapping[str, Any]) -> str:
    """Return one line per value, names to the left."""
    width = max(map(len, values))
    return "\n".join(f"{name:{width}}  {value}" for name, value in values.items())


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return names with commas, at most so many of them, and how many there are in all."""
    found = list(names)
    shown = ", ".join(
        name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in found[:most]
    )
    return f"{shown}, ... ({len(found):,} in all)" if len(found) > most else shown


def signed(error: float) -> str:
    """Write a relative error in percent with its sign."""
    return f"{100 * error:+.1f} %"


def percent(share: float) -> str:
    """Write a share in percent."""
    return f"{100 * share:.1f} %"
