"""The task ``arrays``: a data set given in Python, kept in the run folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from micronas.errors import DataError
from micronas.tasks.arrays.settings import ArraySettings
from micronas.tasks.task import Finding, Task

if TYPE_CHECKING:
    from micronas.data import DataSet


class _Arrays(Task[ArraySettings]):
    settings = ArraySettings

    def load(self, settings: ArraySettings) -> "DataSet":
        from micronas.tasks.arrays.store import load

        return load(settings)

    def check(self, settings: ArraySettings) -> list[Finding]:
        return []  # loading finds all faults

    def sample(self, folder: Path, *, seed: int = 0) -> str:
        raise DataError(
            "arrays must come from Python, so there is no sample of them; give a DataSet to "
            "run_search, or make a sample of another task"
        )


TASK = _Arrays()
