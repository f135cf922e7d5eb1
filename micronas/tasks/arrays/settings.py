"""Settings of data sets given as arrays. Imports no torch."""

from pathlib import Path
from typing import Literal

from micronas.tasks.task import TaskSettings

FILE = "data.npz"
"""Name of the file in the run folder."""


class ArraySettings(TaskSettings):
    """Settings of a data set of arrays from Python."""

    task: Literal["arrays"] = "arrays"
    path: Path = Path(FILE)
    """File of the arrays, which a run on arrays writes into its folder."""
    sha256: str | None = None
    """Hash of the arrays, not of the file; written by the run."""
