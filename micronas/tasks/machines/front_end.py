"""Log-mel spectrograms: two seconds of a machine's sound as a 32 x 32 image."""

from functools import lru_cache

import torch
from torch import Tensor

from micronas.errors import DataError
from micronas.export.firmware.front_ends import LogMel
from micronas.tasks.mel import mel_filters
from micronas.tasks.waveform import RATE

WINDOW = RATE * 64 // 1000
HOP = WINDOW // 2
BANDS = 64
_FRAMES = 64
"""Frames of an image, as many as bands."""
SIZE = 32
_OVERLAP = 44
SHORTEST = WINDOW + (_FRAMES - 1) * HOP
"""Samples of one image: 2.08 s."""
_FLOOR = 1e-6
_LIMIT = 4.0
"""Inputs lie in [-LIMIT, LIMIT] standard deviations of the normal training sounds."""


def log_mel(waveforms: Tensor) -> Tensor:
    """Turn sound into log-mel frames, by the computation of the device.

    1. Frames of 1,024 samples (64 ms), 512 apart (32 ms), from the first sample on, no padding.
    2. Periodic Hann window, real FFT of 1,024 points, power ``|X|^2`` (not divided by anything).
    3. 64 triangular filters between 0 and 8,000 Hz: corners equidistant on the scale
       ``mel(f) = 1127 ln(1 + f / 700)``, sides straight lines in mel, peak 1.
    4. ``ln(energy + 1e-6)``: the floor lies below the rounding noise of 16 bits.

    Raises DataError if the waveforms have another shape or are shorter than a frame.

    Parameters
    ----------
    waveforms
        float32 [N, samples] at 16 kHz in [-1, 1].

    Returns
    -------
    Tensor
        float32 [N, (samples - 1024) // 512 + 1, 64], frames by bands.
    """
    if waveforms.ndim != 2 or waveforms.shape[1] < WINDOW:
        raise DataError(
            f"waveforms must be [N, samples] with at least {WINDOW} samples, but are "
            f"{tuple(waveforms.shape)}; record longer clips"
        )
    window, filters = _tables()
    spectrum = torch.fft.rfft(waveforms.unfold(1, WINDOW, HOP) * window)
    energies: Tensor = (spectrum.real.square() + spectrum.imag.square()) @ filters
    return (energies + _FLOOR).log_()


def images(frames: Tensor, *, overlap: int = _OVERLAP) -> Tensor:
    """Stack frames [frames, 64] of `log_mel` into images, float32 [images, 32, 32], time by band.

    An image starts every ``64 - overlap`` frames while 64 are left; the paper's overlap of 44 gives
    one every 640 ms. Bilinear interpolation from 64 x 64 to 32 x 32 takes each output from the
    middle of 2 x 2 inputs, which is their mean.
    """
    if len(frames) < _FRAMES:
        return torch.zeros(0, SIZE, SIZE)
    stacked = frames.unfold(0, _FRAMES, _FRAMES - overlap).transpose(1, 2)
    return torch.nn.functional.avg_pool2d(stacked, _FRAMES // SIZE)


def in_c(mean: float, deviation: float) -> LogMel:
    """Return `log_mel`, `images` and `standardise` for a device."""
    window, filters = (table.numpy() for table in _tables())
    return LogMel(
        rate=RATE,
        window=window,
        hop=HOP,
        fft=WINDOW,
        filters=filters,
        magnitude=False,
        floor=_FLOOR,
        rows=SIZE,
        columns=SIZE,
        limit=_LIMIT,
        mean=mean,
        deviation=deviation,
    )


def standardise(values: Tensor, mean: float, deviation: float) -> Tensor:
    """Return values as deviations from the mean, limited to `_LIMIT` either way."""
    return ((values - mean) / deviation).clamp_(-_LIMIT, _LIMIT)


@lru_cache
def _tables() -> tuple[Tensor, Tensor]:
    """Return the window [1024] and the filters [513, 64], in float32."""
    filters = mel_filters(0.0, RATE / 2, BANDS, WINDOW)
    return torch.hann_window(WINDOW, periodic=True), filters.float()
