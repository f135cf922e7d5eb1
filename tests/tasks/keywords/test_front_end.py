"""Features against a slow implementation in NumPy and SciPy, and against hand-made signals."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.fft import dct

from micronas.errors import ConfigError, DataError
from micronas.tasks.keywords.front_end import LIMIT, mfcc
from micronas.tasks.keywords.settings import MfccSettings

OFFSET = np.array([-6, 4, 0, 0, 0, 0, 0, 0, 0, 0.0])
SCALE = np.array([9, 5, 4, 4, 4, 3, 3, 3, 3, 3.0])


def slow_mfcc(
    waveform: NDArray[np.float64], window: int, fft: int, *, mlperf: bool = False
) -> NDArray[np.float64]:
    """Follow the definition frame by frame and filter by filter, in double precision."""
    if mlperf:
        waveform = waveform / waveform.max()

    def to_mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    low, high = to_mel(20), to_mel(4000)
    corners = [low + i * (high - low) / 41 for i in range(42)]
    result = np.zeros((49, 10))
    for t in range(49):
        frame = np.zeros(fft)
        for i in range(window):
            hann = math.sin(math.pi * i / window) ** 2
            frame[i] = waveform[320 * t + i] * hann
        power = np.abs(np.fft.fft(frame)) ** (1 if mlperf else 2)
        logs = np.zeros(40)
        for m in range(40):
            left, centre, right = corners[m : m + 3]
            energy = 0.0
            for k in range(fft // 2 + 1):
                mel = to_mel(k * 16000 / fft)
                if left < mel <= centre:
                    energy += power[k] * (mel - left) / (centre - left)
                elif centre < mel < right:
                    energy += power[k] * (right - mel) / (right - centre)
            logs[m] = math.log(energy + (1e-6 if mlperf else 0.1))
        # what `tf.signal.mfccs_from_log_mel_spectrograms` computes
        plain = dct(logs, type=2) / math.sqrt(2 * 40)
        result[t] = (plain if mlperf else dct(logs, type=2, norm="ortho"))[:10]
    if mlperf:
        return result
    return np.clip((result - OFFSET) / SCALE, -4, 4)


MLPERF = MfccSettings(30, "magnitude", 1e-6, "peak", "tensorflow")


@pytest.mark.parametrize(
    ("settings", "window", "fft"),
    [(MfccSettings(40), 640, 1024), (MfccSettings(30), 480, 512), (MLPERF, 480, 512)],
)
def test_features_follow_their_definition(settings: MfccSettings, window: int, fft: int) -> None:
    generator = np.random.default_rng(3)
    time = np.arange(16000) / 16000
    chirp = 0.5 * np.sin(2 * np.pi * (200 * time + 1500 * time**2)) * (time > 0.3)
    waveform = chirp + 0.01 * generator.standard_normal(16000)
    computed = mfcc(torch.from_numpy(waveform).float().unsqueeze(0), settings)
    assert computed.shape == (1, 49, 10)
    assert computed.dtype == torch.float32
    expected = slow_mfcc(waveform, window, fft, mlperf=settings == MLPERF)
    np.testing.assert_allclose(computed[0].numpy(), expected, atol=2e-4)


def test_silence_is_the_logarithm_of_the_floor() -> None:
    # Only the constant coefficient is not zero: ln(0.1) * 40 / sqrt(40), then the affine map.
    first = (math.log(0.1) * math.sqrt(40) + 6) / 9
    expected = torch.tensor([first, -0.8, *[0.0] * 8]).expand(49, 10)
    torch.testing.assert_close(mfcc(torch.zeros(1, 16000))[0], expected, atol=1e-5, rtol=0)


def test_a_batch_is_its_clips_one_by_one() -> None:
    waveforms = 0.3 * torch.randn(5, 16000, generator=torch.Generator().manual_seed(2))
    each = torch.cat([mfcc(waveform.unsqueeze(0)) for waveform in waveforms])
    torch.testing.assert_close(mfcc(waveforms), each, atol=1e-5, rtol=0)


def test_features_stay_within_the_limit() -> None:
    overdriven = 1e5 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(3))
    assert mfcc(overdriven).abs().max().item() == LIMIT == 4.0


def test_wrong_settings_and_shapes_name_the_value() -> None:
    with pytest.raises(ConfigError, match="must be 30 or 40, but is 25"):
        MfccSettings(window_ms=25)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must be power or magnitude, but is 'energy'"):
        MfccSettings(spectrum="energy")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must be 1e-9 to 1e3, but is 0"):
        MfccSettings(log_floor=0)
    with pytest.raises(DataError, match=r"\(1, 8000\)"):
        mfcc(torch.zeros(1, 8000))
