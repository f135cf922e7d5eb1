"""Settings of pictures. Imports no torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from micronas.tasks.task import TaskSettings

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of the names of pictures."""
SMALLEST = 32
"""Least number of pixels per side."""
Augmentation = Literal["flip", "crop", "colour", "cutmix"]


class PictureSettings(TaskSettings):
    """Settings of reading pictures of any kind; the defaults fit boards of 128 KB and more."""

    path: Path
    """Folder of the classes, or of the parts ``train``, ``validation`` and ``test`` with the
    classes in each; a CSV file with columns ``file``, ``label`` and optionally ``part``; with
    `annotations` the folder of the images."""
    annotations: tuple[Path, ...] = ()
    """COCO's ``instances_*.json``; files with ``val`` or ``test`` in their name are for that
    part."""
    size: int = Field(96, ge=SMALLEST, le=224)
    """Pixels per side; by default as large as the space's input. If set, the networks' input,
    too."""
    color: Literal["gray", "rgb"] = "gray"
    """Colours; by default, and if set, as for `size`."""
    fit: Literal["stretch", "crop"] = "stretch"
    """``stretch`` scales the whole image into the square, ``crop`` takes its middle."""
    validation_fraction: float = Field(0.1, gt=0, le=0.4)
    """Fraction of the files for validation, where the data has no such part."""
    test_fraction: float = Field(0.1, gt=0, le=0.4)
    augment: tuple[Augmentation, ...] = ("flip", "crop", "colour", "cutmix")
    """Random changes of training images: ``flip`` mirrors half of them, ``crop`` cuts a part out,
    ``colour`` changes brightness, contrast and saturation, ``cutmix`` inserts a box of another
    image, whose label counts by its area, in half of the batches of a training of
    ``cutmix_from`` epochs or more."""
    smallest_crop: float = Field(0.35, gt=0, le=1)
    """Least fraction of the area of a crop. ImageNet's 0.08 would often cut a person off."""
    brightness: float = Field(0.2, ge=0, lt=1)
    """Largest change of brightness of training images, as a fraction, up or down."""
    contrast: float = Field(0.2, ge=0, lt=1)
    saturation: float = Field(0.2, ge=0, lt=1)
    """Largest change of saturation, as a fraction, up or down."""
    cache: Literal["auto", "off"] | Path = "auto"
    """Folder of resized images, memory-mapped. ``auto``: ``.micronas`` in `path` where they take
    more than 256 MB; ``off``: keep them in memory."""

    @field_validator("annotations", "augment", mode="before")
    @classmethod
    def _one_name(cls, given: object) -> object:
        return (given,) if isinstance(given, str | Path) else given


class ImageSettings(PictureSettings):
    """Settings of pictures of any classes."""

    task: Literal["images"] = "images"
    categories: tuple[str, ...] = ()
    """COCO's names of the classes; by default all with a box. Each box is an example."""


class VisualSettings(PictureSettings):
    """Settings of images with and without a person."""

    task: Literal["vww"] = "vww"
    minival: Path | None = None
    """File of COCO image ids: these images are for validation, all others for training."""
    category: str = "person"
    """COCO's name of the category to detect."""
    smallest: float = Field(0.005, ge=0, lt=1)
    """Fraction of the image above which an object counts as present."""
