"""What takes long to make and is only read, made once for all workers of a run of the tests."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from micronas.tasks.keywords.synth import synthesise


def kept(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a path, where `make` writes unless another worker has."""
    base = factory.getbasetemp()
    # a worker's folder is one of those of the whole run
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kept"
    shared.mkdir(exist_ok=True)
    path, made = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(path)
            made.touch()
    return path


def five_words(factory: pytest.TempPathFactory) -> Path:
    """Return a corpus of a few synthetic voices."""
    words = ("yes", "no", "stop", "tree", "wow")
    return kept(
        factory,
        "speech",
        lambda folder: synthesise(folder, words=words, voices=(6, 2, 2), clips_per_voice=1),
    )
