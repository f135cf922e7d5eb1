"""Find and read recordings: a CSV file, folders of CSV files, or an `.npz`."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from micronas.errors import DataError
from micronas.tasks.parts import PARTS_BY_NAME, Part
from micronas.tasks.series.csv_table import (
    LONGEST_TEXT,
    Header,
    Texts,
    column_kinds,
    is_plain,
    read_header,
    read_table,
)
from micronas.tasks.series.grid import on_grid
from micronas.tasks.series.labels import as_classes
from micronas.tasks.series.npz_file import floats, npz_columns, read_npz
from micronas.tasks.series.recording import MEASURED, Floats, Recording, Recordings
from micronas.tasks.series.settings import SeriesSettings
from micronas.tasks.series.times import assumed_unit, counted_times, dated, is_time, jumps, rate_of
from micronas.tasks.spelling import check_numbers
from micronas.text import listed

_LABELS = ("label", "class", "activity", "target")
_GROUPS = ("group", "subject", "user", "device", "session")
_MOST_FINER = 100
"""Largest rate of resampling in rates of the recordings; a typing error would fill the memory."""


@dataclass(frozen=True)
class _Source:
    """A file to read, with label and part from its folders."""

    path: Path
    label: str | None
    part: Part | None


def read_recordings(settings: SeriesSettings) -> Recordings:
    """Read all recordings; unreadable files are left out and named.

    Raises DataError if there is no such file or folder, no file in it can be read, a column is
    missing in all files, or labels are wrong.
    """
    found = read_npz(settings) if settings.path.suffix.lower() == ".npz" else _read_files(settings)
    for each in found.recordings:
        wrong = [label for label in each.labels or ("",) if not is_plain(label)]
        if wrong:
            raise DataError(
                f"labels must have 1 to {LONGEST_TEXT} characters that can be printed, but that of "
                f"{each.name:.60} is {wrong[0]!r:.60}; rename it"
            )
    check_numbers({label for each in found.recordings for label in each.labels}, settings.path)
    return found


def _read_files(settings: SeriesSettings) -> Recordings:
    sources = _sources(settings.path)
    columns, left_out = _columns(settings, sources)
    layout = "CSV with a column of labels"
    if settings.label == "auto" and any(each.label is not None for each in sources):
        layout = "a folder of CSV files per class"
        if unread := _special(_first_header(sources), "auto", _LABELS):
            layout += f", whose column {unread} is not read"
    if settings.targets:
        layout = f"CSV with {listed(settings.targets)} to tell"
    found = Recordings(settings.path, columns, layout, left_out=left_out)
    if layout.startswith("a folder"):
        found.unreadable += _empty(settings.path, sources)
    for source in sources:
        try:
            found.recordings += _read_csv(source, settings, found)
        except DataError as error:
            found.unreadable.append(str(error))
    if not found.recordings:
        raise DataError(
            f"recordings must be readable, but none of {len(sources)} files of {settings.path} is: "
            f"{next(iter(found.unreadable), 'no line has a label')}"
        )
    if settings.columns == "auto":
        _require_change(found)
        first = _first_header(sources)
        for header in _headers(sources):
            for name in {*_candidates(header, settings)}.intersection(header.numeric()):
                if name not in first.names:
                    left_out[name] = f"missing in {first.path.name}"
    return found


def _require_change(found: Recordings) -> None:
    """Raise DataError for a channel that tells recordings apart, and nothing within them."""
    for place, name in enumerate(found.columns):
        own = [each.values[:, place] for each in found.recordings]
        constants = [values[0] for values in own if (values == values[0]).all()]
        if len(constants) == len(own) and len({*constants}) > 2:  # two may be those of a switch
            raise DataError(
                f"channels must change within recordings, but {name!r} has one value in each of "
                f"{len(own)} in {found.root}, as the number of a person or of a file has; set "
                f"data.group={name} if it is one, or name the sensor's columns in data.columns"
            )


def read_columns(settings: SeriesSettings) -> tuple[str, ...]:
    """Return the channels of a source, read only until their values change."""
    if settings.path.suffix.lower() == ".npz":
        return npz_columns(settings)
    return _columns(settings, _sources(settings.path))[0]


def _sources(path: Path) -> list[_Source]:
    if path.exists() and not path.is_dir():
        return [_Source(path, None, None)]
    if not path.exists():
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
    """Read label and part from the two folders above a file, whichever comes first."""
    above = [*file.relative_to(root).parts[:-1]]
    part = next((name for name in above[:2] if name.lower() in PARTS_BY_NAME), None)
    if part is not None:
        above.remove(part)
    label = above[0] if above else None
    return _Source(file, label, PARTS_BY_NAME[part.lower()] if part else None)


def _empty(root: Path, sources: Sequence[_Source]) -> list[str]:
    """Return a line on each folder of a class without a CSV file."""
    full = {folder for each in sources for folder in each.path.parents}
    return [
        f"a class's folder must hold CSV files, but {folder} has none"
        for folder in sorted({*root.glob("*"), *root.glob("*/*")} - full)
        if folder.is_dir()
        and _is_csv(root, folder / "x.csv")
        and folder.name == _source(root, folder / "x.csv").label
    ]


def _first_header(sources: Sequence[_Source]) -> Header:
    wrong: DataError | None = None
    for source in sources:
        try:
            return read_header(source.path)
        except DataError as error:
            wrong = wrong or error
    assert wrong is not None, "there is a source"
    raise wrong


NO_CHANNEL = {"text": "no numbers", "constant": "never changes", "empty": "no value"}
"""Reasons why a column is no channel, by its kind."""


def _columns(
    settings: SeriesSettings, sources: Sequence[_Source]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the channels, and the columns left out with the reasons."""
    header = _first_header(sources)
    if settings.columns == "auto":
        names = _candidates(header, settings)
    else:
        names = settings.columns
        for name in names:
            header.place(name)
    kinds = column_kinds(_headers(sources), names)
    if settings.columns != "auto":
        empty = [name for name in names if kinds[name] == "empty"]
        if empty:
            raise DataError(
                f"channels must have values, but {settings.path} has none in {listed(empty)}; "
                "take it out of data.columns"
            )
        return names, {}
    changing = any(kind == "numbers" for kind in kinds.values())
    good = ("numbers",) if changing else ("numbers", "constant")
    found = tuple(name for name in names if kinds[name] in good)
    left_out = {name: NO_CHANNEL[kinds[name]] for name in names if kinds[name] not in good}
    if not found:
        why = listed(f"{name} ({reason})" for name, reason in left_out.items())
        raise DataError(
            f"recordings must have a column of numbers, but {header.path} has "
            f"{why or listed(header.names)}; name the sensor's in data.columns"
        )
    return found, left_out


