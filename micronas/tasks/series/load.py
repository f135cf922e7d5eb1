"""Sensor series: recordings cut into windows, as a data set."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from micronas.data import DataSet, Sliding, TensorSplit
from micronas.errors import ConfigError, DataError
from micronas.objectives.base import Objective
from micronas.objectives.classes import Classes
from micronas.objectives.labels import Labels
from micronas.objectives.regression import Regression
from micronas.quantities import rounded
from micronas.tasks.parts import Part
from micronas.tasks.series.augment import augment
from micronas.tasks.series.described import as_inputs, meaning, summarise
from micronas.tasks.series.front_end import fit_scaler, moments
from micronas.tasks.series.labels import in_order
from micronas.tasks.series.parts import divide
from micronas.tasks.series.pretext import load_anomalies
from micronas.tasks.series.recording import MEASURED, Floats, Recordings
from micronas.tasks.series.recordings import read_recordings
from micronas.tasks.series.settings import SeriesSettings
from micronas.tasks.series.statistics import statistics
from micronas.tasks.series.windows import (
    Windows,
    cut_windows,
    judging_units,
    require_windows,
    sliding,
    units,
)
from micronas.text import listed


def load(settings: SeriesSettings) -> DataSet:
    """Read recordings, divide them, cut them into windows and standardise each channel.

    See `micronas.tasks.series.recordings` for reading and `micronas.tasks.series.parts` for
    dividing. Mean and standard deviation of each channel are those of the training part, rounded
    (`micronas.quantities.rounded`), and are stored in the model file with the order of columns. A
    window has the label or the targets of its last sample, as on a device, which sees the samples
    before it; a window whose last sample lacks them is left out. Where labels or targets change
    inside recordings, evaluation windows begin at every sample (`sliding`).

    Inputs are window x 1 x channels, as a batch [n, channels, window, 1]; `test` is None without a
    test part. Raises DataError if the data is missing or has another layout, a part lacks a class,
    all recordings of a class are shorter than a window, targets do not suit the goal, or float32
    would lose the changes of a channel or target.
    """
    found = read_recordings(settings)
    _check_rotation(settings, found.columns)
    if settings.goal == "anomalies":
        return load_anomalies(found, settings)
    labels = (MEASURED,) if settings.targets else _classes(found, settings)
    division = divide(found.recordings, settings)
    judge: Part = "testing" if division.parts["testing"] else "validation"
    cut = {
        part: cut_windows(each, settings, part, whole=found.windowed)
        for part, each in division.parts.items()
    }
    every = sliding(division.parts[judge], settings)
    for part, windows in cut.items():
        own = division.parts[part]
        if part != "testing" or own:
            require_windows(labels, windows, own, settings, part, found.columns)
    scaler = fit_scaler(np.concatenate(cut["training"].values), found.columns)
    if settings.targets:
        moments(np.stack(cut["training"].targets), settings.targets)
    summary = summarise(found, settings, division, cut, labels, every)

    def split(part: Part) -> TensorSplit:
        return TensorSplit(
            as_inputs(cut[part], scaler),
            _targets(cut[part], labels, settings),
            groups=units(cut[part])
            if part == "training"
            else judging_units(cut[part], cut["training"]),
            augment=partial(augment, settings=settings, scaler=scaler)
            if part == "training"
            else None,
        )

    return DataSet(
        train=split("training"),
        validation=split("validation"),
        test=split("testing") if cut["testing"].labels else None,
        sliding=None
        if every is None
        else Sliding(torch.tensor(cut[judge].within), cut[judge].apart),
        classes=settings.targets or labels,
        input=(settings.window, 1, len(found.columns)),
        statistics=statistics,
        meaning=meaning(found, settings, scaler),
        summary=f"{summary} {_described(cut, settings)}" if settings.targets else summary,
        ignored=settings.ignored,
        objective=_objective(settings),
    )


def _classes(found: Recordings, settings: SeriesSettings) -> tuple[str, ...]:
    classes = in_order((label for each in found.recordings for label in each.labels), settings)
    if len(classes) < 2:
        raise DataError(
            f"there must be at least two classes to tell apart, but {found.root} has only "
            f"{listed(classes)}; add recordings of others, or set data.goal=anomalies"
        )
    if not {*settings.ignored} < {*classes}:
        raise ConfigError(
            "data.ignored must name labels of the data, and leave one that makes events, but is "
            f"{listed(settings.ignored)}, and {found.root} has {listed(classes)}; name others"
        )
    return classes


def _objective(settings: SeriesSettings) -> Objective:
    if settings.goal == "labels":
        return Labels()
    return Regression(unit=settings.unit) if settings.goal == "regression" else Classes()


def _targets(windows: Windows, labels: Sequence[str], settings: SeriesSettings) -> Tensor:
    """Return each window's class, int64 [n], value, float32 [n], or labels, float32 [n, labels]."""
    if not settings.targets:
        return torch.tensor([labels.index(label) for label in windows.labels])
    targets = torch.from_numpy(np.stack(windows.targets)).float()
    return targets if settings.goal == "labels" else targets[:, 0]


def _check_rotation(settings: SeriesSettings, columns: Sequence[str]) -> None:
    if settings.rotation_degrees > 0 and len(columns) % 3:
        raise ConfigError(
            "data.rotation_degrees needs columns in threes, the axes of each sensor, but there "
            f"are {len(columns)} ({listed(columns)}); set data.columns or rotation_degrees=0"
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

    def told(value: float, values: Floats) -> str:
        return f"{rounded(float(value), float(values.std())):.15g}"

    ranges = (
        f"{part} {told(values.min(), values)} to {told(values.max(), values)}, mean "
        f"{told(values.mean(), values)}"
        for part, values in parts.items()
    )
    return (
        f"{settings.targets[0]}{f' in {settings.unit}' * bool(settings.unit)}: {'; '.join(ranges)}."
    )
