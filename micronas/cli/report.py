"""The command that shows finished runs: report."""

from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.shared import Json, show


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; RUN/report.html by default.")
    ] = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not name the file.")] = False,
) -> None:
    """Write a run's report, or several runs' side by side, as one HTML file that loads nothing."""
    from micronas.report.write import write_report

    path, data = write_report(runs, out)
    if as_json or not quiet:
        show({"report": str(path), **data}, as_json, lambda: f"report: {path}")
