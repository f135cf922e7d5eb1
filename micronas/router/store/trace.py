"""Traces: the experts asked for, one after the other, recorded or drawn."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from micronas.errors import ConfigError, DataError
from micronas.files import regular


def read_trace(path: Path) -> list[str]:
    """Read the experts that were asked for, in order.

    Parameters
    ----------
    path
        A CSV with a column ``expert``, or JSON lines, each an object with a key ``expert``;
        other columns and keys are not looked at.

    Raises
    ------
    DataError
        If the file cannot be read, a line names no expert, or there is no line.
    """
    try:
        text = regular(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"a trace must be a readable text file: {error}") from error
    try:
        rows = _rows(text) if path.suffix == ".csv" else [_parse(line) for line in _lines(text)]
    except (csv.Error, RecursionError) as error:
        raise DataError(f"a trace must be CSV or JSON lines, but {path} is not: {error}") from error
    trace = []
    for number, row in enumerate(rows, 1):
        expert = row.get("expert") if isinstance(row, dict) else None
        if not isinstance(expert, str) or not expert:
            raise DataError(
                f"every row of a trace must name an expert, but row {number} of {path} does not; "
                'write a CSV column expert, or lines of {"expert": "name"}'
            )
        trace.append(expert)
    if not trace:
        raise DataError(f"a trace must hold at least one request, but {path} holds none")
    return trace


def zipf_trace(
    experts: Sequence[str], requests: int, *, exponent: float, seed: int = 0
) -> list[str]:
    """Draw independent requests: the i-th expert is asked for in proportion to ``i**-exponent``.

    Parameters
    ----------
    experts
        Names, the most popular first.
    requests
        How many to draw.
    exponent
        0 for equally popular experts; about 1 where few take most of the traffic.
    seed
        The same seed gives the same trace.

    Raises
    ------
    ConfigError
        If there is no expert or no request, or the exponent is negative.
    """
    if not experts or requests < 1 or not exponent >= 0:
        raise ConfigError(
            "a drawn trace must have experts, requests and an exponent of at least 0, but got "
            f"experts={len(experts)}, requests={requests}, exponent={exponent:g}"
        )
    weights = np.arange(1, len(experts) + 1, dtype=np.float64) ** -exponent
    generator = np.random.default_rng(seed)
    drawn = generator.choice(len(experts), requests, p=weights / weights.sum())
    return [experts[each] for each in drawn]


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _parse(line: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
