"""Write reports of one run, or of several. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from micronas.errors import DataError, MicronasError
from micronas.files import write_atomically
from micronas.page import page_of
from micronas.report import several, single
from micronas.runs.finished import RunFolder, open_run, runs_in
from micronas.runs.folder import REPORT

_PARTS = Path(__file__).parent / "page"
_SINGLE = ["charts.js", "network.js", "run.js", "mistakes.js", "figures.js"]
_SEVERAL = ["charts.js", "network.js", "runs.js"]


def write_report(paths: Sequence[Path], out: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Write the report of a run, or of several side by side, as one HTML file that loads nothing;
    return its path and the data of its page.

    Parameters
    ----------
    out
        File to write; by default ``report.html`` in the only folder given, or in the current one.

    Raises
    ------
    DataError
        If there is no finished run, a single one is damaged, or the file cannot be written.
    """
    folders = list(dict.fromkeys(run for path in paths for run in runs_in(path)))
    if len(folders) == 1:
        data = single.page_data(open_run(folders[0]))
        title, scripts = f"{data['name']}, micronas", _SINGLE
    else:
        data = _compared(folders)
        title, scripts = f"{len(data['rows'])} runs, micronas", _SEVERAL
    target = out or (paths[0] if len(paths) == 1 else Path()) / REPORT
    page = page_of(title, data, parts=_PARTS, scripts=scripts)
    try:
        write_atomically(target, page)
    except OSError as error:
        raise DataError(
            f"a report's file must be writable: {error}; choose another with --out"
        ) from error
    return target, data


def report_line(folder: Path) -> str:
    """Write a finished run's report, and return a line with its path or the reason without one.

    No fault of a report may lose a run, so this raises no error of any kind.
    """
    try:
        path, _ = write_report([folder])
    except Exception as error:
        words = " ".join(str(error).split())
        known = isinstance(error, MicronasError)
        return f"no report: {words if known else f'{type(error).__name__}: {words}'}"
    return f"report: {path}"


def _compared(folders: Sequence[Path]) -> dict[str, Any]:
    runs: list[RunFolder] = []
    left_out: dict[str, str] = {}
    for folder in folders:
        try:
            runs.append(open_run(folder))
        except DataError as error:
            left_out[str(folder)] = " ".join(str(error).split())
    if not runs:
        raise DataError(
            f"a report needs a run that is sound, but all {len(folders)} are damaged; the first: "
            f"{next(iter(left_out.values()))}"
        )
    return several.page_data(runs, left_out)
