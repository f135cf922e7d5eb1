"""Reading, resampling and cutting sound, against SciPy and hand-made numbers."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample as fourier_resample
from scipy.signal import welch

from micronas.errors import DataError
from micronas.tasks.waveform import coloured_noise, one_second, read_samples, resample, to_int16


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_its_phase(rate: int) -> None:
    # 2.5 kHz lies within the band of every rate.
    tone = np.sin(2 * np.pi * 2500 * np.arange(rate) / rate + 0.3)
    resampled = resample(tone, rate, 16000)
    expected = np.sin(2 * np.pi * 2500 * np.arange(16000) / 16000 + 0.3)
    assert len(resampled) == 16000
    assert np.abs(resampled - expected)[200:-200].max() < 1e-4


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    tone = np.sin(2 * np.pi * 9500 * np.arange(22050) / 22050)
    assert np.abs(resample(tone, 22050, 16000))[200:-200].max() < 1e-4


def test_resampling_agrees_with_the_fourier_method_on_a_periodic_signal() -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(22050))
    spectrum[6000:] = 0
    noise = np.fft.irfft(spectrum)
    ours, exact = resample(noise, 22050, 16000), fourier_resample(noise, 16000)
    np.testing.assert_allclose(ours[300:-300], exact[300:-300], atol=2e-4)


@given(st.integers(1, 700), st.sampled_from([(3, 1), (1, 3), (320, 441), (2, 3)]))
def test_length_is_that_of_the_new_rate_rounded_up(length: int, ratio: tuple[int, int]) -> None:
    up, down = ratio
    assert len(resample(np.ones(length), down * 100, up * 100)) == -(-length * up // down)


def test_short_clips_are_padded_at_the_end_and_long_ones_cut_in_the_middle() -> None:
    short = one_second(np.array([1, 2, 3], np.int16))
    assert short[:4].tolist() == [1, 2, 3, 0]
    assert len(short) == 16000
    long = one_second(np.arange(-8000, 12000).astype(np.int16))
    assert (long[0], long[-1], len(long)) == (-6000, 9999, 16000)


def test_int16_files_are_read_exactly(tmp_path: Path) -> None:
    samples = np.array([-32768, -1, 0, 1, 12345, 32767], np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="PCM_16")
    assert read_samples(tmp_path / "a.wav").tolist() == samples.tolist()


def test_float_stereo_at_another_rate_is_mixed_and_resampled(tmp_path: Path) -> None:
    time = np.arange(48000) / 48000
    left = 0.5 * np.sin(2 * np.pi * 440 * time)
    stereo = np.stack([left, np.zeros_like(left)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 48000, subtype="FLOAT")
    samples = read_samples(tmp_path / "a.wav")
    expected = 0.25 * 32768 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(samples - expected)[200:-200].max() < 5


def test_full_scale_does_not_wrap() -> None:
    assert to_int16(np.array([1.0, -1.5, 0.5])).tolist() == [32767, -32768, 16384]


def test_bad_files_name_their_path(tmp_path: Path) -> None:
    """Among them integers that were stored as floats, of which only full scale was left."""
    (tmp_path / "text.wav").write_text("not a sound")
    rates = {"slow": 7, "low": 3_975, "odd": 16_001, "high": 192_025, "fast": 2**31 - 1}
    for name, rate in rates.items():  # of damaged headers
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(9), rate)
    for name, samples in {
        "empty": [],
        "nan": [0.0, np.nan],
        "inf": [-np.inf, 0],
        "whole": [0, -9e3],
    }.items():
        soundfile.write(tmp_path / f"{name}.wav", np.array(samples, float), 16000, subtype="FLOAT")
    for name, said in {
        "text": "cannot be read",
        **{name: f"has rate={rate}; convert" for name, rate in rates.items()},
        "empty": "is empty",
        "nan": "reaches nan of",
        "inf": "reaches inf of",
        "whole": "reaches 9000 of a full scale of 1; replace",
    }.items():
        with pytest.raises(DataError, match=rf"{name}\.wav {said}"):
            read_samples(tmp_path / f"{name}.wav")


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_has_its_colour(exponent: float) -> None:
    noise = coloured_noise(30 * 16000, exponent, np.random.default_rng(0))
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1.0)
    frequency, density = welch(noise, 16000, nperseg=4096)
    band = (frequency > 50) & (frequency < 7000)
    slope = np.polyfit(np.log(frequency[band]), np.log(density[band]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)
