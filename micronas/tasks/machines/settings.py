"""Settings of machine sounds. Imports no torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from micronas.tasks.task import TaskSettings


class MachineSettings(TaskSettings):
    """Settings of sounds of machines; the defaults are the paper's recipe."""

    task: Literal["ad"] = "ad"
    path: Path
    """Folder of a machine type, or of several, which are then distinguished, too."""
    overlap: int = Field(44, ge=0, le=63)
    """Frames of a window of 64 shared with the next; 44 leaves 20 new ones, or 640 ms."""
    validation_fraction: float = Field(0.1, gt=0, le=0.5)
    """Fraction of each machine's normal training clips for validation; at least one clip."""
    mixup: float = Field(0.3, ge=0, le=1)
    """Parameter of Beta(mixup, mixup), the weights of pairs of training examples that are mixed; 0
    mixes none."""
