"""Decode image files to pixels of one size: conversion, refusal, and a cache on disk."""

import hashlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from micronas.errors import DataError
from micronas.files import regular
from micronas.tasks.cache import Notes, cached

_Color = Literal["gray", "rgb"]
Fit = Literal["stretch", "crop"]
Pixels = npt.NDArray[np.uint8]
Box = tuple[float, ...]
"""Left, top, right and bottom of a part of an image, in pixels; then the image's width and height,
where its annotations state them."""

_SHORTEST_SIDE = 16
"""Shortest side in pixels of an image that is used: smaller ones show nothing to learn from."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Accepted formats; others, such as EPS, would start other programs."""
_BOMBS = (Image.DecompressionBombWarning, Image.DecompressionBombError)
"""What Pillow raises beyond its limit and beyond twice that; the latter names twice the limit."""
_CACHE_VERSION = 4
_PIECE = 512
"""Most images in memory before they are written."""


@dataclass(frozen=True)
class ReadImages:
    """Outcome of reading a list of files; all three have one entry each, in the list's order."""

    pixels: Pixels
    """uint8 [N, channels, size, size]; zeros where there is a problem."""
    digests: tuple[str, ...]
    """SHA-1 of each file's bytes, empty where the file could not be opened."""
    problems: tuple[str, ...]
    """Reason why each file was refused, in one line with its name; empty for the others."""


def decode(data: bytes, name: object) -> Image.Image:
    """Decode an image file into mode ``L`` or ``RGB``.

    It is a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM, regardless of its name. The first frame of an
    animation counts. The camera's orientation (EXIF) is applied. Palettes are looked up;
    transparency is composed on white; CMYK and YCbCr become RGB; 16-bit gray is divided by 257.
    Colour profiles are ignored. Raises DataError if the file is empty, no image of these kinds,
    damaged or cut short, larger than 89 million pixels, floating point, or a PNG of 2, 4 or 16 bits
    with a transparent colour.
    """
    with _strict():
        return _decoded(data, name)


@contextmanager
def _strict() -> Iterator[None]:
    """Turn Pillow's decompression bomb warning into an error, and hide others; for all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _decoded(data: bytes, name: object) -> Image.Image:
    """Decode an image file within `_strict`."""
    if not data:
        raise DataError(f"an image must not be empty, but {name} has 0 bytes; copy it again")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            if opened.format == "PNG" and opened.mode != "P" and "transparency" in opened.info:
                _check_depth(data[24])
            return _plain(ImageOps.exif_transpose(opened))
    # Decoders raise many errors on a damaged file: OSError, SyntaxError, struct errors, KeyError.
    # All mean the same here; the message says which it was.
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            said = "no such format"
        elif isinstance(error, _BOMBS):
            said = f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
        raise DataError(
            f"an image must be a whole PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file, but {name} "
            f"cannot be decoded ({said}); replace or delete it"
        ) from error


def _check_depth(bits: int) -> None:
    # Pillow scales levels of other depths to 8 bits, and the transparent one not
    if bits not in (1, 8):
        raise ValueError(f"one of its colours of {bits} bits is transparent: save it with 8")


def refuse_another_size(image: Image.Image, box: Box | None, name: object) -> None:
    """Raise DataError if a box is of an image of another size: it would show something else."""
    if box and box[4:] not in ((), image.size):
        raise DataError(
            f"an image must be as large as its annotations say, {box[4]:g}x{box[5]:g}, but {name} "
            f"is {image.width}x{image.height}; scale the boxes, or name the original images"
        )


def resize(image: Image.Image, *, size: int, color: _Color, fit: Fit) -> Pixels:
    """Bring an image to a square of pixels, uint8 [channels, size, size].

    ``stretch`` scales the whole image into the square, which cuts nothing off; ``crop`` takes the
    middle square. Gray is ITU-R 601 luma. The resampling is Pillow's bilinear filter, which
    averages over all the source pixels that a result covers (antialiased): across, then down, as in
    the firmware.
    """
    (width, height), (left, top) = image.size, (0.0, 0.0)
    across, down = width, height
    if fit == "crop":
        across = down = min(image.size)
        left, top = (width - across) / 2, (height - down) / 2
    converted = image.convert("L" if color == "gray" else "RGB")
    # one call for each direction: which of them Pillow takes first depends on size and version
    filtered = Image.Resampling.BILINEAR
    wide = converted.resize((size, height), filtered, (left, 0, left + across, height))
    scaled = wide.resize((size, size), filtered, (0, top, size, top + down))
    pixels: Pixels = np.asarray(scaled).reshape(size, size, -1).transpose(2, 0, 1)
    return pixels


def read_images(
    paths: Sequence[Path],
    *,
    size: int,
    color: _Color,
    fit: Fit,
    boxes: Sequence[Box | None] | None = None,
    cache: Path | None = None,
) -> ReadImages:
    """Read files into memory, or into a memory-mapped file of the cache folder.

    A file with several boxes to cut out is listed once for each. The folder is made if needed, and
    its contents are used again while names, sizes and times of all files, and these settings, stay
    the same. Raises DataError if the cache cannot be written.
    """
    tail = (1 if color == "gray" else 3, size, size)
    images = list(zip(paths, boxes or [None] * len(paths), strict=True))
    key = _cache_key(images, size, color, fit)
    build = partial(_rows, images, tail=tail, color=color, fit=fit)
    try:
        file = None if cache is None else cache / f"{key}.bin"
        found = cached(file, key, tail=tail, dtype=np.uint8, build=build)
    except OSError as error:
        raise DataError(
            f"the cache must be a folder that can be written: {error}; name another one"
        ) from error
    return ReadImages(found.array, tuple(found.notes["digests"]), tuple(found.notes["problems"]))


def read_file(path: Path) -> bytes:
    """Read a file's bytes; DataError instead of OSError."""
    try:
        return regular(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            f"an image must be a file that can be read, but {path} is not ({reason}); restore it, "
            "or remove it from the annotations"
        ) from error


