"""Settings of pictures. Imports no torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from micronas.tasks.task import TaskSettings

SMALLEST = 32
"""Pixels a side, at least."""
Augmentation = Literal["flip", "crop", "colour", "cutmix"]


class PictureSettings(TaskSettings):
    """Settings of reading pictures of any kind; the defaults fit boards of 128 KB and more."""

    path: Path
    """The folder of the classes, or of the parts ``train``, ``validation`` and ``test`` with the
    classes in each; a CSV file with columns ``file`` and ``label``, and ``part`` if you like; with
    `annotations` the folder of the images."""
    annotations: tuple[Path, ...] = ()
    """COCO's ``instances_*.json``; those with ``val`` or ``test`` in their name are that part."""
    size: int = Field(96, ge=SMALLEST, le=224)
    """Pixels a side; what the space's input asks for where this is not set. Set, it is the input
    of the networks, too."""
    color: Literal["gray", "rgb"] = "gray"
    """As `size`."""
    fit: Literal["stretch", "crop"] = "stretch"
    """``stretch`` squeezes the whole image into the square, ``crop`` takes the middle of it."""
    validation_fraction: float = Field(0.1, gt=0, le=0.4)
    """Fraction of the files held out where the folder does not say so."""
    test_fraction: float = Field(0.1, gt=0, le=0.4)
    augment: tuple[Augmentation, ...] = ("flip", "crop", "colour")
    """Changes that training images go through at random: ``flip`` mirrors half of them, ``crop``
    cuts a part out, ``colour`` changes brightness, contrast and saturation, ``cutmix`` puts a box
    of another image into them, whose label counts by its area (in half of the batches)."""
    smallest_crop: float = Field(0.35, gt=0, le=1)
    """Fraction of the area that crops have at least. ImageNet's 0.08 would often cut a person
    off."""
    brightness: float = Field(0.2, ge=0, lt=1)
    """Training images become brighter or darker by up to this factor, either way."""
    contrast: float = Field(0.2, ge=0, lt=1)
    saturation: float = Field(0.2, ge=0, lt=1)
    """Colours become stronger or weaker by up to this factor."""
    cache: Literal["auto", "off"] | Path = "auto"
    """Where resized images are kept, memory-mapped: a folder; ``auto`` is ``.micronas`` in `path`
    once they take more than 256 MB; ``off`` keeps them in memory."""

    @field_validator("augment", mode="before")
    @classmethod
    def _one_name(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given


class ImageSettings(PictureSettings):
    """Settings of pictures of any classes."""

    task: Literal["images"] = "images"
    categories: tuple[str, ...] = ()
    """COCO's names of the classes; all that have a box when empty. Each box is an example."""


class VisualSettings(PictureSettings):
    """Settings of images with and without a person."""

    task: Literal["vww"] = "vww"
    minival: Path | None = None
    """A list of COCO image ids: these are for validation, all others for training."""
    category: str = "person"
    """COCO's name of what is looked for."""
    smallest: float = Field(0.005, ge=0, lt=1)
    """Fraction of the image that one has to cover more of, to count as present."""
