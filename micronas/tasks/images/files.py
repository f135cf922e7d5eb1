"""Decode image files to pixels of one size: conversion, refusal, and a cache on disk."""

import hashlib
import io
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from micronas.errors import DataError
from micronas.files import write_atomically

Color = Literal["gray", "rgb"]
Fit = Literal["stretch", "crop"]
Pixels = npt.NDArray[np.uint8]

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
SHORTEST_SIDE = 16
"""Pixels below which an image is left out: a stamp of that size shows nothing to learn from."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What is tried; others, such as EPS, would start programs of their own."""
_CACHE_VERSION = 1
_PIECE = 512
"""Images that wait to be written, at most."""


@dataclass(frozen=True)
class ReadImages:
    """What became of a list of files; all three have one entry a file, in the list's order."""

    pixels: Pixels
    """uint8 [N, channels, size, size]; zeros where there is a problem."""
    digests: tuple[str, ...]
    """SHA-1 of each file's bytes, empty where the file could not be opened."""
    problems: tuple[str, ...]
    """Why a file was refused, in one line that names it; empty for the others."""


def decode(data: bytes, name: object) -> Image.Image:
    """Decode an image file into mode ``L`` or ``RGB``.

    Of an animation the first frame counts. The camera's orientation (EXIF) is applied. Palettes are
    looked up; transparency is laid on white; CMYK and YCbCr become RGB; 16-bit gray is divided by
    257. Colour profiles are ignored.

    Parameters
    ----------
    data
        Contents of the file: PNG, JPEG, WebP, BMP, GIF, TIFF or PPM, whatever its name says.
    name
        What to call it in errors.

    Raises
    ------
    DataError
        If it is empty, not an image of these kinds, damaged or cut short, larger than 89 million
        pixels, or floating point.
    """
    with _strict():
        return _decoded(data, name)


@contextmanager
def _strict() -> Iterator[None]:
    """Make an error of the warning about a bomb, and nothing of others; for all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _decoded(data: bytes, name: object) -> Image.Image:
    """Decode an image file, with warnings as `_strict` has them."""
    if not data:
        raise DataError(f"an image must not be empty, but {name} has 0 bytes; copy it again")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            return _plain(ImageOps.exif_transpose(opened))
    # Decoders raise whatever they stumble over in a damaged file: OSError, SyntaxError, struct
    # errors, KeyError. Each means the same here, and the message says which it was.
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            said = "no such format"
        raise DataError(
            f"an image must be a whole PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file, but {name} "
            f"cannot be decoded ({said}); replace or delete it"
        ) from error


def refuse_small(image: Image.Image, name: object) -> None:
    """Raise DataError if an image is shorter than 16 pixels on a side."""
    if min(image.size) < SHORTEST_SIDE:
        raise DataError(
            f"an image must have at least {SHORTEST_SIDE} pixels a side, but {name} is "
            f"{image.width}x{image.height}; replace or delete it"
        )


def resize(image: Image.Image, *, size: int, color: Color, fit: Fit) -> Pixels:
    """Bring an image to a square of pixels.

    Gray is ITU-R 601 luma. The resampling is Pillow's bilinear filter, which averages over all the
    source pixels that a result covers (antialiased).

    Parameters
    ----------
    size
        Pixels a side.
    fit
        ``stretch`` squeezes the whole image into the square, so that nobody is cut off;
        ``crop`` takes the middle square.

    Returns
    -------
    Pixels
        uint8 [channels, size, size].
    """
    box = None
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
    converted = image.convert("L" if color == "gray" else "RGB")
    scaled = converted.resize((size, size), Image.Resampling.BILINEAR, box)
    pixels: Pixels = np.asarray(scaled).reshape(size, size, -1).transpose(2, 0, 1)
    return pixels


def read_images(
    paths: Sequence[Path], *, size: int, color: Color, fit: Fit, cache: Path | None = None
) -> ReadImages:
    """Read files, in memory, or in a file of the cache folder that is memory-mapped.

    Parameters
    ----------
    cache
        A folder, made if need be. What it holds is used again while names, sizes and times of all
        files, and how they are read, stay the same.

    Raises
    ------
    DataError
        If the cache cannot be written.
    """
    shape = (len(paths), 1 if color == "gray" else 3, size, size)
    if cache is None:
        pixels: Pixels = np.zeros(shape, np.uint8)
        return _fill(pixels, paths, color, fit)
    key = _cache_key(paths, size, color, fit)
    data, index = cache / f"{key}.npy", cache / f"{key}.json"
    found = _from_cache(data, index, shape)
    if found is not None:
        return found
    partial = cache / f".{key}.{os.getpid()}.npy"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        needed, free = math.prod(shape), shutil.disk_usage(cache).free
        # Pages of a mapped file that find no room on the disk end the process.
        if needed > free:
            raise OSError(f"it takes {needed} bytes, and {free} are free")
        mapped = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        read = _fill(mapped, paths, color, fit)
        mapped.flush()
        os.replace(partial, data)
        text = json.dumps({"digests": read.digests, "problems": read.problems})
        write_atomically(index, text.encode())
    except OSError as error:
        raise DataError(
            f"the cache must be a folder that can be written: {error}; name another one"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return read


def read_file(path: Path) -> bytes:
    """Read a file's bytes; DataError instead of OSError."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
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
    # A copy even where nothing changes: the file is closed behind it.
    return image.convert("L") if image.mode in ("1", "L") else image.convert("RGB")


def _fill(pixels: Pixels, paths: Sequence[Path], color: Color, fit: Fit) -> ReadImages:
    """Decode into rows, in threads, which take a third of the time off on two cores."""
    digests, problems = [], []
    size = pixels.shape[2]

    def read(path: Path) -> tuple[str, str, Pixels | None]:
        digest = ""
        try:
            data = read_file(path)
            digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            image = _decoded(data, path)
            refuse_small(image, path)
            return digest, "", resize(image, size=size, color=color, fit=fit)
        except DataError as error:
            return digest, str(error), None

    with (
        _strict(),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(paths), desc="images", unit="image", leave=False, disable=None) as bar,
    ):
        for start in range(0, len(paths), _PIECE):
            some = paths[start : start + _PIECE]
            for row, (digest, problem, found) in enumerate(pool.map(read, some), start):
                if found is not None:
                    pixels[row] = found
                digests.append(digest)
                problems.append(problem)
            bar.update(len(some))
    return ReadImages(pixels, tuple(digests), tuple(problems))


def _cache_key(paths: Sequence[Path], size: int, color: Color, fit: Fit) -> str:
    key = hashlib.sha1(f"{_CACHE_VERSION} {size} {color} {fit}".encode(), usedforsecurity=False)
    for path in paths:
        stamp: tuple[int, ...] = ()
        if path.is_file():
            status = path.stat()
            stamp = (status.st_size, status.st_mtime_ns)
        key.update(f"\0{path.absolute()}\0{stamp}".encode("utf-8", "surrogateescape"))
    return key.hexdigest()


def _from_cache(data: Path, index: Path, shape: tuple[int, ...]) -> ReadImages | None:
    """Return what the cache holds, or None if that is nothing, or damaged."""
    try:
        said: dict[str, Any] = json.loads(index.read_bytes())
        # Copy on write: torch wants memory it could write to.
        pixels = np.load(data, mmap_mode="c")
        digests, problems = tuple(said["digests"]), tuple(said["problems"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if pixels.shape != shape or pixels.dtype != np.uint8:
        return None
    if len(digests) != shape[0] or len(problems) != shape[0]:
        return None
    return ReadImages(pixels, digests, problems)
