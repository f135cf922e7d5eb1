"""Score against active parameters, as a picture."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from micronas.errors import ConfigError, DataError
from micronas.files import regular

_ROW = ("budget", "method", "score", "active", "difference", "low", "high")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read what ``router eval --out`` wrote.

    Raises
    ------
    DataError
        If the file cannot be read or holds no list of rows.
    """
    try:
        rows = json.loads(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"an evaluation must be a readable JSON file: {path}: {error}") from error
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and set(_ROW) <= set(row) for row in rows
    ):
        raise DataError(
            f"{path} must hold rows with {', '.join(_ROW)}; write it with router eval --out"
        )
    return rows


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw one line a method through its budgets; the end of the path says the format.

    Parameters
    ----------
    rows
        Of `Evaluation.rows`: ``method``, ``active``, ``score``.

    Raises
    ------
    ConfigError
        If matplotlib is not installed, or it does not know the format.
    DataError
        If there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("a plot needs matplotlib: pip install '.[router-plot]'") from error
    lines: dict[str, set[tuple[float, float]]] = defaultdict(set)
    try:
        for row in rows:
            lines[str(row["method"])].add((float(row["active"]), float(row["score"])))
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(f"a row to plot must have method, active and score: {error}") from error
    if not lines:
        raise DataError("a plot needs one row at least, but there is none; run router eval first")
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for method, points in lines.items():
        active, scores = zip(*sorted(points), strict=True)
        axes.plot([each / 1e9 for each in active], scores, marker="o", markersize=3, label=method)
    axes.set_xlabel("active parameters on average, billions")
    axes.set_ylabel("score")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise ConfigError(f"a plot must end with a known format such as .png: {error}") from error
