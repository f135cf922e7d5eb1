"""Find and read recordings: a CSV file, folders of CSV files, or an `.npz`."""

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from micronas.errors import DataError
from micronas.tasks.parts import Part
from micronas.tasks.series.csv_table import Header, read_header, read_numbers, read_texts
from micronas.tasks.series.labels import as_classes
from micronas.tasks.series.settings import SeriesSettings

_LABELS = ("label", "class", "activity", "target")
_GROUPS = ("group", "subject", "user", "device", "session")
_TIMES = tuple(
    f"{name}{unit}" for name in ("time", "timestamp", "t") for unit in ("", "_s", "_ms", "_us")
)
_UNITS = {"_s": 1.0, "_ms": 1e-3, "_us": 1e-6}
_PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "testing"),
}
_JUMP = 10
"""Median steps of time beyond which a recording ends."""

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Recording:
    """Samples of one sensor, one label, without a gap."""

    name: str
    label: str
    group: str
    values: Floats
    """[samples, channels]."""
    part: Part | None = None
    """Where the source says it."""
    rate_hz: float | None = None
    source: str = ""
    """The file."""


@dataclass
class Recordings:
    """What a source holds."""

    root: Path
    columns: tuple[str, ...]
    layout: str
    """What was found, in words."""
    recordings: list[Recording] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """One line each."""
    windowed: bool = False
    """Whether examples are whole windows already."""


@dataclass(frozen=True)
class _Source:
    """A file to read, and what its place says."""

    path: Path
    label: str | None
    part: Part | None


def read_recordings(settings: SeriesSettings) -> Recordings:
    """Read all recordings; a file that cannot be read is left out and named.

    Raises
    ------
    DataError
        If there is no such file or folder, nothing in it can be read, or a column is missing in
        all files.
    """
    if settings.path.suffix.lower() == ".npz":
        return _read_npz(settings)
    sources = _sources(settings.path)
    columns = _columns(settings, _first_header(sources))
    labelled = any(each.label is not None for each in sources)
    layout = "a folder of CSV files per class" if labelled else "CSV with a column of labels"
    found = Recordings(settings.path, columns, layout)
    for source in sources:
        try:
            found.recordings += _read_csv(source, settings, columns)
        except DataError as error:
            found.unreadable.append(str(error))
    if not found.recordings:
        raise DataError(
            f"recordings must be readable, but none of {len(sources)} files of {settings.path} is: "
            f"{found.unreadable[0]}"
        )
    return found


def read_columns(settings: SeriesSettings) -> tuple[str, ...]:
    """Return the channels a source has, by its first lines alone."""
    if settings.path.suffix.lower() == ".npz":
        return _npz_columns(settings)
    return _columns(settings, _first_header(_sources(settings.path)))


def _sources(path: Path) -> list[_Source]:
    if path.is_file():
        return [_Source(path, None, None)]
    if not path.is_dir():
        raise DataError(
            f"recordings must be a CSV file, a folder of them or an .npz, but {path} does not "
            "exist; correct data.path, or make a sample: micronas data synth series FOLDER"
        )
    sources = [_source(path, file) for file in sorted(path.rglob("*")) if _is_csv(path, file)]
    if not sources:
        raise DataError(
            f"recordings must be CSV files, but {path} holds none; export them as .csv, one "
            "folder per class or with a column `label`"
        )
    return sources


