"""The command that serves experts."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.shared import Overrides


def serve(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file of a serve configuration.")
    ],
    overrides: Overrides = None,
) -> None:
    """Serve the experts behind one OpenAI-compatible address; Ctrl-C ends it, SIGHUP reloads."""
    from micronas.router.serve.server import serve as run
    from micronas.router.serve.settings import read_settings

    read = partial(read_settings, config, overrides or [])
    run(read(), read=read)
