"""Settings of image data. Imports no torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from micronas.tasks.task import TaskSettings

SMALLEST = 32
"""Pixels a side, at least."""


class VisualSettings(TaskSettings):
    """Settings of images with and without a person; the defaults fit boards of 128 KB and more."""

    task: Literal["vww"] = "vww"
    path: Path
    """The folder of the classes (``person``, ``non_person``) or parts; with `annotations` that of
    the images."""
    annotations: tuple[Path, ...] = ()
    """COCO's ``instances_*.json``; those with ``val`` or ``test`` in their name are that part."""
    minival: Path | None = None
    """A list of COCO image ids: these are for validation, all others for training."""
    category: str = "person"
    """COCO's name of what is looked for."""
    smallest: float = Field(0.005, ge=0, lt=1)
    """Fraction of the image that one has to cover more of, to count as present."""
    size: int = Field(96, ge=SMALLEST, le=224)
    """Pixels a side; a run reads what its space's input asks for where this is not set."""
    color: Literal["gray", "rgb"] = "gray"
    """As `size`."""
    fit: Literal["stretch", "crop"] = "stretch"
    """``stretch`` squeezes the whole image into the square, ``crop`` takes the middle of it."""
    validation_fraction: float = Field(0.1, gt=0, le=0.4)
    """Fraction of the files held out where the folder does not say so."""
    test_fraction: float = Field(0.1, gt=0, le=0.4)
    smallest_crop: float = Field(0.35, gt=0, le=1)
    """Training takes random crops of at least this fraction of the area; 1 takes the whole.
    ImageNet's 0.08 would often cut the person off."""
    flip: bool = True
    """Whether half of the training images are mirrored."""
    brightness: float = Field(0.2, ge=0, lt=1)
    """Training images become brighter or darker by up to this factor, either way."""
    contrast: float = Field(0.2, ge=0, lt=1)
    cache: Literal["auto", "off"] | Path = "auto"
    """Where resized images are kept, memory-mapped: a folder; ``auto`` is ``.micronas`` in `path`
    once they take more than 256 MB; ``off`` keeps them in memory."""
