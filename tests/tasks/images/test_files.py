"""What becomes of unusual and damaged image files, pixel by pixel."""

import hashlib
import io
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from micronas.errors import DataError
from micronas.tasks.images.files import decode, read_images, resize

SIDE = 16


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flat(mode: str, color: Any) -> Image.Image:
    return Image.new(mode, (SIDE, SIDE), color)


def pixel(data: bytes, color: str = "rgb") -> list[int]:
    pixels = resize(decode(data, "it"), size=32, color=color, fit="stretch")  # type: ignore[arg-type]
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3 if color == "rgb" else 1, 32, 32)
    return pixels[:, 16, 16].tolist()


def palette() -> Image.Image:
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    return image


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(flat("RGB", (10, 200, 30)), "PNG"), [10, 200, 30]),
        (encode(flat("L", 77), "PNG"), [77, 77, 77]),
        (encode(flat("1", 1), "PNG"), [255, 255, 255]),
        (encode(palette(), "PNG"), [10, 200, 30]),
        (encode(palette(), "PNG", transparency=1), [255, 255, 255]),
        (encode(palette(), "GIF"), [10, 200, 30]),
        # Half transparent black on white: 255 x (1 - 128/255) = 127.
        (encode(flat("RGBA", (0, 0, 0, 128)), "PNG"), [127, 127, 127]),
        (encode(flat("LA", (0, 128)), "PNG"), [127, 127, 127]),
        (encode(flat("L", 77), "PNG", transparency=77), [255, 255, 255]),
        # 16 bits: 257 steps are one of 255.
        (encode(Image.fromarray(np.full((SIDE, SIDE), 257 * 100, np.uint16)), "PNG"), [100] * 3),
        (encode(Image.fromarray(np.full((SIDE, SIDE), 65535, np.uint16)), "TIFF"), [255] * 3),
        (encode(Image.fromarray(np.full((SIDE, SIDE), 257 * 9, np.int32)), "TIFF"), [9] * 3),
        # Without black ink, a colour is 255 minus its inks.
        (encode(flat("CMYK", (55, 155, 205, 0)), "TIFF"), [200, 100, 50]),
    ],
)
def test_conversions(data: bytes, expected: list[int]) -> None:
    assert pixel(data) == expected


def test_cmyk_jpeg_is_not_inverted() -> None:
    data = encode(flat("CMYK", (0, 0, 0, 0)), "JPEG", quality=95)
    assert min(pixel(data)) > 250


def test_gray_is_luma() -> None:
    # ITU-R 601: 0.299 x 10 + 0.587 x 200 + 0.114 x 30 = 123.81
    assert pixel(encode(flat("RGB", (10, 200, 30)), "PNG"), "gray") == [124]


def test_orientation_of_the_camera_is_applied() -> None:
    levels = np.zeros((32, 32), np.uint8)
    levels[:16] = 200
    exif = Image.Exif()
    # Orientation 3: turned by 180 degrees.
    exif[0x0112] = 3
    data = encode(Image.fromarray(levels), "PNG", exif=exif)
    turned = resize(decode(data, "it"), size=32, color="gray", fit="stretch")[0]
    assert turned[:15].max() == 0
    assert turned[17:].min() == 200


def test_an_animation_is_its_first_frame() -> None:
    frames = [flat("L", 40), flat("L", 90)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixel(data) == [40] * 3


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_scaling_down_averages_over_all_pixels(across: int, down: int, seed: int) -> None:
    """The triangle filter by its definition, in float64: support is twice the scale."""
    levels = np.random.default_rng(seed).integers(0, 256, (32 * down, 32 * across))
    image = Image.fromarray(levels.astype(np.uint8))
    ours = resize(image, size=32, color="gray", fit="stretch")[0]

    def weights(scale: int) -> np.ndarray:
        centre = (np.arange(32)[:, None] + 0.5) * scale
        distance = np.abs(np.arange(32 * scale)[None] + 0.5 - centre) / scale
        triangle = np.maximum(0.0, 1.0 - distance)
        return triangle / triangle.sum(1, keepdims=True)

    expected = weights(down) @ levels @ weights(across).T
    # Pillow rounds after each of the two passes.
    assert np.abs(ours - expected).max() <= 1.0


def test_fit() -> None:
    levels = np.zeros((32, 96), np.uint8)
    levels[:, 32:64] = 200
    image = Image.fromarray(levels)
    assert resize(image, size=32, color="gray", fit="crop").min() == 200
    stretched = resize(image, size=32, color="gray", fit="stretch")[0, 0]
    assert stretched[[0, 16, 31]].tolist() == [0, 200, 0]
    assert resize(Image.fromarray(levels.T), size=32, color="gray", fit="crop").min() == 200


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8))

