"""Commands on data sets."""

from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.shared import Json, print_json
from micronas.errors import ConfigError

data_app = typer.Typer(no_args_is_help=True, help="Make and check data sets.")


@data_app.command("synth")
def data_synth(
    task: Annotated[str, typer.Argument(help="kws")],
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    seed: int = 0,
) -> None:
    """Make a corpus of synthetic speech, for trying the tool without a download."""
    from micronas.tasks.speech import synthesise

    _require_kws(task)
    synthesise(folder, seed=seed)
    typer.echo(f"{folder}: synthetic speech, for trying the tool and not for products")


@data_app.command("check")
def data_check(
    task: Annotated[str, typer.Argument(help="kws")],
    folder: Annotated[Path, typer.Argument(help="A folder of words.")],
    as_json: Json = False,
) -> None:
    """Report what is missing, damaged or shared between the parts of a data set."""
    from micronas.tasks.kws import check

    _require_kws(task)
    findings = [str(finding) for finding in check(folder)]
    if as_json:
        print_json(findings)
    else:
        typer.echo("\n".join(findings) or "nothing found")
    if findings:
        raise typer.Exit(1)


def _require_kws(task: str) -> None:
    if task != "kws":
        raise ConfigError(f"a task must be kws, but got {task!r}")
