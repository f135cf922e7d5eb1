"""Settings of data sets that were given as arrays. Imports no torch."""

from pathlib import Path
from typing import Literal

from micronas.tasks.task import TaskSettings

FILE = "data.npz"
"""Name in the run folder."""


class ArraySettings(TaskSettings):
    """What a run on arrays from Python was trained on."""

    task: Literal["arrays"] = "arrays"
    path: Path = Path(FILE)
    """Where the arrays are; a run that is given some writes them into its folder."""
    sha256: str | None = None
    """Of the contents, whatever the file's; written by the run."""
