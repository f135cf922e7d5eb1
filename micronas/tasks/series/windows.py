"""Cut recordings into windows of one length."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from micronas.tasks.parts import Part
from micronas.tasks.series.recordings import Floats, Recording
from micronas.tasks.series.settings import SeriesSettings

_FEWEST = 5
"""Units of each label that a search needs: it divides training windows in three, class by class."""
_STRETCHES = 10
"""Of a recording, where there are fewer units than that."""


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


def units(windows: Windows) -> Tensor:
    """Return what a search must not divide, int64 [windows]: groups, where there are enough.

    Else recordings, else stretches of them: with one recording of a class, or two people, a search
    would otherwise rank networks on classes that they have not seen, or have nothing to rank on.
    """
    stretches, seen = [], Counter[int]()
    lengths = Counter(windows.recordings)
    for recording in windows.recordings:
        stretches.append((recording, seen[recording] * _STRETCHES // lengths[recording]))
        seen[recording] += 1
    kinds: tuple[Sequence[object], ...] = (windows.groups, windows.recordings, stretches)
    for kind in kinds:
        pairs = {*zip(windows.labels, kind, strict=True)}
        enough = min(Counter(label for label, _ in pairs).values(), default=0) >= _FEWEST
        if enough or kind is stretches:
            break
    places = {name: place for place, name in enumerate(dict.fromkeys(kind))}
    return torch.tensor([places[name] for name in kind])
