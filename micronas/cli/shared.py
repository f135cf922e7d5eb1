"""Options that several commands share, and the function that prints their answers."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from micronas.cli.complete import settings
from micronas.errors import ConfigError
from micronas.text import to_csv

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV on stdout and nothing else.")]
Wide = Annotated[bool, typer.Option("--wide", help="Show all columns, with long lines.")]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Log to mlflow or wandb, beside TensorBoard; may be repeated."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress bars.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings, such as `micronas config` shows",
        autocompletion=settings,
    ),
]


def show(
    value: Any,
    as_json: bool,
    text: Callable[[], str],
    *,
    as_csv: bool = False,
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Print a command's answer: the value as JSON, rows as CSV, or text.

    Parameters
    ----------
    rows
        Rows of a table, where the table is a part of the value.
    """
    if as_json and as_csv:
        raise ConfigError("an answer must have one form, but both --json and --csv are given")
    if as_csv:
        typer.echo(to_csv(value if rows is None else rows))
    else:
        typer.echo(json.dumps(value, indent=2) if as_json else text())


def window(wide: bool) -> int | None:
    """Return the width of the terminal in characters; None for no limit."""
    return None if wide else shutil.get_terminal_size().columns