DEEP = Image.fromarray(np.zeros((20, 20), np.uint16))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has 0 bytes"),
        (b"not an image at all", "no such format"),
        (encode(PHOTO, "PNG")[:400], "cannot be decoded"),
        (encode(PHOTO, "JPEG")[:-100], "truncated"),
        (encode(Image.fromarray(np.zeros((20, 20), np.float32)), "TIFF"), "floating point"),
        (encode(Image.fromarray(np.full((20, 20), -5, np.int32)), "TIFF"), "beyond 16 bits"),
        (encode(DEEP, "PNG", transparency=0), "colours of 16 bits is transparent: save it with 8"),
        # PostScript runs a program of its own.
        (encode(PHOTO, "EPS"), "no such format"),
        # Headers that promise more pixels than Pillow's limit, and than twice that.
        (b"P5 10000 10000 255\n", "more than 89,478,485 pixels"),
        (b"P5 40000 40000 255\n", "more than 89,478,485 pixels"),
    ],
)
def test_refused(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        decode(data, "folder/it.png")
    assert "folder/it.png" in str(caught.value)
    assert "\n" not in str(caught.value)


def damage(data: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return data[: chance.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(chance.choice((1, 4, 32))):
        place = chance.randrange(len(changed) if chance.random() < 0.6 else 64)
        changed[place] = chance.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_files_are_named_or_harmless(tmp_path: Path, count: int) -> None:
    chance = random.Random(0)
    rgba = PHOTO.convert("RGBA")
    whole = [
        encode(PHOTO, "PNG"),
        encode(PHOTO, "JPEG"),
        encode(PHOTO.convert("CMYK"), "JPEG"),
        encode(PHOTO.convert("P"), "GIF"),
        encode(PHOTO, "BMP"),
        encode(PHOTO, "TIFF", compression="tiff_lzw"),
        encode(rgba, "PNG"),
        encode(rgba, "WEBP"),
        encode(PHOTO, "PPM"),
    ]
    paths = []
    for number in range(count):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(damage(whole[number % len(whole)], chance))
    read = read_images(paths, size=32, color="rgb", fit="stretch")
    assert len(read.problems) == count
    for path, problem, pixels in zip(paths, read.problems, read.pixels, strict=True):
        if problem:
            assert str(path) in problem
            assert "\n" not in problem
            assert not pixels.any()
    refused = sum(map(bool, read.problems))
    assert count / 4 < refused < count, "some must be refused and some be harmless"


def write_images(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((20, 20), 10 * i, np.uint8)).save(path)
    return paths


def test_files_that_are_not_there_or_small_are_named(tmp_path: Path) -> None:
    paths = [*write_images(tmp_path, 1), tmp_path / "gone.png", tmp_path / "tiny.png", tmp_path]
    Image.new("L", (40, 15)).save(paths[2])
    read = read_images(paths, size=32, color="gray", fit="stretch")
    assert read.digests[0] == hashlib.sha1(paths[0].read_bytes()).hexdigest()
    assert read.problems[0] == ""
    assert "gone.png is not (No such file" in read.problems[1]
    assert "tiny.png is 40x15" in read.problems[2]
    assert "Is a directory" in read.problems[3]


def test_cache_holds_what_was_read(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    paths = write_images(tmp_path, 4)
    paths[2].write_bytes(b"broken")
    plain = read_images(paths, size=32, color="gray", fit="stretch")

    for _ in range(2):
        read = read_images(paths, size=32, color="gray", fit="stretch", cache=cache)
        assert np.array_equal(read.pixels, plain.pixels)
        assert (read.digests, read.problems) == (plain.digests, plain.problems)
        (file,) = cache.iterdir()
        when = file.stat().st_mtime_ns
    again = read_images(paths, size=32, color="gray", fit="stretch", cache=cache)
    assert (file.stat().st_mtime_ns, isinstance(again.pixels, np.memmap)) == (when, True)


def test_cache_notices_changes(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 2)

    def read(**options: Any) -> np.ndarray:
        options = {"size": 32, "color": "gray", "fit": "stretch", **options}
        return read_images(paths, cache=tmp_path / "cache", **options).pixels

    assert read()[0].max() == 0
    assert read(size=40).shape == (2, 1, 40, 40)
    assert read(color="rgb").shape == (2, 3, 32, 32)
    content = bytearray(encode(flat("L", 0), "BMP"))
    paths[0].write_bytes(content)
    assert read()[0].max() == 0
    content[-SIDE * SIDE :] = bytes([60]) * SIDE * SIDE
    paths[0].write_bytes(content)
    # The size is the same; the time must be enough.
    os.utime(paths[0], ns=(1, 1))
    assert read()[0].min() == 60


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="the cache must be a folder"):
        read_images([], size=32, color="gray", fit="stretch", cache=tmp_path / "file")
