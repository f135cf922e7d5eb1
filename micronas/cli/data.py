"""Commands on data sets."""

from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.complete import tasks
from micronas.cli.ending import stoppable
from micronas.cli.shared import Json, Overrides, Quiet, show

data_app = typer.Typer(no_args_is_help=True, help="Make, fetch and check data sets.")

_Task = Annotated[
    str, typer.Argument(help="Task, such as kws; a wrong one lists all.", autocompletion=tasks)
]


@data_app.command("synth")
def data_synth(
    task: _Task,
    folder: Annotated[Path, typer.Argument(help="Folder to write, which must be new or empty.")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    goal: Annotated[
        str | None, typer.Option(help="Goal of series: classes, regression or labels.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Make long recordings of kws instead, this many minutes of each part."),
    ] = None,
    made_up: Annotated[
        int | None,
        typer.Option(help="Clips of made-up words by each voice of kws, for networks that listen."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a small corpus; nothing is downloaded."""
    from micronas.tasks.registry import sample

    content = sample(task, folder, seed=seed, goal=goal, minutes=minutes, made_up=made_up)
    show({"folder": str(folder), "content": content}, as_json, lambda: f"{folder}: {content}")


@data_app.command("download")
def data_download(
    task: _Task,
    folder: Annotated[
        Path, typer.Argument(help="Folder to unpack to; a stopped download continues.")
    ],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch the public data set of a task; Speech Commands, for one, from its publisher."""
    from micronas.progress import Bars
    from micronas.tasks.registry import download

    with stoppable(), Bars(quiet=quiet or as_json) as bars:
        download(task, folder, progress=bars)
    show({"folder": str(folder), "task": task}, as_json, lambda: f"{folder}: whole and unpacked")


@data_app.command("check")
def data_check(
    task: _Task,
    folder: Annotated[Path, typer.Argument(help="Folder in the task's layout.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Report the data as read by a search; what is refused, missing, damaged or shared."""
    from micronas.tasks.registry import check

    # other commands take data.path=FOLDER
    folder = Path(str(folder).removeprefix("data.path="))
    checked = check(task, folder, overrides or [])
    show(checked.described(), as_json, lambda: str(checked))
    if checked.findings:
        raise typer.Exit(1)
