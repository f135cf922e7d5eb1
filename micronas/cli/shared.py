"""Options that several commands share, and the one place where they print an answer."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from micronas.cli.complete import settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress bars.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings, e.g. budget.latency=100ms",
        autocompletion=settings,
    ),
]


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print a command's answer: the value as JSON, or the text for a person."""
    typer.echo(json.dumps(value, indent=2) if as_json else text())


def announce(line: str, silent: bool) -> None:
    """Say to a person at a terminal what begins, unless progress is not wanted."""
    if not silent and sys.stderr.isatty():
        typer.echo(line, err=True)
