"""Log-mel frames against a loop over samples, and the stacking of frames to images."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.errors import DataError
from micronas.tasks.machines.front_end import SHORTEST, images, log_mel


def mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def by_the_book(sound: np.ndarray) -> np.ndarray:
    """Frames [n, 64] in float64, one filter at a time."""
    corners = np.linspace(0.0, mel(8000.0), 66)
    position = np.array([mel(k * 16000 / 1024) for k in range(513)])
    hann = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / 1024) for n in range(1024)])
    rows = []
    for start in range(0, len(sound) - 1023, 512):
        power = np.abs(np.fft.fft(sound[start : start + 1024] * hann)[:513]) ** 2
        row = []
        for band in range(64):
            low, peak, high = corners[band : band + 3]
            weights = np.interp(position, [low, peak, high], [0.0, 1.0, 0.0])
            row.append(math.log(float(weights @ power) + 1e-6))
        rows.append(row)
    return np.array(rows)


def test_frames_are_those_of_the_documented_recipe() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 4000)
    sound[1000:2000] += np.sin(np.arange(1000))
    found = log_mel(torch.from_numpy(sound).float()[None])[0].numpy()
    assert found.shape == (6, 64)
    np.testing.assert_allclose(found, by_the_book(sound), atol=1e-3)


def test_silence_is_the_floor() -> None:
    assert torch.allclose(log_mel(torch.zeros(1, 1024)), torch.tensor(math.log(1e-6)))


def test_images_start_every_twenty_frames_and_average_two_by_two() -> None:
    frames = torch.arange(105 * 64, dtype=torch.float32).reshape(105, 64)
    found = images(frames)
    assert found.shape == (3, 32, 32)
    # Frames 20, 21 and bands 0, 1: the mean of 1280, 1281, 1344 and 1345.
    assert found[1, 0, 0] == 1312.5
    assert found[2, 31, 31] == frames[102:104, 62:64].mean()


def test_halving_is_bilinear_interpolation() -> None:
    frames = torch.randn(64, 64)
    bilinear = torch.nn.functional.interpolate(
        frames[None, None], size=(32, 32), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(images(frames), bilinear[0])


@settings(max_examples=30)
@given(st.integers(1, 200), st.integers(0, 63))
def test_number_of_images(frames: int, overlap: int) -> None:
    expected = len([start for start in range(0, frames - 63, 64 - overlap)])
    assert images(torch.zeros(frames, 64), overlap=overlap).shape == (expected, 32, 32)


def test_the_shortest_clip_makes_one_image() -> None:
    sound = torch.zeros(1, SHORTEST)
    assert len(images(log_mel(sound)[0])) == 1
    assert len(images(log_mel(sound[:, 1:])[0])) == 0


def test_what_cannot_be_framed_is_refused() -> None:
    with pytest.raises(DataError, match=r"at least 1024 samples, but are \(1, 1023\)"):
        log_mel(torch.zeros(1, 1023))
