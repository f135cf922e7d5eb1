"""A user's measurements: a CSV of networks and their milliseconds on one board."""

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from micronas.calibration.plan import MEASUREMENTS, read_plan
from micronas.errors import DataError, MicronasError
from micronas.files import regular, write_atomically
from micronas.hardware.targets import DEFAULT, Target
from micronas.space.load import load

_ENDLESS = 1e12
"""Milliseconds or millijoules that no inference takes: a typing error, whose square overflows."""
COLUMNS = ("model", "latency_ms")
BOARD = "board"
"""Name of an optional column: the device that the rows were measured on."""
HOST = "host: "
"""Prefix of its values for a computer in place of a board."""


@dataclass(frozen=True)
class Measurement:
    """One network on the board."""

    name: str
    features: dict[str, float]
    latency_ms: float
    energy_mj: float | None = None
    """Energy of one inference."""
    board: str = ""
    """Device it was measured on, where the file gives it."""

    @property
    def is_of_host(self) -> bool:
        """Whether a computer stood in for the board."""
        return self.board.startswith(HOST)


def read_measurements(
    path: Path, *, locate: Callable[[Path], Path] = Path, target: Target = DEFAULT
) -> list[Measurement]:
    """Read measurements and the networks they belong to.

    Parameters
    ----------
    path
        A CSV file with the columns ``model`` (a .tflite file, an architecture's YAML or a run
        folder, relative to the CSV file) and ``latency_ms``; ``energy_mj`` and ``board`` are
        optional and others are ignored. Several rows of one network are repetitions: the median
        counts.
    locate
        Function from the path in a row to the network's file, so that a row may name a folder.
    target
        Target of the board, whose kernels features are counted for.

    Raises
    ------
    DataError
        If the file, a column, a number or a model is not as described, or the rows are of several
        boards. The error names the row.
    """
    rows = _rows(path)
    boards = sorted({row[BOARD] for _, row in rows if row.get(BOARD)})
    if len(boards) > 1:
        raise DataError(
            f"measurements must be of one board, but {path} holds {', '.join(boards)}; make one "
            "file of each"
        )
    repeated: dict[str, list[tuple[float, float | None]]] = {}
    for line, row in rows:
        latency = _positive(path, line, "latency_ms", row["latency_ms"])
        text = row.get("energy_mj") or ""
        energy = _positive(path, line, "energy_mj", text) if text.strip() else None
        repeated.setdefault(row["model"].strip(), []).append((latency, energy))
    lines = {row["model"].strip(): line for line, row in rows}
    return [
        Measurement(
            name,
            _features(path, lines[name], name, locate, target),
            median(latency for latency, _ in runs),
            _median([energy for _, energy in runs if energy is not None]),
            boards[0] if boards else "",
        )
        for name, runs in repeated.items()
    ]


def add_times(folder: Path, latencies: Mapping[str, float], *, board: str = "") -> Path:
    """Write times of a plan's networks into its ``measurements.csv``.

    Earlier times of the same `board` stay; those of another device are dropped.

    Parameters
    ----------
    folder
        Folder that `calibration.plan.write_plan` wrote.
    latencies
        Milliseconds by the network's name.
    board
        Device they were measured on; begins with `HOST` for a computer.

    Returns
    -------
    Path of the CSV file.

    Raises
    ------
    DataError
        If a time is of a network that is not in the plan, or the file cannot be written.
    """
    folder = folder.expanduser()
    models = read_plan(folder)
    strange = [name for name in latencies if name not in models]
    if strange:
        raise DataError(
            f"times must be of the plan's networks, but {str(folder)!r} has no "
            f"{', '.join(strange)}; measure the firmware of this plan"
        )
    path = folder / MEASUREMENTS
    kept = {
        row["model"]: row["latency_ms"]
        for _, row in (_rows(path) if path.exists() else ())
        if (row.get(BOARD) or "") == board
    }
    times = kept | {
        str(models[name].relative_to(folder)): f"{latency:.6g}"
        for name, latency in latencies.items()
    }
    head, mark = (",".join((*COLUMNS, BOARD)), f",{board}") if board else (",".join(COLUMNS), "")
    rows = [head, *(f"{model},{time}{mark}" for model, time in times.items() if time)]
    try:
        write_atomically(path, "".join(f"{row}\n" for row in rows).encode())
    except OSError as error:
        raise DataError(f"a plan's folder must be writable: {error}") from error
    return path


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows that are not empty, each with the line it ends on."""
    try:
        with regular(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"measurements must be a readable CSV file: {error}") from error
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"measurements must have the columns {', '.join(COLUMNS)}, but {path} lacks "
            f"{', '.join(missing)} (it has {', '.join(columns) or 'none'}); name them in its "
            "first line"
        )
    for line, row in rows:
        if None in row or any(row[name] is None for name in COLUMNS):
            raise DataError(
                f"rows must have as many values as there are columns, but {path} line {line} "
                f"does not; write {len(columns)} values"
            )
    return rows


def _positive(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < _ENDLESS:
        raise DataError(
            f"{column} must be a positive number below {_ENDLESS:g}, but {path} line {line} has "
            f"{text.strip()!r}; correct it, or delete the row"
        )
    return value


def _features(
    path: Path, line: int, model: str, locate: Callable[[Path], Path], target: Target
) -> dict[str, float]:
    try:
        return target.features(load(locate(path.parent / Path(model).expanduser())).graph)
    except MicronasError as error:
        raise DataError(
            f"model must name a .tflite, an architecture or a run folder, relative to the CSV "
            f"file, but {path} line {line} has {model!r}: {error}"
        ) from error


def _median(values: list[float]) -> float | None:
    return median(values) if values else None
