"""Settings of sensor series. Imports no torch."""

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from micronas.tasks.task import TaskSettings

_LONGEST_UNIT = 16


class SeriesSettings(TaskSettings):
    """Settings of reading recordings of sensors, cutting windows and dividing them."""

    task: Literal["series"] = "series"
    path: Path
    """A CSV file with a column of labels, a folder of CSV files per class, or an ``.npz``."""
    goal: Literal["classes", "anomalies", "regression", "labels"] = "classes"
    """``classes`` tells labels apart. ``anomalies`` learns from recordings labelled `normal` alone
    and finds all others; see `micronas.tasks.series.pretext`. ``regression`` tells the value in the
    column `target`; ``labels`` tells which of several columns `target` of 0 and 1 hold."""
    target: str | tuple[str, ...] = ()
    """For these goals the column of values, such as ``rul``, or those of labels:
    ``[fan, pump, leak]``."""
    unit: str = ""
    """Of the values, such as ``cycles``: what metrics and firmware print behind them."""
    normal: str = "normal"
    """The label without anomalies, for that goal."""
    columns: Literal["auto"] | tuple[str, ...] = "auto"
    """The sensor's channels, in the order of the device. ``auto``: all columns of numbers that
    change except time, label and group."""
    bins: tuple[float, ...] = ()
    """Edges between ranges, for labels that are measured numbers: ``[0.5, 2]`` makes the classes
    ``below 0.5``, ``0.5 to 2`` and ``2 and above``, in that order."""
    label: str = "auto"
    """Column of labels. ``auto``: ``label``, ``class``, ``activity`` or ``target``; files in a
    folder of a class have its name."""
    group: str = "auto"
    """Unit that is never divided between training, validation and test: a column (``auto``:
    ``group``, ``subject``, ``user``, ``device`` or ``session``), ``prefix`` for what stands in a
    file's name before the first ``_`` or ``-``, or ``file``. ``auto`` without such a column is
    ``file``."""
    time: str = "auto"
    """Column of time. ``auto``: ``time``, ``timestamp``, ``t`` or ``datetime``, also with a unit,
    as in ``time_ms`` or ``Time [s]``. A jump of more than ten steps ends a recording, or of more
    than `fill`."""
    rate: float | None = Field(None, gt=0)
    """Samples a second to which every recording is brought by its times: a lower rate is the mean
    of the samples around each new one, a higher one lies on straight lines between them."""
    fill: float | None = Field(None, ge=0)
    """Seconds over which missing values and missing samples are filled, by straight lines; a longer
    gap in time ends a recording, and windows with values missing for longer are left out. None
    fills nothing."""
    window: int = Field(128, ge=8, le=65_535)
    """Samples the network sees at once; the height of its input."""
    stride: int | None = Field(None, ge=1)
    """Samples between the starts of training windows; half a window by default. Windows of
    validation and test overlap only where labels change inside recordings."""
    validation_fraction: float = Field(0.15, gt=0, le=0.4)
    """Share held out where folders or an ``.npz`` do not say which part is which."""
    test_fraction: float = Field(0.2, ge=0, le=0.4)
    jitter: float = Field(0.05, ge=0, le=1)
    """Noise added to training windows, in standard deviations of each channel."""
    scaling: float = Field(0.1, ge=0, lt=1)
    """Training windows become larger or smaller by up to this share."""
    rotation_degrees: float = Field(0, ge=0, le=180)
    """Training windows are turned by up to this angle: axes of each sensor, three columns in a row.
    For a device worn or mounted in different ways."""
    time_warp: float = Field(0, ge=0, le=0.5)
    """Speed of training windows changes by up to this share, smoothly."""
    seed: int = 0
    """Seed of the division into parts."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns of `target`."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def is_even(self) -> bool:
        """Whether samples are brought to equal steps of time."""
        return self.rate is not None or self.fill is not None

    @model_validator(mode="after")
    def _sound(self) -> "SeriesSettings":
        if self.stride is not None and self.stride > self.window:
            raise ValueError(
                f"stride must be at most the window, or samples are lost: stride={self.stride}, "
                f"window={self.window}"
            )
        if list(self.bins) != sorted(set(self.bins)) or not all(map(math.isfinite, self.bins)):
            raise ValueError(f"bins must be rising numbers, but are {list(self.bins)}")
        measured, count = self.goal in ("regression", "labels"), len(self.targets)
        if measured != bool(count) or (self.goal == "regression" and count != 1):
            raise ValueError(
                "data.goal=regression must have one column in data.target, data.goal=labels one "
                f"for each label, and other goals none, but goal={self.goal} has {count}; set "
                "data.target=COLUMN or data.target=[COLUMN, ...]"
            )
        if len(set(self.targets)) < count or {*self.targets} & {*self.columns}:
            raise ValueError(
                f"data.target must name columns once, and none of data.columns: {self.targets}"
            )
        if len(self.unit) > _LONGEST_UNIT or not self.unit.isprintable():
            raise ValueError(
                f"a unit must have at most {_LONGEST_UNIT} characters that can be printed, but is "
                f"{self.unit!r:.60}"
            )
        if self.columns == ():
            raise ValueError("columns must name at least one; leave it out to take all")
        return self
