"""The clips of a speech corpus, decoded once: in memory, or in a memory-mapped file."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from micronas.errors import DataError
from micronas.tasks.cache import Notes, cached
from micronas.tasks.keywords.folder import LONGEST_CLIP_S, SHORTEST_CLIP, Clip
from micronas.tasks.recording import read_recording
from micronas.tasks.waveform import RATE, Samples, one_second

_VERSION = 3
"""Version of decoding: raise it whenever the same files give other samples or notes."""
_PIECE = 512
LONG = 1.1
"""Seconds above which cutting a clip to one second may lose a part of the word."""


@dataclass(frozen=True)
class Clips:
    """Decoded clips."""

    samples: Samples
    """int16 [C, 16000]; zeros for a clip that cannot be used."""
    row: dict[str, int]
    """Row of each usable clip, by name."""
    converted: dict[str, str]
    """Formats of clips that were not 16 kHz mono, by name."""
    longer: frozenset[str]
    """Names of clips cut to their middle second."""
    digests: dict[str, str]
    """Hashes of the samples, by name; clips that cannot be used have none."""
    key: str
    """Hash of everything that the samples depend on."""


def read_clips(clips: Sequence[Clip], path: Path | None) -> Clips:
    """Decode clips into memory, or into the file `path`, which later calls map.

    The file depends on the clips' names, sizes and times of change alone. Raises OSError if the
    file cannot be written; never without `path`.
    """
    key = _key(clips)
    found = cached(path, key, tail=(RATE,), dtype="<i2", build=partial(_decode, clips))
    notes, digests = found.notes, found.notes["digests"]
    rows = {clip.name: i for i, clip in enumerate(clips) if clip.name in digests}
    return Clips(found.array, rows, notes["converted"], frozenset(notes["longer"]), digests, key)


def _key(clips: Sequence[Clip]) -> str:
    digest = hashlib.sha256(f"clips {_VERSION}".encode())
    for clip in clips:
        try:
            stat = clip.path.stat()
            state = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            state = "unreadable"
        digest.update(os.fsencode(f"{clip.name}\0{state}\0"))
    return digest.hexdigest()


def _decode(clips: Sequence[Clip], notes: Notes) -> Iterator[Samples]:
    """Yield the clips in pieces, and note usable, converted and long ones."""
    notes["digests"], notes["converted"], notes["longer"] = {}, {}, []
    with tqdm(total=len(clips), desc="clips", unit="clip", leave=False, disable=None) as bar:
        for start in range(0, len(clips), _PIECE):
            some = clips[start : start + _PIECE]
            piece = np.zeros((len(some), RATE), np.int16)
            for samples, clip in zip(piece, some, strict=True):
                try:
                    recording = read_recording(clip.path, longest_s=LONGEST_CLIP_S)
                except DataError:
                    continue
                if len(recording.samples) < SHORTEST_CLIP:
                    continue
                if len(recording.samples) > LONG * RATE:
                    notes["longer"].append(clip.name)
                samples[:] = one_second(recording.samples)
                digest = hashlib.sha1(samples.tobytes(), usedforsecurity=False)
                notes["digests"][clip.name] = digest.hexdigest()[:16]
                if recording.converted_from:
                    notes["converted"][clip.name] = recording.converted_from
            yield piece
            bar.update(len(some))
