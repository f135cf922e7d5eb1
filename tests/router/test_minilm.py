"""The embedder of the extra router-minilm, whose package holds its weights."""

from pathlib import Path

import numpy as np
import pytest

from micronas.router.embedding import Embedding, embedder_of

pytestmark = pytest.mark.minilm
PROMPTS = ["Add 1 to 2", "What is one plus two?", "The cat sat on the mat"]


def test_sentences_that_mean_the_same_are_near(tmp_path: Path) -> None:
    settings = Embedding(kind="minilm", layout=False, batch=2)
    found = embedder_of(settings, tmp_path / "vectors.sqlite")(PROMPTS)
    assert found.shape == (3, 384)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert found[0] @ found[1] > 0.5 > 0.2 > found[0] @ found[2]
    alone = np.vstack([embedder_of(settings)([each]) for each in PROMPTS])
    assert found == pytest.approx(alone, abs=1e-5)
