"""Background noise of a speech corpus: recorded or synthesised, divided among the parts."""

import numpy as np

from micronas.errors import DataError
from micronas.tasks.keywords.folder import LONGEST_NOISE_S, NOISE_FOLDER, SpeechFolder
from micronas.tasks.parts import Part
from micronas.tasks.recording import read_recording
from micronas.tasks.waveform import RATE, Samples, coloured_noise, to_int16

EVALUATION_SEED = 0
"""Seed of the evaluation clips, which do not depend on a user's seed."""
_SHARES: dict[Part, tuple[float, float]] = {
    "training": (0.0, 0.8),
    "validation": (0.8, 0.9),
    "testing": (0.9, 1.0),
}


def read_background(folder: SpeechFolder) -> tuple[dict[Part, Samples], list[str]]:
    """Read the background recordings, or synthesise white and pink noise; return the noise of each
    part, int16, concatenated, and notes for the user.

    Each recording is cut into 80 % for training, 10 % for validation and 10 % for test, so that
    parts share no noise; a recording whose piece would be shorter than a second serves the part as
    a whole.
    """
    recordings, notes = [], []
    for path in folder.noises:
        try:
            recording = read_recording(path, longest_s=LONGEST_NOISE_S).samples
        except DataError as error:
            notes.append(f"Background left out: {error}.")
            continue
        if len(recording) < RATE:
            notes.append(f"Background left out: {path} is shorter than a second.")
        else:
            recordings.append(recording)
    if recordings:
        notes.append(f"Background: {len(recordings)} recordings.")
    else:
        generator = np.random.default_rng(EVALUATION_SEED)
        noises = [coloured_noise(60 * RATE, exponent, generator) for exponent in (0.0, 1.0)]
        recordings = [to_int16(0.1 * noise) for noise in noises]
        notes.append(f"No recordings in {NOISE_FOLDER}: white and pink noise stand in.")
    parts = {
        part: np.concatenate([_piece(recording, *share) for recording in recordings])
        for part, share in _SHARES.items()
    }
    return parts, notes


def fixed_silence(noise: Samples, count: int, seed: int) -> Samples:
    """Return int16 [count, 16000]: crops of the noise at volumes in [0, 1)."""
    generator = np.random.default_rng(seed)
    starts = generator.integers(len(noise) - RATE + 1, size=count)
    volumes = generator.random((count, 1))
    crops = np.lib.stride_tricks.sliding_window_view(noise, RATE)[starts]
    return (crops * volumes).astype(np.int16)


def _piece(recording: Samples, start: float, end: float) -> Samples:
    piece = recording[round(start * len(recording)) : round(end * len(recording))]
    return piece if len(piece) >= RATE else recording
