"""The command line: read arguments, call the library and print, without further logic."""

import sys
from typing import Annotated

import typer

from micronas._version import VERSION
from micronas.cli.alive import sign_of_life
from micronas.cli.calibrate import calibrate
from micronas.cli.config import config
from micronas.cli.data import data_app
from micronas.cli.doctor import doctor
from micronas.cli.ending import one_line_errors
from micronas.cli.hardware import boards, profile, spaces
from micronas.cli.judge import judge_app
from micronas.cli.listen import listen
from micronas.cli.models import export, verify
from micronas.cli.report import report
from micronas.cli.router import router_app
from micronas.cli.runs import search, train
from micronas.cli.sweep import sweep

app = typer.Typer(
    name="micronas",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Give micronas a data set and a board; it returns the most accurate int8 network that "
    "fits the board's SRAM, flash and latency, as a TFLite Micro flatbuffer.",
)
for command in (
    *(boards, spaces, search, sweep, train, report),
    *(export, profile, verify, listen, calibrate, config, doctor),
):
    app.command()(command)
app.add_typer(data_app, name="data")
app.add_typer(router_app, name="router")
app.add_typer(judge_app, name="judge")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    with one_line_errors(), sign_of_life(sys.argv[1:]):
        app(prog_name="micronas")
