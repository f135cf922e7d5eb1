"""Settings of data sets that were given as arrays. Imports no torch."""

from pathlib import Path
from typing import Literal

from micronas.tasks.task import TaskSettings

FILE = "data.npz"
"""Name in the run folder."""


class ArraySettings(TaskSettings):
    """Settings of a data set of arrays from Python."""

    task: Literal["arrays"] = "arrays"
    path: Path = Path(FILE)
    """Where the arrays are; a run that is given some writes them into its folder."""
    sha256: str | None = None
    """Hash of the contents, whatever the file's; written by the run."""
