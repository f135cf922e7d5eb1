"""Tables and values as text, as CSV and for JSON. Imports no torch."""

import csv
import html
import io
import json
import math
import re
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from micronas.quantities import format_number

_LONGEST = 60
"""Longest name in a list, in characters."""
_JOINT = "\u00a0"
_UNIT = re.compile(r"(?<!\S)([(+-]?[\d.,]*\d) (?=[%A-Za-z])")
"""Space between a number and its unit, at which no line breaks."""
_NARROWEST = 30
"""Least width of a wrapped cell or value, in characters."""


def quantity(value: float, unit: str) -> str:
    """Return a measure with its unit: a ``share`` in per cent, without a unit three decimals, else
    or below 0.001 three digits."""
    if unit == "share":
        return percent(value)
    short = abs(value) < 1000 if unit else 0 < abs(value) < 1e-3
    return f"{value:{'.3g' if short else '.0f' if unit else '.3f'}} {unit}".strip()


def difference(value: float, unit: str) -> str:
    """Return how far two measures are apart, without its unit, which is points of a ``share``."""
    return f"{100 * value:.1f}" if unit == "share" else quantity(value, unit).partition(" ")[0]


def span(interval: Sequence[float], unit: str) -> str:
    """Return the ends of an interval, with the unit once."""
    low, high = (quantity(each, unit) for each in interval)
    return f"{low.partition(' ')[0]} to {high}"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    drop: Sequence[str] = (),
    wrap: str | None = None,
) -> str:
    """Return a table with columns as wide as their widest cell, and numbers to the right.

    Lines have at most `width` characters; by default there is no limit. Where the table is wider,
    columns of `drop` are left out, the least important first, and named in a last line; where that
    is not enough, cells of the column `wrap` wrap.
    """
    sizes = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    shown, gone = dict(enumerate(sizes)), list[str]()
    wrapped = None if wrap is None else header.index(wrap)
    if wrapped is not None:
        shown[wrapped] = min(sizes[wrapped], _NARROWEST)
    for name in drop:
        if width is None or _line_width(shown.values()) <= width:
            break
        gone.append(name)
        del shown[header.index(name)]
    if wrapped is not None:
        room = sizes[wrapped]
        if width is not None:
            room = width - _line_width(shown.values()) + shown[wrapped]
        shown[wrapped] = max(shown[wrapped], min(sizes[wrapped], room))
    right = [
        all(row[place][:1].isdigit() or row[place] in ("", "-") for row in rows) for place in shown
    ]

    def lines(row: Sequence[str]) -> Iterator[str]:
        cells = [
            (_lines(row[place], size) or [""]) if place == wrapped else [row[place]]
            for place, size in shown.items()
        ]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = (
                cell.rjust(size) if side else cell.ljust(size)
                for cell, size, side in zip(parts, shown.values(), right, strict=True)
            )
            yield "  ".join(padded).rstrip()

    rule = "  ".join("-" * size for size in shown.values())
    left_out = [f"not shown: {', '.join(gone)} (--wide)"] if gone else []
    return "\n".join(
        [*lines(header), rule, *(line for row in rows for line in lines(row)), *left_out]
    )


def _line_width(sizes: Collection[int]) -> int:
    return sum(sizes) + 2 * (len(sizes) - 1)


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return values as CSV: a mapping within a row becomes several columns, a list JSON."""
    lines = [
        {key: json.dumps(each) if isinstance(each, list) else each for key, each in flat(row)}
        for row in rows
    ]
    written = io.StringIO()
    columns = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(written, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return written.getvalue().rstrip("\n")


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings, by names with dots."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> str:
    """Return a table for a notebook; every text is escaped."""

    def line(kind: str, cells: Sequence[object]) -> str:
        inner = "".join(f"<{kind}>{html.escape(str(cell))}</{kind}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    head = line("th", header) if header else ""
    body = "".join(line("td", row) for row in rows)
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def pairs(values: Mapping[str, Any], *, width: int | None = None) -> str:
    """Return one line per value, with names to the left and numbers as people write them.

    Values wrap where lines would have more than `width` characters; by default there is no limit.
    """
    names = max(map(len, values))
    lines = list[str]()
    for name, value in values.items():
        text = for_people(value)
        room = len(text) if width is None else max(width - names - 2, _NARROWEST)
        parts = _lines(text, room) if len(text) > room else [text]
        lines += [f"{name:{names}}  {parts[0]}", *(f"{'':{names}}  {part}" for part in parts[1:])]
    return "\n".join(lines)


def wrapped(text: str, width: int | None) -> str:
    """Return a text in lines of at most `width` characters; None for one line."""
    return text if width is None else "\n".join(_lines(text, width))


def _lines(text: str, width: int) -> list[str]:
    """Cut a text into lines between words; a number and its unit stay together."""
    joined = _UNIT.sub(rf"\1{_JOINT}", text)
    return [
        line.replace(_JOINT, " ") for line in textwrap.wrap(joined, width, break_on_hyphens=False)
    ]


def for_people(value: object) -> str:
    """Return a value as text: ``true``, ``1,024``, ``30 billion``, ``-`` for None."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return format_number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {for_people(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(for_people, value))
    return "-" if value is None else str(value)


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return up to `most` names with commas, and the total number where there are more."""
    found = list(names)
    shown = ", ".join(
        name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in found[:most]
    )
    return f"{shown}, ... ({len(found):,} in all)" if len(found) > most else shown


def one_line(text: str) -> str:
    """Return a text in one line, with U+FFFD in place of what could steer a terminal."""
    return "".join(each if each.isprintable() else "\ufffd" for each in " ".join(text.split()))


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """Replace numbers that JSON does not have by None, at any depth."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return finite(value)
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: plain(value) for key, value in values.items()}


def signed(error: float) -> str:
    """Return a relative error in percent with its sign."""
    return f"{100 * error:+.1f} %"


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f} %"
