"""Small experts on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

PAGE = 4096


def expert(path: Path, nbytes: int, *, seed: int = 0) -> None:
    """Write random int8 weights of that many bytes."""
    values = np.random.default_rng(seed).integers(-128, 128, nbytes).astype(np.int8)
    save_file({"weight": values}, path)


def experts(folder: Path, pages: Sequence[int]) -> dict[str, Path]:
    """Write experts e0, e1, ... of so many pages each."""
    files = {f"e{number}": folder / f"e{number}.safetensors" for number in range(len(pages))}
    for number, (path, count) in enumerate(zip(files.values(), pages, strict=True)):
        expert(path, count * PAGE, seed=number)
    return files