def _candidates(header: Header, settings: SeriesSettings) -> tuple[str, ...]:
    """Return the columns that have no other purpose."""
    special = {
        _special(header, settings.label, _LABELS),
        _time(header, settings),
        _special(header, settings.group, _GROUPS),
        *settings.targets,
    }
    return tuple(name for name in header.names if name and name not in special)


def _headers(sources: Sequence[_Source]) -> Iterator[Header]:
    for source in sources:
        with suppress(DataError):
            yield read_header(source.path)


def _special(header: Header, wanted: str, usual: Sequence[str]) -> str | None:
    """Return the column of labels, groups or time, or None."""
    if wanted in ("prefix", "file"):
        return None
    if wanted != "auto":
        return wanted
    return next((name for name in header.names if name.lower() in usual), None)


def _time(header: Header, settings: SeriesSettings) -> str | None:
    if settings.time != "auto":
        return settings.time
    channels = () if settings.columns == "auto" else settings.columns  # t may be a temperature
    return next((name for name in header.names if is_time(name) and name not in channels), None)


def _read_csv(source: _Source, settings: SeriesSettings, found: Recordings) -> list[Recording]:
    """Return the recordings of a file, and count in `found` its samples without a label."""
    columns = found.columns
    header = read_header(source.path)
    label, named_label = None, source.label
    if settings.targets:
        named_label = MEASURED
    elif source.label is None or settings.label != "auto":
        label, named_label = _special(header, settings.label, _LABELS), None
    if named_label is None and label is None and settings.goal == "anomalies":
        named_label = settings.normal
    if named_label is None and label is None:
        raise DataError(
            f"recordings must have labels, but {source.path} stands in no folder of a class and "
            f"has no column {' or '.join(_LABELS)} (it has {listed(header.names)}); set "
            "data.label=COLUMN, sort files into folders, or set data.goal=anomalies where none of "
            "them is labelled"
        )
    group = _special(header, settings.group, _GROUPS)
    time = _time(header, settings)
    counted = time is not None and time in header.numeric()
    values, texts = read_table(
        header,
        [*columns, *settings.targets, *([time] if time and counted else [])],
        [name for name in (label, group, None if counted else time) if name],
    )
    named = iter(texts)
    labels = next(named) if label else Texts([named_label or ""], np.zeros(len(values), np.int64))
    labels = labels.renamed(as_classes(np.array(labels.names), settings).tolist())
    groups = next(named) if group else None
    times: Floats | None = None
    assumed = ""
    if time is not None and counted:
        times, assumed = counted_times(time, values[:, -1]), assumed_unit(time, values[:, -1])
    elif time is not None:
        times = dated(header, next(named))
    count, rate = len(values), None if times is None else rate_of(times)
    breaks = np.zeros(count - 1, np.bool_)
    if groups is not None:
        breaks |= groups.codes[1:] != groups.codes[:-1]
    if times is not None and rate is None and (fall := (times[1:] < times[:-1]) & ~breaks).any():
        raise DataError(
            f"times must rise, but those of {source.path} fall after line "
            f"{fall.argmax() + header.skipped + 1}; sort its lines by {time}, or name its sessions "
            f"in data.group, or {time} in data.columns where it is no time"
        )
    if times is not None and rate:
        breaks |= jumps(times, rate, fill=settings.fill)
    elif settings.is_even:
        raise DataError(
            f"recordings must have a column of time to be resampled, but {source.path} has none "
            "that says a rate; set data.time=COLUMN, or leave out data.rate and data.fill"
        )
    if times is not None and settings.is_even and (absent := ~np.isfinite(times)).any():
        raise DataError(
            f"recordings must have a time in each line to be resampled, but {source.path} has none "
            f"in line {absent.argmax() + header.skipped + 1}; delete the line, or leave out "
            "data.rate and data.fill"
        )
    if rate and settings.rate is not None and settings.rate > _MOST_FINER * rate:
        raise DataError(
            f"data.rate must be at most {_MOST_FINER} times that of the recordings, but is "
            f"{settings.rate:g}, and {source.path} has {rate:.4g} Hz; give samples a second"
        )
    samples = floats(values[:, : len(columns)], source.path)
    targets = None
    if settings.targets:
        targets = values[:, len(columns) : len(columns) + len(settings.targets)]
        _check_targets(targets, settings, source.path)
    changes = np.flatnonzero(labels.codes[1:] != labels.codes[:-1]) + 1
    ends = [*(np.flatnonzero(breaks) + 1).tolist(), count]
    starts = [0, *ends[:-1]]
    name, file = source.path.name, str(source.path)
    if settings.path.is_dir():  # folders may hold files of one name
        name = source.path.relative_to(settings.path).as_posix()
    found.unlabelled += int((np.array(labels.names)[labels.codes] == "").sum())
    made = []
    for start, end in zip(starts, ends, strict=True):
        inside = changes[np.searchsorted(changes, start, "right") : np.searchsorted(changes, end)]
        each = Recording(
            name if len(ends) == 1 else f"{name} from line {start + header.skipped + 1}",
            labels.names[labels.codes[start]],
            groups.names[groups.codes[start]] if groups else _group(source.path, settings),
            samples[start:end],
            source.part,
            rate,
            file,
            tuple((int(at) - start, labels.names[labels.codes[at]]) for at in inside),
            None if targets is None else targets[start:end],
            assumed=assumed,
        )
        if not each.labels:
            continue
        if times is not None and rate and settings.is_even:
            each = on_grid(each, times[start:end], settings.rate or rate, fill=settings.fill)
        made.append(each)
    return made


def _check_targets(targets: Floats, settings: SeriesSettings, path: Path) -> None:
    """Raise DataError where columns of labels hold other numbers than 0 and 1."""
    if settings.goal != "labels":
        return
    for name, column in zip(settings.targets, targets.T, strict=True):
        wrong = column[np.isfinite(column) & (column != 0) & (column != 1)]
        if len(wrong):
            raise DataError(
                f"columns of labels must hold 0 and 1, but {name!r} of {path} has {wrong[0]:g}; "
                "mend it, take it out of data.target, or set data.goal=regression for a value"
            )


def _group(path: Path, settings: SeriesSettings) -> str:
    return re.split("[_-]", path.stem)[0] if settings.group == "prefix" else str(path)
