"""The command that serves experts."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.shared import Overrides


def serve(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A serve configuration's YAML.")],
    overrides: Overrides = None,
) -> None:
    """Serve the experts behind one OpenAI-compatible address until Ctrl-C."""
    from micronas.router.serve.server import serve as run
    from micronas.router.serve.settings import read_settings

    # functions named by `callable` may stand beside the configuration
    sys.path.insert(0, str(config.resolve().parent))
    run(read_settings(config, overrides or []))