def _is_csv(root: Path, file: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    return (
        file.suffix.lower() in (".csv", ".tsv", ".txt")
        and not hidden
        and (file.name.lower() not in ("readme.txt", "license.txt"))
    )


def _source(root: Path, file: Path) -> _Source:
    """Read label and part from the folders above a file."""
    above = list(file.relative_to(root).parts[:-1])
    part = _PARTS.get(above[0].lower()) if above else None
    below = above[1:] if part else above
    return _Source(file, below[0] if below else None, part)


def _first_header(sources: Sequence[_Source]) -> Header:
    wrong: DataError | None = None
    for source in sources:
        try:
            return read_header(source.path)
        except DataError as error:
            wrong = wrong or error
    assert wrong is not None, "there is a source"
    raise wrong


def _columns(settings: SeriesSettings, header: Header) -> tuple[str, ...]:
    if settings.columns != "auto":
        for name in settings.columns:
            header.place(name)
        return settings.columns
    special = {
        _special(header, settings.label, _LABELS),
        _special(header, settings.time, _TIMES),
        _special(header, settings.group, _GROUPS),
    }
    found = tuple(name for name in header.numeric() if name and name not in special)
    if not found:
        raise DataError(
            f"recordings must have a column of numbers, but {header.path} has "
            f"{', '.join(header.names)}; name the sensor's in data.columns"
        )
    return found


def _special(header: Header, wanted: str, usual: Sequence[str]) -> str | None:
    """Return the column of labels, groups or time, where there is one."""
    if wanted in ("prefix", "file"):
        return None
    if wanted != "auto":
        return wanted
    return next((name for name in header.names if name.lower() in usual), None)


def _read_csv(
    source: _Source, settings: SeriesSettings, columns: tuple[str, ...]
) -> list[Recording]:
    header = read_header(source.path)
    values = read_numbers(header, columns)
    count = len(values)
    label = None if source.label else _special(header, settings.label, _LABELS)
    if source.label is None and label is None:
        raise DataError(
            f"recordings must have labels, but {source.path} stands in no folder of a class and "
            f"has no column {' or '.join(_LABELS)} (it has {', '.join(header.names)}); set "
            "data.label=COLUMN or sort files into folders"
        )
    labels = read_texts(header, label) if label else np.full(count, source.label)
    labels = as_classes(labels, settings)
    column = _special(header, settings.group, _GROUPS)
    groups = read_texts(header, column) if column else np.full(count, _group(source.path, settings))
    times, rate = _times(header, settings)
    breaks = (labels[1:] != labels[:-1]) | (groups[1:] != groups[:-1])
    if times is not None and rate:
        steps = np.diff(times)
        breaks |= (steps <= 0) | (steps > _JUMP / rate)
    ends = [*np.flatnonzero(breaks) + 1, count]
    starts = [0, *ends[:-1]]
    name = source.path.name
    return [
        Recording(
            name if len(ends) == 1 else f"{name} from line {start + header.skipped + 1}",
            str(labels[start]),
            str(groups[start]),
            values[start:end].astype(np.float32),
            source.part,
            rate,
            str(source.path),
        )
        for start, end in zip(starts, ends, strict=True)
        if labels[start]
    ]


def _group(path: Path, settings: SeriesSettings) -> str:
    return re.split("[_-]", path.stem)[0] if settings.group == "prefix" else str(path)


def _times(
    header: Header, settings: SeriesSettings
) -> tuple[npt.NDArray[np.float64] | None, float | None]:
    """Return seconds, and the rate by the median step."""
    column = _special(header, settings.time, _TIMES)
    if column is None:
        return None, None
    if column in header.numeric():
        times = read_numbers(header, [column])[:, 0].astype(np.float64)
        unit = next((_UNITS[end] for end in _UNITS if column.lower().endswith(end)), None)
        step = float(np.nanmedian(np.diff(times))) if len(times) > 1 else 0.0
        # without a unit in the name: no sensor takes a second or more between two samples
        times *= unit or (1.0 if step < 1 else 1e-3 if step < 1e3 else 1e-6)
    else:
        try:
            stamps = read_texts(header, column).astype("datetime64[us]")
        except ValueError as error:
            raise DataError(
                f"times must be numbers or dates, but {header.path} has {header.first}: {error}; "
                "set data.time to another column"
            ) from error
        times = stamps.astype(np.int64) / 1e6
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return times, (1 / step if step > 0 else None)


def _npz_columns(settings: SeriesSettings) -> tuple[str, ...]:
    """Return channels by an array's header; nothing is unpacked."""
    with _opened(settings.path) as arrays:
        name = "x" if "x" in arrays.files else next(iter(arrays.files), None)
        shape = () if name is None else _shape(settings.path, name)
    if settings.columns != "auto":
        return settings.columns
    count = shape[-1] if len(shape) == (3 if name == "x" else 2) else 1
    return tuple(f"c{place + 1}" for place in range(count))


def _shape(path: Path, name: str) -> tuple[int, ...]:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        return tuple(read(file)[0])


def _read_npz(settings: SeriesSettings) -> Recordings:
    """Read windows ``x`` [N, time, channels] with labels ``y``, or an array for each class."""
    columns = _npz_columns(settings)
    with _opened(settings.path) as arrays:
        windowed = "x" in arrays.files
        try:
            found = list(_windows(arrays, settings) if windowed else _arrays(arrays))
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"arrays of {settings.path} must be numbers and readable: {error}; write them "
                "with numpy.savez, labels as text"
            ) from error
    wrong = [each.name for each in found if each.values.shape[1:] != (len(columns),)]
    if wrong or not found:
        raise DataError(
            f"an .npz must hold x [N, time, channels] and y [N], or an array [time] or [time, "
            f"channels] of each class, all of as many channels as data.columns, but "
            f"{settings.path} does not ({', '.join(wrong[:5]) or 'no array'}); save it again"
        )
    layout = "windows x and y" if windowed else "an array of each class"
    return Recordings(settings.path, columns, layout, found, windowed=windowed)


def _opened(path: Path) -> "np.lib.npyio.NpzFile":
    try:
        arrays = np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"an .npz must be readable: {error}; correct data.path") from error
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise DataError(f"an .npz must hold named arrays, but {path} holds one; use numpy.savez")
    return arrays


def _windows(arrays: "np.lib.npyio.NpzFile", settings: SeriesSettings) -> Iterator[Recording]:
    if "y" not in arrays.files:
        raise DataError(f"windows x must have labels y, but {settings.path} has none; add y [N]")
    values, labels = arrays["x"], as_classes(arrays["y"].astype(np.str_), settings)
    groups = arrays["groups"] if "groups" in arrays.files else np.arange(len(values))
    if values.ndim == 2:
        values = values[..., None]
    sizes = len(values), len(labels), len(groups)
    if values.ndim != 3 or len(set(sizes)) > 1 or values.shape[1] != settings.window:
        raise DataError(
            f"windows must be x [N, {settings.window}, channels] (data.window), y [N] and "
            f"groups [N], but {settings.path} has x {list(values.shape)}, y {sizes[1]} and groups "
            f"{sizes[2]}; set data.window or save it again"
        )
    parts = arrays["part"] if "part" in arrays.files else None
    for place, (window, label, group) in enumerate(zip(values, labels, groups, strict=True)):
        part = None if parts is None else _PARTS.get(str(parts[place]).lower())
        yield Recording(f"x[{place}]", str(label), str(group), window.astype(np.float32), part)


def _arrays(arrays: "np.lib.npyio.NpzFile") -> Iterator[Recording]:
    for name in arrays.files:
        values = np.asarray(arrays[name], np.float32)
        yield Recording(name, name, name, values[:, None] if values.ndim == 1 else values)


def cut(recording: Recording, start: int, end: int, part: Part) -> Recording:
    """Return a stretch of a recording as one of a part."""
    return replace(recording, values=recording.values[start:end], part=part)
