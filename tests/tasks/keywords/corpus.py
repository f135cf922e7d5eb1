"""A small corpus of keywords, whose samples tell where they come from."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from micronas.data import DataSet
from micronas.tasks.keywords.settings import KeywordSettings
from micronas.tasks.keywords.split import KeywordSplit

PARTS = {"training": range(8), "validation": range(8, 12), "testing": range(12, 16)}


def write(path: Path, samples: np.ndarray | list[int], rate: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # the content of a link is others', too
    soundfile.write(path, np.asarray(samples, np.int16), rate)


def level(speaker: int, word: int) -> int:
    """Return the constant value of a clip: it tells speaker and word."""
    return 1000 * (speaker + 1) + word


def make(folder: Path) -> Path:
    """Words a, b (keywords) and x, y, z; 16 speakers; each clip is a constant."""
    for w, word in enumerate("abxyz"):
        for speaker in range(16):
            write(folder / word / f"s{speaker:02}_{w}.wav", np.full(16000, level(speaker, w)))
    for part, speakers in PARTS.items():
        names = [f"{word}/s{s:02}_{w}.wav" for w, word in enumerate("abxyz") for s in speakers]
        (folder / f"{part}_list.txt").write_text("\n".join(names))
    # Of 20 s, the first 80 % are 100, then 10 % 200 and 10 % 300.
    write(
        folder / "_background_noise_" / "n.wav", np.repeat([100, 200, 300], [256000, 32000, 32000])
    )
    return folder


def settings(path: Path, **changes: object) -> KeywordSettings:
    defaults = {"path": path, "keywords": ["a", "b"], "gain_db": 0}
    return KeywordSettings.model_validate({**defaults, **changes})


def split_of(data: DataSet) -> KeywordSplit:
    return data.train


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
