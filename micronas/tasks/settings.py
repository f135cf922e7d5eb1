"""How data sets are read, as a configuration file says it. Imports no torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from micronas.settings import Settings


class KeywordSettings(Settings):
    """How to read a folder of words; the defaults are the Speech Commands recipe."""

    task: Literal["kws"] = "kws"
    path: Path
    """The folder of the words, or one whose only subfolder is that."""
    keywords: Literal["auto"] | tuple[str, ...] = "auto"
    """Words to tell apart. ``auto``: the ten of Speech Commands if the folder has them all, else
    the ten words with the most clips."""
    window_ms: Literal[30, 40] = 40
    silence_fraction: float = Field(0.1, ge=0, le=1)
    """Silence examples as a fraction of all keyword examples; 0 drops the class."""
    unknown_fraction: float = Field(0.1, ge=0, le=1)
    """Examples of all other words together, likewise."""
    shift_ms: float = Field(100, ge=0, le=1000)
    """Training clips move by up to this much, either way."""
    gain_db: float = Field(10, ge=0, le=40)
    """Training clips become louder or quieter by up to this much; 0 is the original recipe."""
    noise_probability: float = Field(0.8, ge=0, le=1)
    noise_volume: float = Field(0.1, ge=0, le=1)
    """Largest factor by which background noise is scaled before it is added."""
    time_mask: int = Field(0, ge=0, le=48)
    """Final training hides up to this many of 49 frames of an example (SpecAugment). 0 hides none:
    on a small corpus masks made other words pass for keywords more often."""
    frequency_mask: int = Field(0, ge=0, le=9)
    """Likewise, up to this many of 10 coefficients."""
    cache: Literal["auto", "off"] | Path = "auto"
    """Where decoded clips and features are kept, memory-mapped: a folder; ``auto`` is ``.micronas``
    in the folder of the words, or none where that cannot be written; ``off`` reads every clip into
    memory, every time."""
    seed: int = 0
    """Chooses the other words and the silence trained on; never what is evaluated."""


class MachineSettings(Settings):
    """How to read sounds of machines; the defaults are the paper's recipe."""

    task: Literal["ad"] = "ad"
    path: Path
    """The folder of a machine type, or of several: then they are told apart as well."""
    overlap: int = Field(44, ge=0, le=63)
    """Frames that a window of 64 shares with the next; 44 leaves 20 new ones, or 640 ms."""
    validation_fraction: float = Field(0.1, gt=0, le=0.5)
    """Fraction of each machine's normal training clips that is held out; at least one clip."""
    mixup: float = Field(0.3, ge=0, le=1)
    """Training mixes pairs of examples with weights from Beta(mixup, mixup); 0 mixes none."""


class VisualSettings(Settings):
    """How to read images with and without a person; the defaults fit boards of 128 KB and more."""

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
    size: int = Field(96, ge=32, le=224)
    """Pixels a side; the paper takes 50 to 160."""
    color: Literal["gray", "rgb"] = "gray"
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


DataSettings = Annotated[
    KeywordSettings | VisualSettings | MachineSettings, Field(discriminator="task")
]
"""Settings of any task; `task` says of which."""
