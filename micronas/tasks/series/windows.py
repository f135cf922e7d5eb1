"""Cut recordings into windows of one length."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from micronas.errors import DataError
from micronas.tasks.parts import Part
from micronas.tasks.series.recording import Floats, Recording
from micronas.tasks.series.settings import SeriesSettings
from micronas.text import listed

_FEWEST = 5
"""Least units of each label for a search, which divides training windows in three by class."""
_STRETCHES = 10
"""Pieces of a recording, where groups and recordings are fewer than `_FEWEST`."""
_MOST = 20_000
"""Most evaluation windows where labels change: integer execution takes minutes for more."""


@dataclass
class Windows:
    """Windows of one part, and unusable ones."""

    values: list[Floats] = field(default_factory=list)
    """Windows, each [time, channels]."""
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    recordings: list[int] = field(default_factory=list)
    """Index of each window's recording within the part."""
    short: list[str] = field(default_factory=list)
    """Names of recordings shorter than a window."""
    with_nan: Counter[str] = field(default_factory=Counter)
    """Number of windows left out for missing values, by label."""
    targets: list[Floats] = field(default_factory=list)
    """Targets of windows, each [targets], for goals with targets."""
    within: list[bool] = field(default_factory=list)
    """Flag of each window: it has one label throughout."""
    apart: int = 0
    """Number of windows of which no two share a sample."""


def cut_windows(
    recordings: Sequence[Recording], settings: SeriesSettings, part: Part, *, whole: bool = False
) -> Windows:
    """Cut recordings of a part; training windows overlap, others where labels change (`sliding`).

    A window has the label of its last sample, as on a device, which sees the samples before it; a
    window whose last sample has no label is left out. With `whole`, every recording is one window.
    """
    size = settings.window
    if part == "training" and not whole:
        stride = settings.stride or size // 2
    else:
        stride = sliding(recordings, settings) or size
    cut = Windows()
    for place, recording in enumerate(recordings):
        if len(recording.values) < size:
            cut.short.append(recording.name)
            continue
        names = (recording.label, *(name for _, name in recording.changes))
        changes = np.array([at for at, _ in recording.changes], np.int64)
        starts = np.arange(0, len(recording.values) - size + 1, stride)
        first = np.searchsorted(changes, starts, "right")
        last = np.searchsorted(changes, starts + size - 1, "right")
        absent = np.append(0, np.cumsum(~np.isfinite(recording.values).all(axis=1)))
        missing = absent[starts + size] > absent[starts]
        free = 0
        for start, is_within, end, is_missing in zip(
            starts.tolist(), (first == last).tolist(), last.tolist(), missing.tolist(), strict=True
        ):
            label = names[end]
            targets = None if recording.targets is None else recording.targets[start + size - 1]
            if targets is not None and not np.isfinite(targets).all():
                continue
            if is_missing and label:
                cut.with_nan[label] += 1
            if is_missing or not label:
                continue
            cut.values.append(recording.values[start : start + size])
            cut.labels.append(label)
            if targets is not None:
                cut.targets.append(targets)
            cut.groups.append(recording.group)
            cut.recordings.append(place)
            cut.within.append(is_within)
            if start >= free:
                free = start + size
                cut.apart += 1
    return cut


def sliding(recordings: Sequence[Recording], settings: SeriesSettings) -> int | None:
    """Return the samples between evaluation windows where labels change inside recordings.

    It is one, or as many as leave `_MOST` windows; None where no label changes, since windows
    without common samples then suffice.
    """
    if not any(each.changes or _changes(each.targets) for each in recordings):
        return None
    count = sum(max(len(each.values) - settings.window + 1, 0) for each in recordings)
    return max(-(-count // _MOST), 1)


def _changes(targets: Floats | None) -> bool:
    return targets is not None and bool((targets[1:] != targets[:-1]).any())


def require_windows(
    labels: Sequence[str],
    windows: Windows,
    recordings: Sequence[Recording],
    settings: SeriesSettings,
    part: Part,
    columns: Sequence[str],
) -> None:
    """Refuse a part without a whole window of each label, and name the reason."""
    lacking = [label for label in labels if label not in set(windows.labels)]
    if not lacking:
        return
    label = lacking[0]
    own = [each for each in recordings if label in each.labels]
    start = (
        f"every class must have a whole window for {part}, but {listed(lacking)} has none of "
        f"{settings.window} samples"
    )
    if windows.with_nan[label]:
        absent = sum((~np.isfinite(each.values)).sum(axis=0) for each in own)
        worst, count = int(np.argmax(absent)), sum(len(each.values) for each in own)
        raise DataError(
            f"{start} without missing values: column {columns[worst]!r:.60} lacks "
            f"{absent[worst]:,} of {count:,} values of {label:.60}; fill it, or leave it out by "
            "data.columns"
        )
    longest = max(len(each.values) for each in own)
    ending = "" if longest < settings.window else f", and no window of them ends in {label:.60}"
    raise DataError(
        f"{start}: the longest of {len(own)} recordings of {label:.60} has {longest:,}{ending}; "
        "make data.window smaller or record longer"
    )


def units(windows: Windows) -> Tensor:
    """Return the units that a search must not divide, int64 [windows]: groups, where enough.

    Otherwise they are recordings, or else stretches of recordings: with one recording of a class,
    or two people, a search would rank networks on classes that they were not trained on, or on
    nothing.
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
    return _numbered(kind)


def judging_units(windows: Windows, training: Windows) -> Tensor:
    """Return the units of intervals, int64 [windows]: groups, however few, where training has seen
    none of them; stretches of two machines say nothing of a third."""
    seen = {*windows.groups} & {*training.groups}
    return units(windows) if seen else _numbered(windows.groups)


def _numbered(names: Sequence[object]) -> Tensor:
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([places[name] for name in names])
