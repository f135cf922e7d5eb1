"""The task ``series``: accelerometers, vibration, currents and other sensors over time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from micronas.tasks.series.settings import SeriesSettings
from micronas.tasks.task import Finding, Task

if TYPE_CHECKING:
    from micronas.data import DataSet


class _Series(Task[SeriesSettings]):
    settings = SeriesSettings

    def load(self, settings: SeriesSettings) -> "DataSet":
        from micronas.tasks.series.load import load

        return load(settings)

    def input(
        self, settings: SeriesSettings, inputs: Sequence[tuple[int, int, int]]
    ) -> tuple[int, int, int] | None:
        from micronas.tasks.series.recordings import read_columns

        return settings.window, 1, len(read_columns(settings))

    def reading(self, inputs: Sequence[tuple[int, int, int]]) -> Mapping[str, object]:
        lengths = {height for height, _, _ in inputs}
        return {"window": lengths.pop()} if len(lengths) == 1 else {}

    def known_of(self, settings: SeriesSettings) -> Mapping[str, object]:
        return {"features": "series"}

    def check(self, settings: SeriesSettings) -> list[Finding]:
        from micronas.tasks.series.check import check

        return check(settings)

    def sample(self, folder: Path, *, seed: int = 0, goal: str | None = None) -> str:
        if goal in ("regression", "labels"):
            from micronas.tasks.series.wear import synthesise as synthesise_wear

            synthesise_wear(folder, seed=seed)
            return (
                "made-up machines that run until they fail as CSV files, for trying the tool: "
                "data.columns=[vibration, pressure, current] data.window=32, and "
                "data.goal=regression data.target=rul data.unit=cycles, or data.goal=labels "
                "data.target=[worn, leaking]"
            )
        from micronas.tasks.series.synth import synthesise

        synthesise(folder, seed=seed)
        return "six axes of made-up gestures as CSV files, for trying the tool and not for products"


TASK = _Series()
