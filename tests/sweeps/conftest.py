from pathlib import Path

import pytest

from micronas.tasks.keywords.synth import synthesise


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five spoken words by a few synthetic voices."""
    folder = tmp_path_factory.mktemp("speech") / "corpus"
    words = ("yes", "no", "stop", "tree", "wow")
    return synthesise(folder, words=words, voices=(6, 2, 2), clips_per_voice=1)
