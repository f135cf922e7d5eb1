"""The command that serves experts."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.shared import Overrides


def serve(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A serve configuration's YAML.")],
    overrides: Overrides = None,
) -> None:
    """Serve the experts behind one OpenAI-compatible address until Ctrl-C; SIGHUP reloads."""
    from micronas.router.serve.server import serve as run
    from micronas.router.serve.settings import read_settings

    read = partial(read_settings, config, overrides or [])
    settings = read()
    if any(each.callable is not None for each in settings.experts):
        # functions may stand beside the configuration, but nothing there replaces a package
        sys.path.append(str(config.resolve().parent))
    run(settings, read=read)