def _plain(image: Image.Image) -> Image.Image:
    """Convert to mode L or RGB by the rules of `decode`."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("gray levels beyond 16 bits")
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating point pixels have no defined range")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    # a copy even where nothing changes: the file will be closed
    return image.convert("L") if image.mode in ("1", "L") else image.convert("RGB")


def cut_out(image: Image.Image, box: Box | None, name: object) -> Image.Image:
    """Return an image's part in a box, in whole pixels, or all; DataError if under 16 a side."""
    if box is not None:
        (left, right), (top, bottom) = (
            (round(min(max(low, 0), side - 1)), round(min(max(high, 0), side)))
            for low, high, side in zip(box[:2], box[2:4], image.size, strict=True)
        )
        # an empty box becomes one pixel, which is refused as too small
        image = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
        name = f"the box at {left}, {top} of {name}"
    if min(image.size) < _SHORTEST_SIDE:
        raise DataError(
            f"an image must have at least {_SHORTEST_SIDE} pixels a side, but {name} is "
            f"{image.width}x{image.height}; replace or delete it"
        )
    return image


def _rows(
    images: Sequence[tuple[Path, Box | None]],
    notes: Notes,
    *,
    tail: tuple[int, ...],
    color: _Color,
    fit: Fit,
) -> Iterator[Pixels]:
    """Yield decoded pieces, computed in threads, which save a third of the time on two cores."""
    digests: list[str] = []
    problems: list[str] = []

    def read(path: Path, boxes: Sequence[Box | None]) -> list[tuple[str, str, Pixels | None]]:
        digest = ""
        try:
            data = read_file(path)
            digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            image = _decoded(data, path)
            refuse_another_size(image, boxes[0], path)
        except DataError as error:
            return [(digest, str(error), None)] * len(boxes)
        return [(digest, *seen(path, image, box)) for box in boxes]

    def seen(path: Path, image: Image.Image, box: Box | None) -> tuple[str, Pixels | None]:
        try:
            part = cut_out(image, box, path)
            return "", resize(part, size=tail[-1], color=color, fit=fit)
        except DataError as error:
            return str(error), None

    with (
        _strict(),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(images), desc="images", unit="image", leave=False, disable=None) as bar,
    ):
        for start in range(0, len(images), _PIECE):
            some = images[start : start + _PIECE]
            by_file = [
                (path, [box for _, box in same])
                for path, same in groupby(some, key=lambda each: each[0])
            ]
            pixels: Pixels = np.zeros((len(some), *tail), np.uint8)
            found = chain.from_iterable(pool.map(read, *zip(*by_file, strict=True)))
            for row, (digest, problem, shown) in zip(pixels, found, strict=True):
                if shown is not None:
                    row[:] = shown
                digests.append(digest)
                problems.append(problem)
            yield pixels
            bar.update(len(some))
    notes.update(digests=digests, problems=problems)


def _cache_key(
    images: Sequence[tuple[Path, Box | None]], size: int, color: _Color, fit: Fit
) -> str:
    key = hashlib.sha1(f"{_CACHE_VERSION} {size} {color} {fit}".encode(), usedforsecurity=False)
    for path, box in images:
        stamp: tuple[float, ...] = box or ()
        if path.is_file():
            status = path.stat()
            stamp = (status.st_size, status.st_mtime_ns, *stamp)
        key.update(f"\0{path.absolute()}\0{stamp}".encode("utf-8", "surrogateescape"))
    return key.hexdigest()
