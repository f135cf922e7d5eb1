"""Commands that train: search and train."""

import os
from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.complete import networks, space_names
from micronas.cli.ending import stoppable
from micronas.cli.shared import Csv, Json, Overrides, Quiet, Track, Wide, show, window


def search(
    config: Annotated[
        str,
        typer.Argument(help="YAML file of a run, or a search space.", autocompletion=space_names),
    ],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of trial trainings at once; one per CPU by default."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run trials on Ray: local, auto or HOST:PORT."),
    ] = None,
    supernets: Annotated[
        Path | None,
        typer.Option(
            help="Folder of supernets; loads or saves the one of this space, data, search and seed."
        ),
    ] = None,
    track: Track = None,
    wide: Wide = False,
    as_csv: Csv = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search, train with quantisation, export and verify; the same command resumes a killed run."""
    from micronas.runs.settings import load_run

    settings = load_run(config, overrides or [])
    shared = settings.supernet_in(supernets)
    problem = settings.problem()
    problem.check_feasible()
    # only the first of torchrun's processes prints
    first = os.environ.get("RANK", "0") == "0"
    silent = quiet or as_json or as_csv or not first
    from micronas.progress import Bars
    from micronas.report.write import report_line
    from micronas.runs.run import Shared, run_search
    from micronas.runs.table import search_summary
    from micronas.runs.tracking import tracked

    folder = out or Path("runs") / Path(config).stem
    way = "loaded from" if shared is not None and shared.exists() else "saved in"
    kept = "" if shared is None else f"supernet {way} {shared}\n"
    said = settings.model_dump(mode="json")
    with (
        stoppable(),
        Bars(quiet=silent, limits=problem.limits.left()) as bars,
        tracked(folder, said, track or () if first else (), shown=bars) as progress,
    ):
        result, trained = run_search(
            settings,
            folder,
            progress=progress,
            shared=Shared(shared),
            workers=workers,
            ray=ray,
            tell=None if silent else bars.tell,
        )
    if not first:
        return
    report = report_line(folder)
    summary = search_summary(result, trained.metrics, width=window(wide))
    show(
        trained.metrics,
        as_json,
        lambda: f"{summary}\n{kept}run folder: {folder}\n{report}",
        as_csv=as_csv,
        rows=trained.metrics["search"]["candidates"],
    )


def train(
    architecture: Annotated[
        str,
        typer.Argument(
            help="YAML file of an architecture, or a published one: published/kws_m.",
            autocompletion=networks,
        ),
    ],
    overrides: Overrides = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of a run to take settings from.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    track: Track = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train one given network like the winner of a search: float, int8, export, verification."""
    from micronas.runs.settings import load_training
    from micronas.space.space import Space

    network = Space.load(architecture)
    settings = load_training(config, overrides or [], network=network)
    silent = quiet or as_json
    from micronas.progress import Bars
    from micronas.report.write import report_line
    from micronas.runs.run import run_training
    from micronas.runs.table import metrics_table
    from micronas.runs.tracking import tracked

    folder = out or Path("runs") / Path(architecture).stem
    said = settings.model_dump(mode="json")
    with (
        stoppable(),
        Bars(quiet=silent) as bars,
        tracked(folder, said, track or (), shown=bars) as progress,
    ):
        tell = None if silent else bars.tell
        trained = run_training(network, settings, folder, progress=progress, tell=tell)
    report = report_line(folder)
    summary = metrics_table(trained.metrics, width=window(wide=False))
    show(trained.metrics, as_json, lambda: f"{summary}\nrun folder: {folder}\n{report}")
