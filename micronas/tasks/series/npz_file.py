"""Read recordings of an `.npz`: whole windows, or an array for each class."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from micronas.errors import DataError
from micronas.npz import Array, read_arrays, read_shapes
from micronas.tasks.parts import PARTS, PARTS_BY_NAME
from micronas.tasks.series.labels import as_classes
from micronas.tasks.series.recording import Floats, Recording, Recordings
from micronas.tasks.series.settings import SeriesSettings
from micronas.text import listed

_MOST_CHANNELS = 65_535


def npz_columns(settings: SeriesSettings) -> tuple[str, ...]:
    """Return the channels by an array's header, without unpacking."""
    if settings.columns != "auto":
        return settings.columns
    try:
        shapes = read_shapes(settings.path)
    except ValueError as error:
        raise _unreadable(settings.path, error) from error
    name = "x" if "x" in shapes else next(iter(shapes), None)
    shape = () if name is None else shapes[name]
    count = shape[-1] if len(shape) == (3 if name == "x" else 2) else 1
    if count > _MOST_CHANNELS:
        raise DataError(
            f"recordings must have at most {_MOST_CHANNELS:,} channels, but {settings.path} has "
            f"{count:,}; the last axis is that of channels"
        )
    return tuple(f"c{place + 1}" for place in range(count))


def read_npz(settings: SeriesSettings) -> Recordings:
    """Read windows ``x`` [N, time, channels] with labels ``y``, or an array for each class."""
    if settings.is_even:
        raise DataError(
            f"recordings must have a column of time to be resampled, but {settings.path} is an "
            ".npz; export CSV, or leave out data.rate and data.fill"
        )
    if settings.targets:
        raise DataError(
            f"values and several labels at once are read from columns of CSV files, but "
            f"{settings.path} is an .npz; export CSV, or give a DataSet with "
            "objective=Regression() or Labels() to micronas.run"
        )
    columns = npz_columns(settings)
    try:
        arrays = read_arrays(settings.path)
    except ValueError as error:
        raise _unreadable(settings.path, error) from error
    if not isinstance(arrays, dict):
        raise DataError(
            f"an .npz must hold named arrays, but {settings.path} holds one; use numpy.savez"
        )
    windowed = "x" in arrays
    found = list(_windows(arrays, settings) if windowed else _arrays(arrays, settings.path))
    wrong = [each.name for each in found if each.values.shape[1:] != (len(columns),)]
    if wrong or not found:
        raise DataError(
            f"an .npz must hold x [N, time, channels] and y [N], or an array [time] or [time, "
            f"channels] of each class, all of as many channels as data.columns, but "
            f"{settings.path} does not ({listed(wrong) or 'no array'}); save it again"
        )
    layout = "windows x and y" if windowed else "an array of each class"
    left_out = {
        name: "not x, y, groups or part"
        for name in arrays
        if windowed and name not in ("x", "y", "groups", "part")
    }
    return Recordings(settings.path, columns, layout, found, left_out=left_out, windowed=windowed)


def _unreadable(path: Path, error: ValueError) -> DataError:
    return DataError(
        f"an .npz must be readable and hold arrays of numbers, labels as text, but {path} does "
        f"not: {error}; correct data.path, or write it with numpy.savez"
    )


def _windows(arrays: Mapping[str, Array], settings: SeriesSettings) -> Iterator[Recording]:
    values = floats(arrays["x"], settings.path)
    count = values.shape[:1]
    if "y" in arrays:
        labels = _texts(arrays["y"], settings)
    elif settings.goal == "anomalies":
        labels = np.full(count, settings.normal)
    else:
        raise DataError(
            f"windows x must have labels y, but {settings.path} has none; add y [N], or set "
            "data.goal=anomalies where none is labelled"
        )
    groups = arrays.get("groups", np.arange(*count) if count else labels)
    parts = arrays.get("part", np.full(count, ""))
    if values.ndim == 2:
        values = values[..., None]
    sizes = {each.shape for each in (labels, groups, parts)}
    if values.ndim != 3 or sizes != {count}:
        raise DataError(
            "windows must be x [N, time, channels], y [N], groups [N] and part [N], but "
            f"{settings.path} has x {list(values.shape)}, y {list(labels.shape)}, groups "
            f"{list(groups.shape)} and part {list(parts.shape)}; save it again"
        )
    if values.shape[2] == settings.window != values.shape[1]:
        raise DataError(
            f"windows must be x [N, time, channels], but those of {settings.path} are "
            f"{list(values.shape)}, with {settings.window} samples (data.window) last; save "
            "x.transpose(0, 2, 1)"
        )
    if values.shape[1] != settings.window:
        raise DataError(
            f"windows must be x [N, {settings.window}, channels] (data.window), but those of "
            f"{settings.path} have {values.shape[1]} samples; set data.window={values.shape[1]}"
        )
    known = {str(each): PARTS_BY_NAME.get(str(each).lower()) for each in np.unique(parts)}
    wrong = [name for name, part in known.items() if name and part is None]
    if wrong:
        raise DataError(
            f"part must hold {listed(PARTS)}, or nothing for training, but that of "
            f"{settings.path} has {listed(wrong)}; save it again"
        )
    rows = zip(values, labels, groups, parts, strict=True)
    for place, (window, label, group, part) in enumerate(rows):
        yield Recording(f"x[{place}]", str(label), str(group), window, known[str(part)])


def _arrays(arrays: Mapping[str, Array], path: Path) -> Iterator[Recording]:
    for name, array in arrays.items():
        values = floats(array, path)
        yield Recording(name, name, name, values[:, None] if values.ndim == 1 else values)


def _texts(labels: Array, settings: SeriesSettings) -> npt.NDArray[np.str_]:
    try:
        named = np.where(labels == labels, labels.astype(np.str_), "")
        return as_classes(named, settings)
    except (ValueError, TypeError) as error:
        raise _unreadable(settings.path, ValueError(f"y is no text: {error}")) from error


def floats(values: Array, path: Path) -> Floats:
    """Return numbers; those too large for float32 become infinite, which counts as missing."""
    if values.dtype.kind not in "biuf":
        raise _unreadable(path, ValueError(f"values are of type {values.dtype}"))
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return np.where(np.isinf(single), single, values)
