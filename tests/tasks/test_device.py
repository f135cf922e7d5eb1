"""Front ends in C give the codes that training's Python gives, on this machine."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch import Tensor

from micronas.errors import ConfigError, DataError, ModelError
from micronas.export.firmware.front_ends import Camera, FrontEnd
from micronas.export.firmware.host import OnHost
from micronas.graph.ir import Quantization
from micronas.graph.kernels.codes import Values
from micronas.hardware.front_ends import front_end_costs
from micronas.tasks.device import front_end
from micronas.tasks.images.files import resize
from micronas.tasks.images.front_end import features
from micronas.tasks.keywords.front_end import mfcc
from micronas.tasks.keywords.settings import MfccSettings
from micronas.tasks.machines.front_end import SHORTEST, images, log_mel, standardise
from micronas.tasks.waveform import Samples, coloured_noise, to_int16
from micronas.views import Frames, Pixels
from tests.cases import first

CLIPS = 100


def scale(step: float, zero_point: int = -7) -> Quantization:
    return Quantization(np.array([step], np.float32), zero_point)


LIES = (
    ({"features": "mfcc", "window_ms": 1e999}, (1, 49, 10, 1)),
    ({"features": "log-mel"}, (1, 32, 32, 1)),
    ({"features": "log-mel", "mean": float("nan"), "deviation": 1.0}, (1, 32, 32, 1)),
    ({"features": "log-mel", "mean": 1e300, "deviation": 1.0}, (1, 32, 32, 1)),
    ({"features": "log-mel", "mean": 0.0, "deviation": 0.0}, (1, 32, 32, 1)),
    ({"features": "log-mel", "mean": 0.0, "deviation": 1e-25}, (1, 32, 32, 1)),
    ({"features": "pixels", "fit": "*/", "mean": 128.0}, (1, 32, 32, 3)),
    ({"features": "pixels", "fit": "crop", "mean": 0.0}, (1, 32, 32, 3)),
    *(
        ({"features": "series", "window": 8, "mean": m, "deviation": d, "limit": top}, (1, 8, 1, 2))
        for m, d, top in (
            ([0.0, float("nan")], [1.0, 1.0], 4.0),
            ([0.0, 1e39], [1.0, 1.0], 4.0),
            ([0.0, 0.0], [1.0], 4.0),
            ([0.0, 0.0], [1.0, 0.0], 4.0),
            ([0.0, 0.0], [1.0, 1.0], float("inf")),
        )
    ),
)


@pytest.mark.parametrize(("meaning", "shape"), LIES)
def test_a_meaning_that_no_device_can_compute_is_refused(
    meaning: dict[str, Any], shape: tuple[int, ...]
) -> None:
    """Else C that does not compile, or reads beyond its tables."""
    with pytest.raises(ModelError, match=r"metadata must describe|numbers that a device can"):
        made(meaning, shape).files(scale(0.03))


def made(meaning: dict[str, Any], shape: tuple[int, ...], **more: Any) -> FrontEnd:
    found = front_end(meaning, shape, **more)
    assert found is not None
    return found


def codes(values: np.ndarray, quantization: Quantization) -> Values:
    steps = np.rint(values.astype(np.float32) / quantization.scale) + quantization.zero_point
    return np.clip(steps, -128, 127).astype(np.int8)


def sounds(samples: int) -> list[Samples]:
    """Noises of all colours that come and go, from 80 dB below full scale to clipping; silence."""
    source = np.random.default_rng(5)
    time = np.arange(samples)
    found = [np.zeros(samples, np.int16)]
    for _ in range(CLIPS - 1):
        noise = coloured_noise(samples, source.uniform(0, 2), source)
        loud = 10 ** source.uniform(-4, 0) * np.sin(time * source.uniform(1e-4, 1e-3)) ** 2
        found.append(to_int16(noise * loud + 0.1 * loud * np.sin(time * source.uniform(0.01, 3))))
    return found


def waveform(clip: Samples) -> Tensor:
    return torch.from_numpy(clip[None]).float() / 32768


def differing(device: OnHost, clips: list[Samples], expected: list[Values]) -> int:
    """Count codes that differ; none by more than one."""
    pairs = zip(clips, expected, strict=True)
    gaps = np.concatenate(
        [device.codes(clip).astype(int) - wanted.reshape(-1) for clip, wanted in pairs]
    )
    assert abs(gaps).max() <= 1
    return int((gaps != 0).sum())


def check_both(made: FrontEnd, step: float, clips: list[Samples], values: list[Tensor]) -> None:
    """In floats all codes are those of training, in fixed point all but a thousandth."""
    quantization = scale(step)
    expected = [codes(each.numpy(), quantization) for each in values]
    assert differing(OnHost(made, quantization), clips, expected) == 0
    fixed = OnHost(made, quantization, fixed_point=True)
    assert differing(fixed, clips, expected) <= sum(each.size for each in expected) // 1000


@first(
    ("settings", "step"),
    [
        (MfccSettings(30), 0.0297952),
        (MfccSettings(40), 0.0297952),
        (MfccSettings(30, "magnitude", 1e-6, scaling="tensorflow"), 0.5847029),
        (MfccSettings(40, "magnitude"), 0.0297952),
    ],
    1,
)
def test_coefficients_of_speech(settings: MfccSettings, step: float) -> None:
    clips = sounds(16_000)
    values = [mfcc(waveform(clip), settings) for clip in clips]
    check_both(made(settings.meaning, (1, 49, 10, 1)), step, clips, values)


@pytest.mark.parametrize("window_ms", [30, 40])
def test_every_second_frame_and_the_first_coefficients(window_ms: int) -> None:
    """As a search may see them; frames of 30 ms leave out 10 ms then."""
    settings, clips = MfccSettings(window_ms=window_ms), sounds(16_000)[:20]
    meaning = {"features": "mfcc", "window_ms": window_ms}
    seen = made({**meaning, **Frames().meaning((49, 10, 1), (25, 1, 8))}, (1, 25, 1, 8))
    check_both(seen, 0.03, clips, [mfcc(waveform(clip), settings)[:, ::2, :8] for clip in clips])


def test_log_mel_images_of_machines() -> None:
    clips = sounds(SHORTEST)
    meaning = {"features": "log-mel", "mean": -4.123456, "deviation": 3.2}
    values = [standardise(images(log_mel(waveform(clip))[0]), -4.123456, 3.2) for clip in clips]
    check_both(made(meaning, (1, 32, 32, 1)), 0.0312, clips, values)


def test_a_stream_gives_the_codes_of_its_latest_second() -> None:
    """Pieces of any length; the window moves on by a hop of 320 samples."""
    quantization = scale(0.03)
    heard = made({"features": "mfcc", "window_ms": 40}, (1, 49, 10, 1))
    device, clip = OnHost(heard, quantization), sounds(16_000 + 3 * 320)[2]
    latest = mfcc(waveform(clip[3 * 320 :]), MfccSettings(window_ms=40)).numpy()
    assert np.array_equal(device.codes(clip), codes(latest, quantization).reshape(-1))
    with pytest.raises(DataError, match="15999 samples are too few"):
        device.codes(clip[:15_999])
    with pytest.raises(DataError, match="must be int16"):
        device.codes(clip.astype(np.int32))


@pytest.mark.parametrize(
    ("camera", "size", "color", "fit"),
    [
        ("160x120:gray", 96, "gray", "stretch"),
        ("320x240:rgb", 96, "gray", "crop"),
        ("161x97:rgb", 50, "rgb", "crop"),
        ("176x144:rgb565", 160, "rgb", "stretch"),
        ("64x48:rgb565", 96, "gray", "crop"),
        ("33x47:rgb", 32, "rgb", "stretch"),
        ("41x100:gray", 32, "gray", "crop"),
    ],
)
def test_pictures(camera: str, size: int, color: str, fit: str) -> None:
    """Smaller and larger than the network's input, cut and squeezed, upright too; 20 of each."""
    source, quantization = np.random.default_rng(1), scale(1 / 128, 0)
    given, channels = Camera.parse(camera), 1 if color == "gray" else 3
    shape = (given.height, given.width)
    meaning = {"features": "pixels", "fit": fit, "mean": 128.0}
    device = OnHost(made(meaning, (1, size, size, channels), camera=given), quantization)
    for _ in range(CLIPS // 5):
        if given.format == "rgb565":
            word = source.integers(0, 2**16, shape, np.uint16)
            red, green, blue = word >> 11, word >> 5 & 63, word & 31
            wide = (red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2)
            pixels, raw = np.stack(wide, 2).astype(np.uint8), word.astype("<u2").view(np.uint8)
        else:
            rest = () if given.format == "gray" else (3,)
            pixels = raw = source.integers(0, 256, (*shape, *rest), np.uint8)
        picture = Picture.fromarray(pixels)
        scaled = resize(picture, size=size, color=color, fit=fit)  # type: ignore[arg-type]
        expected = codes(features(torch.from_numpy(scaled.copy()).float()).numpy(), quantization)
        assert np.array_equal(device.codes(raw), expected.transpose(1, 2, 0).reshape(-1))


@pytest.mark.parametrize(
    ("meaning", "shape"),
    [
        ({}, (1, 4)),
        ({"features": "smell"}, (1, 4)),
        (MfccSettings(level="peak").meaning, (1, 49, 10, 1)),  # no device divides by it
    ],
)
def test_an_input_that_no_code_computes_has_no_front_end(
    meaning: dict[str, Any], shape: tuple[int, ...]
) -> None:
    assert front_end(meaning, shape) is None


def test_pictures_seen_smaller_than_they_were_read_have_no_front_end() -> None:
    """Training took means of areas, or gray of scaled colours; no other codes are passed for it."""
    meaning = {"features": "pixels", "fit": "crop", "mean": 128.0}
    for read, shape in (((96, 96, 1), (48, 48, 1)), ((96, 96, 3), (96, 96, 1))):
        seen = {**meaning, **Pixels().meaning(read, shape)}
        assert front_end(seen, (1, *shape)) is None
        assert front_end_costs(seen, shape) is None


def test_windows_of_sensors() -> None:
    """The codes of float32 arithmetic in NumPy; a reading that is no number counts as low."""
    source, quantization = np.random.default_rng(2), scale(0.0311, 3)
    mean, deviation = np.array([0.1, -9.81, 300], np.float32), np.array([1, 0.03, 70], np.float32)
    meaning = {
        **{"features": "series", "window": 64, "limit": 4.0},
        **{"mean": mean.tolist(), "deviation": deviation.tolist()},
    }
    device = OnHost(made(meaning, (1, 64, 1, 3)), quantization)
    for _ in range(CLIPS):
        readings = (source.normal(size=(80, 3)) * deviation * 2 + mean).astype(np.float32)
        wanted = np.clip((readings[-64:] - mean) / deviation, -4, 4)
        assert np.array_equal(device.codes(readings), codes(wanted, quantization).reshape(-1))
    assert device.codes(np.full((64, 3), np.nan, np.float32))[0] == round(-4 / 0.0311) + 3


@pytest.mark.parametrize("text", ["160x120", "8x120:gray", "160x120:yuv", "1e3x9:gray", ""])
def test_a_camera_is_written_in_one_way(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 160x120:gray"):
        Camera.parse(text)
