"""Recordings with columns of targets (values or several labels), as a data set."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from micronas.data import DataSet, Sliding, TensorSplit
from micronas.objectives.base import Objective
from micronas.objectives.labels import Labels
from micronas.objectives.regression import Regression
from micronas.tasks.parts import Part
from micronas.tasks.series.augment import augment
from micronas.tasks.series.described import as_inputs, meaning, summarise
from micronas.tasks.series.front_end import fit_scaler
from micronas.tasks.series.parts import divide
from micronas.tasks.series.recording import MEASURED, Recordings
from micronas.tasks.series.settings import SeriesSettings
from micronas.tasks.series.statistics import statistics
from micronas.tasks.series.windows import Windows, cut_windows, require_windows, sliding, units


def load_targets(found: Recordings, settings: SeriesSettings) -> DataSet:
    """Return a data set for ``data.goal=regression`` or ``labels``.

    A window has the targets of its last sample, as on a device, which sees the samples before it; a
    window whose last sample lacks a target is left out. Where targets change inside recordings,
    evaluation windows begin at every sample (`sliding`).

    Raises
    ------
    DataError
        If a part has no whole window, or targets do not suit the goal.
    """
    division = divide(found.recordings, settings)
    judge: Part = "testing" if division.parts["testing"] else "validation"
    cut = {part: cut_windows(each, settings, part) for part, each in division.parts.items()}
    every = sliding(division.parts[judge], settings)
    for part, own in division.parts.items():
        if part != "testing" or own:
            require_windows([MEASURED], cut[part], own, settings, part, found.columns)
    scaler = fit_scaler(np.concatenate(cut["training"].values))
    objective: Objective = Regression(unit=settings.unit)
    if settings.goal == "labels":
        objective = Labels()

    def split(part: Part) -> TensorSplit:
        windows = cut[part]
        targets = torch.from_numpy(np.stack(windows.targets)).float()
        return TensorSplit(
            as_inputs(windows, scaler),
            targets if settings.goal == "labels" else targets[:, 0],
            groups=units(windows),
            augment=partial(augment, settings=settings, scaler=scaler)
            if part == "training"
            else None,
        )

    said = summarise(found, settings, division, cut, [MEASURED], every)
    return DataSet(
        train=split("training"),
        validation=split("validation"),
        test=split("testing") if cut["testing"].labels else None,
        sliding=None
        if every is None
        else Sliding(torch.tensor(cut[judge].within), cut[judge].apart, every),
        classes=settings.targets,
        input=(settings.window, 1, len(found.columns)),
        statistics=statistics,
        meaning=meaning(found, settings, scaler),
        summary=f"{said} {_described(cut, settings)}",
        objective=objective,
    )


def _described(cut: Mapping[Part, Windows], settings: SeriesSettings) -> str:
    """Return a sentence on the targets of each part."""
    parts = {part: np.stack(each.targets) for part, each in cut.items() if each.targets}
    if settings.goal == "labels":
        shares = (
            f"{part} "
            + ", ".join(
                f"{name} {100 * share:.0f} %"
                for name, share in zip(settings.targets, values.mean(0).tolist(), strict=True)
            )
            for part, values in parts.items()
        )
        return f"Labels hold, of windows: {'; '.join(shares)}."
    ranges = (
        f"{part} {values.min():.4g} to {values.max():.4g}, mean {values.mean():.4g}"
        for part, values in parts.items()
    )
    return (
        f"{settings.targets[0]}{f' in {settings.unit}' * bool(settings.unit)}: {'; '.join(ranges)}."
    )
