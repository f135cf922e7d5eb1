"""A user's measurements: a CSV of networks and their milliseconds on one board."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from micronas.calibration.plan import MEASUREMENTS, read_plan
from micronas.errors import DataError, MicronasError
from micronas.files import regular, write_atomically
from micronas.hardware.features import features
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
    repeated: dict[Path, list[tuple[float, float | None]]] = {}
    first: dict[Path, tuple[int, str]] = {}
    for line, row in rows:
        latency = _positive(path, line, "latency_ms", row["latency_ms"])
        text = row.get("energy_mj") or ""
        energy = _positive(path, line, "energy_mj", text) if text.strip() else None
        file = _file(path, row["model"])
        repeated.setdefault(file, []).append((latency, energy))
        first.setdefault(file, (line, row["model"].strip()))
    return [
        Measurement(
            name,
            _features(path, line, name, locate, target),
            median(latency for latency, _ in repeated[file]),
            _median([energy for _, energy in repeated[file] if energy is not None]),
            boards[0] if boards else "",
        )
        for file, (line, name) in first.items()
    ]


def add_times(folder: Path, latencies: Mapping[str, float], *, board: str = "") -> Path:
    """Write times of a plan's networks into its ``measurements.csv``.

    Other columns and earlier times stay; those of a computer are dropped. Raises DataError if a
    time is of a network that is not in the plan, the file cannot be written, or a board's times
    would be lost or mixed with another's.

    Parameters
    ----------
    folder
        Folder that `calibration.plan.write_plan` wrote.
    latencies
        Milliseconds by the network's name.
    board
        Device they were measured on, where it is known; begins with `HOST` for a computer.

    Returns
    -------
    Path of the CSV file.
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
    times = {models[name].resolve(): f"{latency:.6g}" for name, latency in latencies.items()}
    rows: list[dict[str, str]] = []
    for _, row in _rows(path) if path.exists() else ():
        device, time = row.get(BOARD) or "", times.get(_file(path, row["model"]))
        is_filled = any(value for name, value in row.items() if name not in ("model", BOARD))
        if device.startswith(HOST) or not is_filled:
            continue
        is_of_another = bool(board and device) and device != board
        if board.startswith(HOST) or (is_of_another and time is None):
            raise DataError(
                f"a plan's times must be of one board, but {path} holds times of "
                f"{device or 'a board'}, which those of {board} would not replace; keep a copy "
                "of it elsewhere and delete it"
            )
        rows.append(row if time is None else row | {"latency_ms": time, BOARD: board or device})
    written = {_file(path, row["model"]) for row in rows}
    rows += [
        {"model": str(models[name].relative_to(folder)), "latency_ms": time, BOARD: board}
        for name, time in zip(latencies, times.values(), strict=True)
        if models[name].resolve() not in written
    ]
    columns = dict.fromkeys(name for row in rows for name in row)
    if not any(row.get(BOARD) for row in rows):
        columns.pop(BOARD, None)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        write_atomically(path, text.getvalue().encode())
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
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise DataError(
            f"each column must have a name of its own, but {path} has {', '.join(twice)} twice; "
            "rename one"
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


def _file(path: Path, model: str) -> Path:
    """Return the network's file or folder of a row, the same for all its spellings."""
    return (path.parent / Path(model.strip()).expanduser()).resolve()


def _features(
    path: Path, line: int, model: str, locate: Callable[[Path], Path], target: Target
) -> dict[str, float]:
    try:
        graph = load(locate(path.parent / Path(model).expanduser())).graph
        prices = target.prices(graph)
    except MicronasError as error:
        raise DataError(
            f"model must name a .tflite, an architecture or a run folder, relative to the CSV "
            f"file, but {path} line {line} has {model!r}: {error}"
        ) from error
    # times of operators that features leave out, or price from above, would be those of others
    if uncounted := sorted(
        {
            op.name if op.kind == "UNKNOWN" else op.kind
            for op, price in zip(graph.ops, prices, strict=True)
            if price is None or price.extrapolated
        }
    ):
        raise DataError(
            f"measured networks must have operators whose instructions were counted, but {path} "
            f"line {line} has {model!r} with {', '.join(uncounted)}; delete the row"
        )
    return features(graph, prices)


def _median(values: list[float]) -> float | None:
    return median(values) if values else None
