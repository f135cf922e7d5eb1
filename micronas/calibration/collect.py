"""Complete a plan's measurements with times from a serial log, from this machine, or by hand."""

import platform
from pathlib import Path
from typing import cast

from micronas.calibration.host import Engine, measure_all
from micronas.calibration.measurements import HOST, add_times
from micronas.calibration.plan import MEASUREMENTS, read_plan
from micronas.errors import DataError
from micronas.export.firmware.timing import read_log
from micronas.files import regular


def collect(
    source: Path,
    *,
    log: Path | None = None,
    host: str | None = None,
    clock_hz: float | None = None,
    board: str | None = None,
) -> Path:
    """Return the CSV of measurements of a plan, or the given CSV itself.

    Raises DataError if the log cannot be read.

    Parameters
    ----------
    source
        A CSV of measurements, or the folder of a plan.
    log
        Text that the plan's firmware printed; its times are written into the plan's CSV.
    host
        Engine of this machine to time the plan on: ``litert`` or ``tflm``.
    clock_hz
        Clock by which the log's cycles become milliseconds.
    board
        Board that printed the log.
    """
    if source.is_file() and log is None and host is None:
        return source
    if log is not None:
        try:
            text = regular(log).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise DataError(f"a log must be a readable text file: {error}") from error
        return add_times(source, read_log(text, clock_hz=clock_hz), board=board or "")
    models = read_plan(source)
    if host is None:
        return source / MEASUREMENTS
    files = {name: path.read_bytes() for name, path in models.items()}
    # measure_all checks the engine's name
    times = measure_all(files, engine=cast("Engine", host))
    return add_times(source, times, board=f"{HOST}{platform.machine()} by {host}")
