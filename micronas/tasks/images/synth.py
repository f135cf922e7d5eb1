"""Sample photographs of scikit-image to try the tool: grounds, and faces or not."""

import importlib
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from micronas.errors import DataError
from micronas.tasks.corpus import write_corpus

_GROUNDS = ("brick", "grass", "gravel")
_TILE, _STEP = 64, 32
"""Pixels per side of a tile, and from one tile to the next."""
_COLUMNS = {"train": (0, 288), "validation": (288, 384), "test": (384, 512)}
"""First and last column of each part's tiles in a photograph: no two parts share a pixel."""
_GROUNDS_TEXT = """\
Brick, grass and gravel: tiles of 64x64 gray pixels out of three photographs of 512x512 that
scikit-image ships (skimage.data.brick, grass and gravel, from CC0 Textures, public domain). Tiles
for training lie to the left of those for validation and test and share no pixel with them; seed
{seed} mirrors them and shifts them down. One photograph of each ground tries out the tool and says
nothing about other grounds.
"""
_CLASSES = ("face", "no_face")
_PARTS = {"train": 60, "validation": 20, "test": 20}
"""Images of each class in each part."""
_README = "README.txt"
_TEXT = """\
Faces or not: 200 gray images of 25x25 pixels that scikit-image ships (skimage.data.lfw_subset),
divided at random with seed {seed}. 100 are faces from Labeled Faces in the Wild, 100 are cut from
the background of the same photographs. They are photographs from the news, for research; so few
and so small that they try out the tool and say nothing about a product.
G. Huang et al., "Learning to align from scratch", NIPS 2012; http://vis-www.cs.umass.edu/lfw/
"""


def sample_grounds(folder: Path, *, seed: int = 0) -> Path:
    """Write tiles of three of scikit-image's photographs as PNG files: ``train/brick/000.png``.

    Each ground has 112 tiles for training, 28 for validation and 42 for test, which overlap by
    half. All else is as in `sample_images`.
    """

    def write(partial: Path) -> None:
        generator = np.random.default_rng(seed)
        for name in _GROUNDS:
            photograph = _photograph(name)
            down, mirrored = int(generator.integers(1, _STEP)), bool(generator.integers(2))
            shown = photograph[::-1] if mirrored else photograph
            for part, (left, right) in _COLUMNS.items():
                target = partial / part / name
                target.mkdir(parents=True)
                places = product(
                    range(down, len(shown) - _TILE + 1, _STEP),
                    range(left, right - _TILE + 1, _STEP),
                )
                for number, (y, x) in enumerate(places):
                    tile = shown[y : y + _TILE, x : x + _TILE]
                    Image.fromarray(np.ascontiguousarray(tile)).save(target / f"{number:03}.png")

    return write_corpus(folder, (_README, _GROUNDS_TEXT.format(seed=seed)), write)


def sample_images(folder: Path, *, seed: int = 0) -> Path:
    """Write scikit-image's ``lfw_subset`` as PNG files: ``train/face/000.png`` and so on.

    Each class has 60 images for training, 20 for validation and 20 for test. The same seed gives
    the same division. A folder that already holds them is kept; they are written under a temporary
    name and renamed when complete. Nothing is downloaded. Raises DataError if scikit-image is not
    installed, or the folder holds something else.
    """

    def write(partial: Path) -> None:
        generator = np.random.default_rng(seed)
        images = np.round(255 * _photograph("lfw_subset")).astype(np.uint8)  # faces first
        for position, label in enumerate(_CLASSES):
            order = iter(generator.permutation(100) + 100 * position)
            for part, count in _PARTS.items():
                target = partial / part / label
                target.mkdir(parents=True)
                for _ in range(count):
                    number = int(next(order))
                    Image.fromarray(images[number]).save(target / f"{number:03}.png")

    return write_corpus(folder, (_README, _TEXT.format(seed=seed)), write)


def _photograph(name: str) -> Any:
    """Return an image or array shipped with scikit-image."""
    try:
        return getattr(importlib.import_module("skimage.data"), name)()
    except (ImportError, OSError) as error:
        raise DataError(
            f"the sample images must come from scikit-image, which cannot be used ({error}); "
            "pip install scikit-image"
        ) from error
