"""Cut recordings into windows of one length."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from micronas.tasks.parts import Part
from micronas.tasks.series.recordings import Floats, Recording
from micronas.tasks.series.settings import SeriesSettings


@dataclass
class Windows:
    """Windows of one part, and what could not be used."""

    values: list[Floats] = field(default_factory=list)
    """Each [time, channels]."""
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    recordings: list[int] = field(default_factory=list)
    """Place of each window's recording among those of the part."""
    short: list[str] = field(default_factory=list)
    """Names of recordings that are shorter than a window."""
    with_nan: int = 0
    """Windows left out for missing values."""


def cut_windows(
    recordings: Sequence[Recording], settings: SeriesSettings, part: Part, *, whole: bool = False
) -> Windows:
    """Cut recordings of a part; training windows overlap, those that judge never do.

    Parameters
    ----------
    whole
        Whether every recording is one window.
    """
    size = settings.window
    stride = size if part != "training" or whole else settings.stride or size // 2
    cut = Windows()
    for place, recording in enumerate(recordings):
        if len(recording.values) < size:
            cut.short.append(recording.name)
            continue
        for start in range(0, len(recording.values) - size + 1, stride):
            window = recording.values[start : start + size]
            if not np.isfinite(window).all():
                cut.with_nan += 1
                continue
            cut.values.append(window)
            cut.labels.append(recording.label)
            cut.groups.append(recording.group)
            cut.recordings.append(place)
    return cut
