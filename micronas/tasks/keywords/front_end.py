"""Mel-frequency cepstral coefficients: one second of speech as a 49 x 10 image."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from micronas.errors import DataError
from micronas.export.firmware.front_ends import Mfcc as MfccInC
from micronas.tasks.keywords.settings import MfccSettings
from micronas.tasks.mel import mel_filters
from micronas.tasks.waveform import RATE

HOP = 320
FRAMES = 49
COEFFICIENTS = 10
_MEL_BINS = 40
_LOWEST_HZ, _HIGHEST_HZ = 20.0, 4_000.0
_OFFSET = (-6.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_SCALE = (9.0, 5.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0)
LIMIT = 4.0
"""Features lie in [-LIMIT, LIMIT], which int8 of step 1/32 and zero point 0 fills exactly."""
_UNLIMITED = 256.0
"""Limit that no coefficient of ``tf.signal`` reaches."""


def mfcc(waveforms: Tensor, settings: MfccSettings | None = None) -> Tensor:
    """Turn clips of one second into features, by the computation of the device.

    These are the steps with default settings; see `MfccSettings` for other settings.

    1. 49 frames of 640 (or 480) samples, 320 apart, from the first sample on, no padding; with 480
       the last 160 samples are unused.
    2. Periodic Hann window, real FFT of 1,024 (or 512) points, power ``|X|^2`` (not divided by
       anything).
    3. 40 triangular filters between 20 and 4,000 Hz: corners equidistant on the scale
       ``mel(f) = 1127 ln(1 + f / 700)``, sides straight lines in mel, peak 1.
    4. ``ln(energy + 0.1)``: white noise of about -40 dB of full scale and all below it become
       equal, so that a network does not learn the recording room.
    5. Orthonormal DCT-II, coefficients 0 to 9:
       ``c[k] = s[k] sum_m log[m] cos(pi k (m + 1/2) / 40)`` for m = 0 .. 39, with
       ``s[0] = sqrt(1/40)`` and ``s[k] = sqrt(2/40)``; no liftering, no energy in place of c[0].
    6. The same affine map for every data set, so that each coefficient of speech has a spread of
       about one: minus (-6, 4, 0, ...), divided by (9, 5, 4, 4, 4, 3, 3, 3, 3, 3); then limited to
       [-4, 4]. On a device the map is part of the DCT matrix.

    Raises DataError if the waveforms have another shape.

    Parameters
    ----------
    waveforms
        float32 [N, 16000] in [-1, 1].

    Returns
    -------
    Tensor
        float32 [N, 49, 10], frames by coefficients.
    """
    settings = settings or MfccSettings()
    window, filters, cosines, bias = _tables(settings)
    if waveforms.ndim != 2 or waveforms.shape[1] != RATE:
        raise DataError(
            f"waveforms must be [N, {RATE}], one second each, but are {tuple(waveforms.shape)}; "
            "pad or crop them first"
        )
    if settings.level == "peak":
        waveforms = waveforms / waveforms.amax(1, keepdim=True).clamp_min(1 / 32768)
    fft = len(window)
    # the window includes the zeros of the transform: padding every frame would copy all frames
    padded = torch.nn.functional.pad(waveforms, (0, fft - (RATE - HOP * (FRAMES - 1))))
    spectrum = torch.fft.rfft(padded.unfold(1, fft, HOP) * window)
    # half of the spectrum lies above the highest filter
    spectrum = spectrum[:, :, : len(filters)]
    power = spectrum.real.square() + spectrum.imag.square()
    energies: Tensor = (power.sqrt_() if settings.spectrum == "magnitude" else power) @ filters
    logarithms = (energies + settings.log_floor).log_()
    limit = limit_of(settings)
    return (logarithms @ cosines + bias).clamp_(-limit, limit)


def in_c(settings: MfccSettings, *, every: int = 1, coefficients: int = COEFFICIENTS) -> MfccInC:
    """Return `mfcc` for a device, with the same tables.

    It takes one of `every` frames (`micronas.views.Frames`), and the first `coefficients` of each.
    Raises ValueError if a frame has fewer.
    """
    if coefficients > COEFFICIENTS:
        raise ValueError(f"a frame has {COEFFICIENTS} coefficients, not {coefficients}")
    window, filters, cosines, bias = (table.numpy() for table in _tables(settings))
    return MfccInC(
        rate=RATE,
        window=window[: _samples(settings)],
        hop=HOP * every,
        fft=len(window),
        filters=filters,
        magnitude=settings.spectrum == "magnitude",
        floor=settings.log_floor,
        rows=-(-FRAMES // every),
        columns=coefficients,
        limit=limit_of(settings),
        cosines=cosines[:, :coefficients],
        bias=bias[:coefficients],
    )


def limit_of(settings: MfccSettings) -> float:
    """Return the limit of every feature: they lie in [-limit, limit]."""
    return LIMIT if settings.scaling == "spread" else _UNLIMITED


@lru_cache
def _tables(settings: MfccSettings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return window [fft], filters [bins, 40], scaled DCT [40, 10] and bias [10]; in float32."""
    samples = _samples(settings)
    fft = 1 << (samples - 1).bit_length()
    filters = mel_filters(_LOWEST_HZ, _HIGHEST_HZ, _MEL_BINS, fft)
    centre = (torch.arange(_MEL_BINS, dtype=torch.float64) + 0.5).unsqueeze(1)
    order = torch.arange(COEFFICIENTS, dtype=torch.float64)
    cosines = torch.cos(math.pi / _MEL_BINS * centre * order) * math.sqrt(2.0 / _MEL_BINS)
    scale = torch.ones(COEFFICIENTS, dtype=torch.float64)
    offset = torch.zeros(COEFFICIENTS, dtype=torch.float64)
    if settings.scaling == "spread":
        cosines[:, 0] /= math.sqrt(2.0)
        scale, offset = (torch.tensor(each, dtype=torch.float64) for each in (_SCALE, _OFFSET))
    window = torch.zeros(fft)
    window[:samples] = torch.hann_window(samples, periodic=True)
    return window, filters.float(), (cosines / scale).float(), (-offset / scale).float()


def _samples(settings: MfccSettings) -> int:
    """Return the samples of a window."""
    return RATE * settings.window_ms // 1000
