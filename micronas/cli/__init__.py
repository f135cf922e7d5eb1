"""The command line: reads arguments, calls the library, prints. It holds no logic of its own."""

import errno
import sys
from typing import Annotated

import typer

from micronas._version import VERSION
from micronas.cli.calibrate import calibrate
from micronas.cli.data import data_app
from micronas.cli.doctor import doctor
from micronas.cli.hardware import boards, profile, spaces
from micronas.cli.judge import judge_app
from micronas.cli.models import export, verify
from micronas.cli.report import report
from micronas.cli.router import router_app
from micronas.cli.runs import search, train
from micronas.cli.sweep import sweep
from micronas.errors import MicronasError

app = typer.Typer(
    name="micronas",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Give micronas a data set and a board; it returns the most accurate int8 network that "
    "fits the board's SRAM, flash and latency, as a TFLite Micro flatbuffer.",
)
for command in (
    *(boards, spaces, search, sweep, train, report),
    *(export, profile, verify, calibrate, doctor),
):
    app.command()(command)
app.add_typer(data_app, name="data")
app.add_typer(router_app, name="router")
app.add_typer(judge_app, name="judge")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    """Run the command line; what a user can cause ends as one line and exit code 2."""
    try:
        app(prog_name="micronas")
    except MicronasError as error:
        _end(str(error))
    except ModuleNotFoundError as error:
        from micronas.installation import missing_package

        message = missing_package(error)
        if message is None:
            raise
        _end(message)
    except OSError as error:
        _end(_of_a_file(error))
    except MemoryError as error:
        _end(
            f"all inputs must fit into memory, but {error or 'it is full'}; look for a huge number"
        )
    except RecursionError as error:
        _end(f"inputs must not be nested without end, but {error}; look for repeated brackets")


def _end(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _of_a_file(error: OSError) -> str:
    what = f"{error.strerror or error}: {error.filename or 'a file'}"
    if error.errno in _FULL:
        return (
            f"the disk must have room for what is written, but {what}; free some and run the same "
            "command again, which goes on from the last saved step"
        )
    return f"files must be readable and their folders writable, but {what}; look at its rights"
