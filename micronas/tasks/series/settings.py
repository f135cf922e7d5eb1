"""Settings of sensor series. Imports no torch."""

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from micronas.tasks.task import TaskSettings


class SeriesSettings(TaskSettings):
    """Settings of reading recordings of sensors, cutting windows and dividing them."""

    task: Literal["series"] = "series"
    path: Path
    """A CSV file with a column of labels, a folder of CSV files per class, or an ``.npz``."""
    goal: Literal["classes", "anomalies"] = "classes"
    """``classes`` tells labels apart. ``anomalies`` learns from recordings labelled `normal` alone
    and finds all others; see `micronas.tasks.series.pretext`."""
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
    """Column of time. ``auto``: ``time``, ``timestamp`` or ``t``, also with ``_s``, ``_ms`` or
    ``_us``. A jump of more than ten steps ends a recording."""
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

    @field_validator("goal", mode="before")
    @classmethod
    def _known_goal(cls, goal: object) -> object:
        if goal not in ("classes", "anomalies"):
            raise ValueError(
                f"a goal must be classes or anomalies, but got {goal!r}; there is no regression: "
                "labels that are numbers become classes of ranges by data.bins=[EDGE, ...], and a "
                "network with a loss of your own goes through micronas.to_tflite"
            )
        return goal

    @model_validator(mode="after")
    def _sound(self) -> "SeriesSettings":
        if self.stride is not None and self.stride > self.window:
            raise ValueError(
                f"stride must be at most the window, or samples are lost: stride={self.stride}, "
                f"window={self.window}"
            )
        if list(self.bins) != sorted(set(self.bins)) or not all(map(math.isfinite, self.bins)):
            raise ValueError(f"bins must be rising numbers, but are {list(self.bins)}")
        if self.columns == ():
            raise ValueError("columns must name at least one; leave it out to take all")
        return self
