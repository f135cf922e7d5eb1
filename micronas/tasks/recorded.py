"""Read recorded inputs twice: as samples of a device, and as features of training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from micronas.errors import DataError
from micronas.export.firmware.front_ends import FrontEnd, Image, Mfcc, Series
from micronas.export.firmware.front_ends.front_end import Array
from micronas.tasks.images.settings import SUFFIXES
from micronas.tasks.series.csv_table import Header, read_header, read_table
from micronas.tasks.series.times import RATES_DIFFER, counted_times, dated, is_time, jumps, rate_of
from micronas.text import listed

if TYPE_CHECKING:
    from micronas.tasks.waveform import Samples

_SUFFIXES = {
    "mfcc": (".wav", ".flac", ".ogg"),
    "log-mel": (".wav", ".flac", ".ogg"),
    "pixels": SUFFIXES,
    "series": (".csv", ".tsv"),
}


@dataclass(frozen=True)
class Recorded:
    """One input."""

    path: Path
    samples: Array
    """Samples as on the device."""
    features: Array
    """Features of training, float32, in the shape of the network's input without its leading 1."""


def recordings(
    folder: Path, meaning: Mapping[str, Any], front_end: FrontEnd, *, count: int
) -> list[Recorded]:
    """Read up to `count` files of a folder and its subfolders, evenly chosen by name.

    Files that are no recordings of the kind, too short, or lack values are left out. Raises
    DataError if no file can be read.
    """
    kind = str(meaning.get("features"))
    paths = files([folder], meaning)
    count, found = min(count, len(paths)), []
    for path in [paths[len(paths) * number // count] for number in range(count)]:
        try:
            found.append(_READERS[kind](path, meaning, front_end))
        except (DataError, ValueError, OSError):
            continue
    if not found:
        raise DataError(
            f"there must be recordings ({', '.join(_SUFFIXES[kind])}) to compare on, but {folder} "
            "has none that can be read; name another folder by --recordings"
        )
    return found


def files(paths: Sequence[Path], meaning: Mapping[str, Any]) -> list[Path]:
    """Return the given files, and from folders those with a suffix of the kind, each once; hidden
    ones are left out.
    """
    suffixes = _SUFFIXES[str(meaning.get("features"))]
    found: dict[Path, Path] = {}
    for path in paths:
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            usual = each.suffix.lower() in suffixes and each.name[0] != "." and each.is_file()
            if usual or each == path:
                found.setdefault(each.resolve(), each)
    return [*found.values()]


def whole(path: Path, meaning: Mapping[str, Any], front_end: FrontEnd) -> Array:
    """Read a whole recording as samples of the device.

    It is int16 [samples] of sound at 16 kHz, or float32 [readings, channels] of sensors. Raises
    DataError if the file cannot be read, or lacks columns or values.
    """
    if not isinstance(front_end, Series):
        from micronas.tasks.waveform import read_samples

        return read_samples(path)
    header = read_header(path)
    columns = _columns(header, meaning, front_end)
    time = next((name for name in header.names if is_time(name) and name not in columns), None)
    stamps = [] if time is None or time in header.numeric() else [time]
    counts = [] if time is None or stamps else [time]
    values, texts = read_table(header, [*columns, *counts], stamps)
    table = values[:, : len(columns)].astype(np.float32)
    (wrong,) = np.nonzero(~np.isfinite(table).all(axis=1))
    if len(wrong):
        raise DataError(
            f"a recording must hold a number in each column, but reading {wrong[0] + 1} of {path} "
            "lacks one; fill it, or cut the recording there"
        )
    if time is not None:
        times = dated(header, texts[0]) if stamps else counted_times(time, values[:, -1])
        _check_times(times, meaning, f"column {time!r} of {path}")
    return table


def _check_times(times: Array, meaning: Mapping[str, Any], column: str) -> None:
    """Raise DataError where times say that readings are not those of a device."""
    rate = rate_of(times)
    if rate is None:
        return
    learned = float(meaning.get("rate_hz") or rate)
    if abs(rate - learned) > RATES_DIFFER * learned:
        raise DataError(
            f"a recording must have the {learned:g} readings a second of the network's data, but "
            f"by {column} it has {rate:.4g}; resample it"
        )
    broken = np.flatnonzero(jumps(times, rate))
    if len(broken):
        raise DataError(
            f"a recording must have no gaps, but {column} jumps or stands still after reading "
            f"{broken[0] + 1}; cut the recording there"
        )


def _speech(path: Path, meaning: Mapping[str, Any], front_end: FrontEnd) -> Recorded:
    from micronas.tasks.keywords.front_end import mfcc
    from micronas.tasks.keywords.settings import MfccSettings
    from micronas.tasks.waveform import one_second, read_samples

    assert isinstance(front_end, Mfcc)
    clip = one_second(read_samples(path))
    settings = MfccSettings.of(meaning)
    # frames and coefficients chosen by a search, see `micronas.views.Frames`
    frames = mfcc(_waveform(clip), settings).numpy()[0, :: int(meaning.get("every", 1))]
    return Recorded(path, clip, frames[:, : front_end.columns, None])


def _machine(path: Path, meaning: Mapping[str, Any], front_end: FrontEnd) -> Recorded:
    from micronas.tasks.machines.front_end import SHORTEST, images, log_mel, standardise
    from micronas.tasks.waveform import read_samples

    clip = read_samples(path)[:SHORTEST]
    if len(clip) < SHORTEST:
        raise DataError(f"a recording must hold an image, but {path} is shorter; leave it out")
    image = images(log_mel(_waveform(clip))[0])[0]
    values = standardise(image, float(meaning["mean"]), float(meaning["deviation"]))
    return Recorded(path, clip, values.numpy()[:, :, None])


def _picture(path: Path, meaning: Mapping[str, Any], front_end: FrontEnd) -> Recorded:
    from PIL import Image as Pictures

    from micronas.tasks.images.files import decode, read_file, resize
    from micronas.tasks.images.front_end import features

    assert isinstance(front_end, Image)
    camera = front_end.camera
    mode = "L" if camera.format == "gray" else "RGB"
    decoded = decode(read_file(path), path).convert(mode)
    given = np.asarray(decoded.resize((camera.width, camera.height)))
    raw: Array = given
    if camera.format == "rgb565":
        red, green, blue = (given[:, :, c].astype(np.uint16) for c in range(3))
        word = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
        raw = word.astype("<u2").view(np.uint8)
        parts = word >> 11, word >> 5 & 63, word & 31
        wide = (parts[0] << 3 | parts[0] >> 2, parts[1] << 2 | parts[1] >> 4)
        given = np.stack((*wide, parts[2] << 3 | parts[2] >> 2), 2).astype(np.uint8)
    scaled = resize(
        Pictures.fromarray(given),
        size=front_end.size,
        color="gray" if front_end.channels == 1 else "rgb",
        fit="crop" if front_end.fit == "crop" else "stretch",
    )
    values = features(torch.from_numpy(scaled.copy()).float())
    return Recorded(path, np.ascontiguousarray(raw), values.numpy().transpose(1, 2, 0))


def _readings(path: Path, meaning: Mapping[str, Any], front_end: FrontEnd) -> Recorded:
    assert isinstance(front_end, Series)
    header = read_header(path)
    table, _ = read_table(header, _columns(header, meaning, front_end))
    window = table[: front_end.window].astype(np.float32)
    if len(window) < front_end.window or not np.isfinite(window).all():
        raise DataError(
            f"a recording must begin with a whole window, but {path} is shorter or lacks values; "
            "leave it out"
        )
    mean, deviation = (np.array(each, np.float32) for each in (front_end.mean, front_end.deviation))
    limit = np.float32(front_end.limit)
    values = np.clip((window - mean) / deviation, -limit, limit)
    return Recorded(path, window, values[:, None, :])


def _columns(header: Header, meaning: Mapping[str, Any], front_end: Series) -> list[str]:
    """Return the network's columns of a CSV file."""
    columns: list[str] | None = meaning.get("columns")
    if columns is None:  # long names have no room in a model file
        columns = [name for name in header.numeric() if not is_time(name)]
        if len(columns) != len(front_end.mean):
            raise DataError(
                f"a recording must have the network's {len(front_end.mean)} columns of numbers "
                f"alone, since the model file does not name them, but {header.path} has "
                f"{listed(columns)}; delete the others (a run's report names its channels)"
            )
    return [str(name) for name in columns]


def _waveform(clip: "Samples") -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(clip)[None]).float() / 32768.0


_READERS: dict[str, Callable[[Path, Mapping[str, Any], FrontEnd], Recorded]] = {
    "mfcc": _speech,
    "log-mel": _machine,
    "pixels": _picture,
    "series": _readings,
}
