"""The command that shows finished runs: report."""

from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.shared import Json, show


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    out: Annotated[Path | None, typer.Option(help="HTML file; RUN/report.html by default.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder of figures as SVG and PNG; needs matplotlib.")
    ] = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not print the file's name.")] = False,
) -> None:
    """Write the report of a run, or of several side by side: one HTML file that loads nothing."""
    from micronas.report.figures import write_figures
    from micronas.report.write import write_report

    path, data = write_report(runs, out)
    drawn = [str(each) for each in write_figures(data, figures)] if figures is not None else []
    if as_json or not quiet:
        gone = [f"left out: {each['why']}" for each in data.get("left_out", ())]
        lines = "\n".join([f"report: {path}", *(f"figure: {each}" for each in drawn), *gone])
        show({"report": str(path), "figures": drawn, **data}, as_json, lambda: lines)
