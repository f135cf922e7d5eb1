"""Settings of sensor series. Imports no torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from micronas.tasks.task import TaskSettings

_LONGEST_UNIT = 16


class SeriesSettings(TaskSettings):
    """Settings of reading recordings of sensors, cutting windows and dividing them."""

    task: Literal["series"] = "series"
    path: Path
    """CSV file with a column of labels, a folder of CSV files per class, or an ``.npz``."""
    goal: Literal["classes", "anomalies", "regression", "labels"] = "classes"
    """``classes``: classify labels. ``anomalies``: learn from recordings labelled `normal`, or
    without any label, and detect all others; see `micronas.tasks.series.pretext`. ``regression``:
    predict the value in the column `target`. ``labels``: predict which of several columns `target`
    of 0 and 1 hold."""
    target: str | tuple[str, ...] = ()
    """Column of values for ``regression``, such as ``rul``; columns for ``labels``: ``[fan, pump,
    leak]``."""
    unit: str = ""
    """Unit of the values, such as ``cycles``, which metrics and firmware print after them."""
    normal: str = "normal"
    """Label without anomalies, for ``anomalies``."""
    columns: Literal["auto"] | tuple[str, ...] = "auto"
    """Channels of the sensor, in the order of the device. ``auto``: all columns of numbers that
    change, except time, label and group."""
    bins: tuple[float, ...] = ()
    """Edges between ranges, for labels that are measured numbers: ``[0.5, 2]`` makes the classes
    ``below 0.5``, ``0.5 to 2`` and ``2 and above``, in that order."""
    label: str = "auto"
    """Column of labels. ``auto``: the folder of a class, else ``label``, ``class``, ``activity`` or
    ``target``."""
    ignored: tuple[str, ...] = ()
    """Labels that make no events on a device, such as ``rest``; for ``classes``."""
    group: str = "auto"
    """Unit that is never divided between training, validation and test: a column (``auto``:
    ``group``, ``subject``, ``user``, ``device`` or ``session``), ``prefix`` for the text before the
    first ``_`` or ``-`` of a file's name, or ``file``. ``auto`` without such a column is
    ``file``."""
    time: str = "auto"
    """Column of time. ``auto``: ``time``, ``timestamp``, ``t`` or ``datetime``, also with a unit,
    as in ``time_ms`` or ``Time [s]``. A jump of more than ten steps, or more than `fill` where that
    is set, ends a recording."""
    rate: float | None = Field(None, gt=0)
    """Samples per second to which every recording is resampled by its times: a lower rate takes
    means of the samples around each new one, a higher rate interpolates linearly."""
    fill: float | None = Field(None, ge=0)
    """Longest gap in seconds over which missing values and samples are interpolated linearly; a
    longer gap in time ends a recording, and windows with values missing for longer are left out.
    None fills nothing."""
    window: int = Field(128, ge=8, le=65_535)
    """Samples of a window, the height of the network's input."""
    stride: int | None = Field(None, ge=1)
    """Samples between the starts of training windows, by default half a window. Windows of
    validation and test overlap only where labels change inside recordings."""
    validation_fraction: float = Field(0.15, gt=0, le=0.4)
    """Share for validation, where folders or an ``.npz`` give no parts."""
    test_fraction: float = Field(0.2, ge=0, le=0.4)
    jitter: float = Field(0.05, ge=0, le=1)
    """Noise added to training windows, in standard deviations of each channel."""
    scaling: float = Field(0.1, ge=0, lt=1)
    """Largest change of amplitude of training windows, as a share, up or down."""
    rotation_degrees: float = Field(0, ge=0, le=180)
    """Largest angle of rotation of training windows, by the axes of each sensor, three columns in a
    row; for a device worn or mounted in different ways."""
    time_warp: float = Field(0, ge=0, le=0.5)
    """Largest change of speed of training windows, as a share; speed varies smoothly."""
    seed: int = 0
    """Seed of the division into parts."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns of `target`."""
        return (self.target,) if isinstance(self.target, str) else self.target

    @property
    def is_even(self) -> bool:
        """Return whether samples are resampled at equal steps of time."""
        return self.rate is not None or self.fill is not None

    @model_validator(mode="after")
    def _sound(self) -> "SeriesSettings":
        if self.stride is not None and self.stride > self.window:
            raise ValueError(
                f"stride must be at most the window, or samples are lost: stride={self.stride}, "
                f"window={self.window}"
            )
        if list(self.bins) != sorted(set(self.bins)):
            raise ValueError(f"bins must be rising numbers, but are {list(self.bins)}")
        measured, count = self.goal in ("regression", "labels"), len(self.targets)
        if measured != bool(count) or (self.goal == "regression" and count != 1):
            raise ValueError(
                "data.goal=regression must have one column in data.target, data.goal=labels one "
                f"for each label, and other goals none, but goal={self.goal} has {count}; set "
                "data.target=COLUMN or data.target=[COLUMN, ...]"
            )
        default = SeriesSettings.model_fields["normal"].default
        if self.goal != "anomalies" and self.normal != default:
            raise ValueError(
                "data.normal must go with data.goal=anomalies, but "
                f"normal={self.normal!r} has goal={self.goal}; set the goal, or leave normal out"
            )
        if self.goal != "classes" and self.ignored:
            raise ValueError(
                "data.ignored must go with data.goal=classes, but "
                f"ignored={[*self.ignored]} has goal={self.goal}; leave it out"
            )
        named = () if self.columns == "auto" else self.columns
        if len(set(self.targets)) < count or {*self.targets} & {*named}:
            raise ValueError(
                f"data.target must name columns once, and none of data.columns: {self.targets}"
            )
        if len(self.unit) > _LONGEST_UNIT or not self.unit.isprintable():
            raise ValueError(
                f"a unit must have at most {_LONGEST_UNIT} characters that can be printed, but is "
                f"{self.unit!r:.60}"
            )
        if self.columns == () or len({*named}) < len(named):
            raise ValueError("columns must name at least one, each once; leave it out to take all")
        return self
