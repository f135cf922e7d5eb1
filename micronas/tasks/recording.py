"""Read sound files of any common kind as 16 kHz mono; refuse others, and say what was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import soundfile

from micronas.errors import DataError
from micronas.tasks.task import Finding
from micronas.tasks.waveform import (
    RATE,
    RATE_STEP,
    RATES,
    Samples,
    is_plausible,
    read_samples,
    unreadable,
)

_MOST_CHANNELS = 8


@dataclass(frozen=True)
class Recording:
    """A sound file as 16 kHz mono."""

    samples: Samples
    """int16 [samples]."""
    converted_from: str
    """Format of the file, e.g. ``44100 Hz, 2 channels``; empty for 16 kHz mono."""


def read_recording(path: Path, *, longest_s: int) -> Recording:
    """Read a sound file of any format.

    Channels (up to 8) are averaged. Rates from 4 to 192 kHz that are multiples of 25 Hz are
    resampled to 16 kHz; see `micronas.tasks.waveform.resample`. Other rates, which damaged headers
    may have, and files longer than `longest_s` seconds are refused. Raises DataError if the file is
    refused or cannot be decoded.
    """
    try:
        info = soundfile.info(path) if path.is_file() else None
    except (RuntimeError, OSError, UnicodeError) as error:
        raise unreadable(path, error) from error
    if info is None:
        raise DataError(f"a clip must be a file, but {path} is something else; delete it")
    rate, channels = int(info.samplerate), int(info.channels)
    if not is_plausible(rate) or channels > _MOST_CHANNELS or info.frames > longest_s * rate:
        raise DataError(
            f"a clip must have a rate of {RATES[0]} to {RATES[1]} Hz, a multiple of "
            f"{RATE_STEP}, at most {_MOST_CHANNELS} channels and {longest_s} s, but {path} has "
            f"rate={rate}, channels={channels}, frames={info.frames}; convert or delete it"
        )
    name = f"{rate} Hz, {channels} channel{'s' if channels > 1 else ''}"
    return Recording(read_samples(path), "" if (rate, channels) == (RATE, 1) else name)


def converted(formats: Mapping[str, int]) -> list[str]:
    """Return a list with one sentence on converted files, counted by their formats, or []."""
    listed = "; ".join(f"{count} from {name}" for name, count in sorted(formats.items()))
    return [f"Converted to {RATE} Hz mono: {listed}."] if formats else []


def checked(
    path: Path, name: str, findings: list[Finding], *, longest_s: int, shortest: int = 0
) -> Samples | None:
    """Read a sound file, and add what is wrong with it to the findings; None if it is refused."""
    try:
        samples = read_recording(path, longest_s=longest_s).samples
    except DataError as error:
        findings.append(Finding("unreadable", name, str(error)))
        return None
    if len(samples) < shortest:
        findings.append(Finding("short", name, f"{1000 * len(samples) // RATE} ms long"))
    if (lost := _bytes_lost(path)) > 0:
        findings.append(Finding("cut", name, f"the last {lost} bytes are missing"))
    return samples


def _bytes_lost(path: Path) -> int:
    """Return the number of bytes by which a RIFF file is shorter than its header says."""
    with path.open("rb") as file:
        header = file.read(8)
    promised = int.from_bytes(header[4:], "little")
    # recorders that write to a pipe leave the largest number
    if header[:4] != b"RIFF" or promised == 2**32 - 1:
        return 0
    return promised + len(header) - path.stat().st_size
