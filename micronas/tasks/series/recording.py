"""A recording of a sensor, and all recordings of a source."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from micronas.tasks.parts import Part
from micronas.tasks.series.times import JUMP

MEASURED = "measured"
"""Label of samples that have targets instead."""
COUNTING = (
    "rises by equal steps in every recording: a network would learn when a sample was taken; leave "
    "it out by data.columns, or name it time_s or time_ms if it is a time"
)
"""Sentence on a channel of `Recordings.counting`, after its name."""
_JUMPS = 0.01
"""Most steps that are gaps or resets, as a share."""
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Recording:
    """Samples of one sensor without a gap."""

    name: str
    label: str
    """Label of the first samples, up to the first of `changes`; empty without one."""
    group: str
    values: Floats
    """[samples, channels]."""
    part: Part | None = None
    """Part of the data set, if the source gives it."""
    rate_hz: float | None = None
    source: str = ""
    """Path of the file."""
    changes: tuple[tuple[int, str], ...] = ()
    """First sample of another label, and that label; rising."""
    targets: Floats | None = None
    """Targets [samples, targets], for goals with targets; the label is then `MEASURED`."""
    filled: int = 0
    """Number of samples that were filled in."""
    assumed: str = ""
    """Unit of times that was assumed; empty where none was."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that occur, in their order, without the empty one."""
        return tuple(filter(None, dict.fromkeys([self.label, *(name for _, name in self.changes)])))

    def stretches(self) -> "list[Recording]":
        """Return a recording for each stretch of one label."""
        if not self.changes:
            return [self]
        starts = [(0, self.label), *self.changes]
        ends = [start for start, _ in self.changes] + [len(self.values)]
        return [
            replace(
                self,
                name=f"{self.name}, sample {start + 1} on",
                label=label,
                values=self.values[start:end],
                targets=None if self.targets is None else self.targets[start:end],
                changes=(),
            )
            for (start, label), end in zip(starts, ends, strict=True)
            if label
        ]


@dataclass
class Recordings:
    """Contents of a source."""

    root: Path
    columns: tuple[str, ...]
    layout: str
    """Layout of the source, in words."""
    recordings: list[Recording] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """Errors of unreadable files, one line each."""
    unlabelled: int = 0
    """Number of samples without a label."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns that were left out by themselves, and the reasons."""
    windowed: bool = False
    """Recordings are whole windows already."""

    def counting(self) -> list[str]:
        """Return the channels that rise by equal steps, within rounding, in every recording of two
        samples or more: times and numbers of samples."""
        found = [_rises_evenly(each.values) for each in self.recordings if len(each.values) > 1]
        return [
            name
            for name, evenly in zip(self.columns, zip(*found, strict=True), strict=False)
            if all(evenly)
        ]


def _rises_evenly(values: Floats) -> npt.NDArray[np.bool_]:
    """Return whether each channel rises at every sample, less than a step off a line: rounding of
    rising values moves them by less."""
    with np.errstate(invalid="ignore"):
        steps = np.diff(values.astype(np.float64), axis=0)
        usual = np.median(steps, 0)
        jumps = (steps <= 0) | (steps > JUMP * usual)
        risen = np.cumsum(np.where(jumps, usual, steps), 0)
        step = risen[-1] / len(risen)
        off = risen - step * np.arange(1, len(values))[:, None]
        even: npt.NDArray[np.bool_] = (jumps.mean(0) <= _JUMPS) & (abs(off) < step).all(0)
    return even
