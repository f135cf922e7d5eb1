from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from micronas.arrays import Floats
from micronas.errors import ConfigError
from micronas.language.embedders import hashed
from micronas.router.embedding import Embedding, embedded_cores, embedder_of, layout


def test_layout_by_hand() -> None:
    found = layout(["Ab 12\n?", ""])
    shares = np.sqrt([2 / 7, 1 / 7, 1 / 7])
    assert found[0] == pytest.approx([*np.log([8, 4, 2]) / [10, 8, 4], *shares, 1, 0])
    assert found[1].tolist() == [0] * 8
    assert layout(["f(x) {", "$x$"])[:, 7].tolist() == [1, 1]
    assert layout([]).shape == (0, 8)


def test_words_and_layout_stand_side_by_side() -> None:
    prompts = ["Add 1 to 2", "def f(): {}"]
    found = embedder_of(Embedding(kind="ngrams", dimensions=16))(prompts)
    assert found[:, :16] == pytest.approx(hashed(prompts, dimensions=16))
    assert found[:, 16:] == pytest.approx(layout(prompts))
    bare = embedder_of(Embedding(kind="ngrams", dimensions=16, layout=False))(prompts)
    assert bare.shape == (2, 16)


def test_a_vector_depends_on_its_prompt_only() -> None:
    embed = embedder_of(Embedding())
    prompts = ["Add 1 to 2", "def f(): {}", "Hello"]
    alone = np.vstack([embed([each]) for each in prompts])
    assert embed(prompts) == pytest.approx(alone, abs=1e-7)


def test_cores_stand_beside_whole_prompts() -> None:
    def embed(texts: Sequence[str]) -> Floats:
        assert len(set(texts)) == len(texts)
        return np.array([[len(each), each.count("\n")] for each in texts], np.float64)

    found = embedded_cores(embed, ["User: A b.\nC? D.", "One.", "ONE."])
    assert found[..., 0].T.tolist() == [[16, 7, 4, 5, 2, 2], [4] * 6, [4] * 6]
    assert found[..., 1].T[0].tolist() == [1, 1, 0, 0, 0, 0]


def test_half_a_character_is_no_crash() -> None:
    embed = embedder_of(Embedding())
    assert embed(["a \ud800 b"]) == pytest.approx(embed(["a ? b"]))


@pytest.mark.long
def test_a_sentence_is_near_its_translation(tmp_path: Path) -> None:
    embed = embedder_of(Embedding(kind="multilingual", layout=False), tmp_path / "vectors.sqlite")
    english, spanish, german, other = embed(
        [
            "How many apples are left in the basket?",
            "¿Cuántas manzanas quedan en la cesta?",
            "Wie viele Äpfel sind noch im Korb?",
            "Write a function that sorts a list of strings.",
        ]
    )
    assert min(english @ spanish, english @ german) > 0.7
    assert max(english @ other, spanish @ other) < 0.3
    assert embed([""]).shape == (1, 512)


def test_auto_is_what_is_installed() -> None:
    resolved = Embedding().resolved()
    assert resolved.kind in ("wordllama", "ngrams")
    assert resolved.resolved() == resolved


def test_dimensions_whose_square_fits_no_memory_are_refused() -> None:
    with pytest.raises(ConfigError, match="less than or equal to 1024"):
        Embedding(kind="ngrams", dimensions=65_536)
