"""Sensor series: recordings cut into windows, as a data set."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from micronas.data import DataSet, Sliding, TensorSplit
from micronas.errors import ConfigError, DataError
from micronas.tasks.parts import Part
from micronas.tasks.series.augment import augment
from micronas.tasks.series.described import as_inputs, meaning, summarise
from micronas.tasks.series.front_end import fit_scaler
from micronas.tasks.series.labels import in_order
from micronas.tasks.series.parts import divide
from micronas.tasks.series.pretext import load_anomalies
from micronas.tasks.series.recordings import read_recordings
from micronas.tasks.series.settings import SeriesSettings
from micronas.tasks.series.statistics import statistics
from micronas.tasks.series.targets import load_targets
from micronas.tasks.series.windows import cut_windows, require_windows, sliding, units
from micronas.text import listed


def load(settings: SeriesSettings) -> DataSet:
    """Read recordings, divide them, cut them into windows and standardise each channel.

    See `micronas.tasks.series.recordings` for reading and `micronas.tasks.series.parts` for
    dividing. Mean and standard deviation of each channel are those of the training part, rounded to
    four digits, and are stored in the model file with the order of columns. Where labels change
    inside recordings, evaluation windows begin at every sample (`sliding`).

    Returns
    -------
    DataSet
        Inputs are window x 1 x channels; as a batch [n, channels, window, 1]. `test` is None
        without a test part.

    Raises
    ------
    DataError
        If the data is missing or has another layout, a part lacks a class, or all recordings of a
        class are shorter than a window.
    """
    found = read_recordings(settings)
    _check_rotation(settings, found.columns)
    if settings.targets:
        return load_targets(found, settings)
    if settings.goal == "anomalies":
        return load_anomalies(found, settings)
    classes = in_order((label for each in found.recordings for label in each.labels), settings)
    if len(classes) < 2:
        raise DataError(
            f"there must be at least two classes to tell apart, but {found.root} has only "
            f"{listed(classes)}; add recordings of others, or set data.goal=anomalies"
        )
    division = divide(found.recordings, settings)
    judge: Part = "testing" if division.parts["testing"] else "validation"
    cut = {
        part: cut_windows(each, settings, part, whole=found.windowed)
        for part, each in division.parts.items()
    }
    every = sliding(division.parts[judge], settings)
    for part, windows in cut.items():
        if part != "testing" or division.parts[part]:
            own = division.parts[part]
            require_windows(classes, windows, own, settings, part, found.columns)
    scaler = fit_scaler(np.concatenate(cut["training"].values))

    def split(part: Part) -> TensorSplit:
        windows = cut[part]
        return TensorSplit(
            as_inputs(windows, scaler),
            torch.tensor([classes.index(label) for label in windows.labels]),
            groups=units(windows),
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
        else Sliding(torch.tensor(cut[judge].within), cut[judge].apart, every),
        classes=classes,
        input=(settings.window, 1, len(found.columns)),
        statistics=statistics,
        meaning=meaning(found, settings, scaler),
        summary=summarise(found, settings, division, cut, classes, every),
    )


def _check_rotation(settings: SeriesSettings, columns: Sequence[str]) -> None:
    if settings.rotation_degrees > 0 and len(columns) % 3:
        raise ConfigError(
            "data.rotation_degrees needs columns in threes, the axes of each sensor, but there "
            f"are {len(columns)} ({listed(columns)}); set data.columns or rotation_degrees=0"
        )
