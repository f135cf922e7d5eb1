"""Sound as arrays: reading, resampling, cutting to one second, noises. NumPy only."""

import io
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from micronas.errors import DataError
from micronas.files import regular

Samples = NDArray[np.int16]
Signal = NDArray[np.float64]

RATE = 16_000
"""Samples per second; a clip is one second."""
RATES = (4_000, 192_000)
RATE_STEP = 25
"""Divisor of all common rates; filters of others, as of damaged headers, take minutes or all
memory."""
_ZERO_CROSSINGS = 24
_ROLL_OFF = 0.95
_KAISER_BETA = 9.0
_LOUDEST = 100.0
"""Samples of full scale 1 are below; beyond are integers that were stored as floats."""
_SLICE = 2**16
"""Samples resampled at once: each is a product of some hundred numbers."""


def read_samples(path: Path) -> Samples:
    """Read a sound file as 16 kHz mono, int16 [samples].

    Channels are averaged, other rates resampled, and the duration kept. Raises DataError if the
    file cannot be decoded, is empty, reaches far beyond full scale, or has a rate that is not
    plausible.
    """
    try:
        # read as float: libsndfile does not scale float files to int16
        sound, rate = soundfile.read(regular(path), dtype="float32", always_2d=True)
    except (RuntimeError, OSError, UnicodeError) as error:
        raise unreadable(path, error) from error
    loudest = max(sound.max(), -sound.min()) if len(sound) else 0.0
    if not len(sound) or not loudest < _LOUDEST:
        what = f"reaches {loudest:g} of a full scale of 1" if loudest else "is empty"
        raise DataError(f"a clip must hold samples, but {path} {what}; replace or delete it")
    if not is_plausible(rate):
        raise DataError(
            f"a clip must have a rate of {RATES[0]} to {RATES[1]} Hz, a multiple of {RATE_STEP}, "
            f"but {path} has rate={rate}; convert or delete it"
        )
    mono = sound[:, 0] if sound.shape[1] == 1 else sound.mean(axis=1, dtype=np.float64)
    return to_int16(mono if rate == RATE else resample(mono.astype(np.float64), rate, RATE))


def is_plausible(rate: int) -> bool:
    return RATES[0] <= rate <= RATES[1] and rate % RATE_STEP == 0


def unreadable(path: Path, error: Exception) -> DataError:
    """Return the error of a file that is no sound, or whose name is no UTF-8."""
    return DataError(
        f"a clip must be a sound file, but {path} cannot be read ({error}); rename, replace or "
        "delete it"
    )


def to_int16(signal: NDArray[np.floating]) -> Samples:
    """Round [-1, 1) to int16, limiting values outside."""
    scaled = signal * 32768.0  # in place from here on: recordings may last for hours
    np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled)
    return scaled.astype(np.int16)


def write_samples(path: Path, samples: Samples) -> None:
    """Write a WAV file of 16 kHz mono.

    libsndfile writes to memory, since it does not report errors of closing a file on disk.
    """
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, subtype="PCM_16", format="WAV")
    path.write_bytes(file.getvalue())


def one_second(samples: Samples) -> Samples:
    """Pad with zeros at the end, as in the Speech Commands recipe, or take the middle second."""
    extra = len(samples) - RATE
    if extra >= 0:
        return samples[extra // 2 : extra // 2 + RATE]
    return np.pad(samples, (0, -extra))


def resample(signal: Signal, old_rate: int, new_rate: int) -> Signal:
    """Change the sampling rate with a Kaiser-windowed sinc (polyphase, linear phase).

    The filter is flat to 0.85 of the lower Nyquist frequency and 90 dB down from 1.08 of it on.
    The result has ``ceil(len * new / old)`` samples; outside the signal is zero.
    """
    common = math.gcd(old_rate, new_rate)
    up, down = new_rate // common, old_rate // common
    taps = _resampling_filter(up, down)
    half = taps.shape[1] // 2
    position = np.arange(-(-len(signal) * up // down)) * down
    padded = np.pad(signal, (half - 1, half))
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps.shape[1])
    resampled = np.empty(len(position))
    for start in range(0, len(position), _SLICE):
        at = position[start : start + _SLICE]
        np.einsum(
            "nk,nk->n", windows[at // up], taps[at % up], out=resampled[start : start + _SLICE]
        )
    return resampled


@lru_cache
def _resampling_filter(up: int, down: int) -> Signal:
    """Return [phases, taps]: tap k of phase p weighs the sample at ``k - (taps/2 - 1) - p/up``."""
    cutoff = _ROLL_OFF * min(1.0, up / down)
    half = math.ceil(_ZERO_CROSSINGS / cutoff)
    time = np.arange(1 - half, half + 1)[None, :] - np.arange(up)[:, None] / up
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0.0, 1.0 - (time / half) ** 2)))
    taps = cutoff * np.sinc(cutoff * time) * window
    normalised: Signal = taps / taps.sum(axis=1, keepdims=True)
    return normalised


def coloured_noise(samples: int, exponent: float, generator: np.random.Generator) -> Signal:
    """Return Gaussian noise with power density 1/f^exponent and a root mean square of one.

    Exponent 0 is white, 1 pink, 2 brown. Below 20 Hz the density is flat.
    """
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1.0 / RATE), 20.0)
    noise = np.fft.irfft(spectrum * frequency ** (-exponent / 2.0), samples)
    normalised: Signal = noise / np.sqrt(np.mean(noise**2))
    return normalised
