"""Settings of keyword data. Imports no torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from micronas.tasks.task import TaskSettings


class KeywordSettings(TaskSettings):
    """Settings of a folder of words; the defaults are the Speech Commands recipe."""

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
