"""The command that runs many searches: sweep."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.ending import stoppable
from micronas.cli.shared import Csv, Json, Overrides, Quiet, Track, Wide, show, window


def sweep(
    config: Annotated[str, typer.Argument(help="YAML file of a run, or a search space.")],
    overrides: Overrides = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,...",
            help="Setting to vary, e.g. budget.latency=20ms,50ms; repeat it for all combinations.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; runs/NAME_sweep by default.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of points at once; one per processor by default.")
    ] = None,
    cpus: Annotated[int, typer.Option(help="Number of trial trainings at once in each point.")] = 1,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on Ray: local, auto or HOST:PORT.")
    ] = None,
    retries: Annotated[
        int, typer.Option(help="Number of times a failed point is tried again.")
    ] = 1,
    track: Track = None,
    status: Annotated[
        bool,
        typer.Option("--status", help="Show the state of the sweep in --out, without running."),
    ] = False,
    wide: Wide = False,
    as_csv: Csv = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search at every combination of budgets, boards or seeds; the same command resumes."""
    from tqdm import tqdm

    from micronas.progress import Bars
    from micronas.sweeps.points import parse_over
    from micronas.sweeps.store import points_of
    from micronas.sweeps.sweep import default_folder
    from micronas.sweeps.sweep import sweep as run
    from micronas.sweeps.table import sweep_table, view

    folder = out or default_folder(config)
    if status:
        points = points_of(folder)
    else:
        silent = quiet or as_json or as_csv
        with stoppable(), Bars(quiet=silent) as bars:
            points = run(
                config,
                parse_over(over or []),
                overrides=overrides or [],
                out=folder,
                workers=workers,
                cpus=cpus,
                ray=ray,
                retries=retries,
                track=track or (),
                tell=None if silent else lambda line: tqdm.write(line, file=sys.stderr),
                progress=bars,
            )
    viewed = view(points)
    show(
        viewed,
        as_json,
        lambda: f"{sweep_table(points, width=window(wide))}\nsweep folder: {folder}",
        as_csv=as_csv,
        rows=viewed["points"],
    )
    if any(point.state == "failed" for point in points):
        raise typer.Exit(1)
