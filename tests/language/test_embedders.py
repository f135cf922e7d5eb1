import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from micronas.errors import ConfigError, DataError
from micronas.judge.recipe import Embedding
from micronas.language.embedders import Cached, cosines, hashed, tfidf
from tests.upstreams import Call, upstream


def test_tfidf_by_hand() -> None:
    # words "a" twice and "b" once; df of a: 2 of 2, of b and c: 1 of 2
    vectors = tfidf(["a b A", "a c"], words=(1,)).toarray()
    common, rare = 1.0, 1 + math.log(3 / 2)
    first = np.array([(1 + math.log(2)) * common, rare])
    second = np.array([common, rare])
    expected = first[0] * second[0] / np.linalg.norm(first) / np.linalg.norm(second)
    assert vectors[0] @ vectors[1] == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1])


def test_tfidf_knows_signs_and_scripts_without_blanks() -> None:
    texts = ["C++ or C", "C or C", "日本の首都", "日本の地図", "กรุงเทพ", "กรุงโรม", "!"]
    similar = cosines(tfidf(texts), tfidf(texts))
    assert similar[0, 1] < 0.99
    assert similar[2, 3] > 0.2
    assert similar[4, 5] > 0.2
    assert similar[2, 4] == 0


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_tfidf_vectors_have_length_one_or_zero(texts: list[str]) -> None:
    lengths = np.linalg.norm(tfidf(texts, dimensions=512).toarray(), axis=1)
    words = np.array([bool(text.strip()) for text in texts])
    assert np.all(np.isclose(lengths, 1, atol=1e-5) | np.isclose(lengths, 0))
    assert np.all(lengths[~words] == 0)


def test_hashed_by_hand() -> None:
    # the lowest bit of the hash is the sign; with one dimension all words share a bucket
    signs = [-1.0 if zlib.crc32(word.encode()) % 2 else 1.0 for word in ("a", "b")]
    vectors = hashed(["a", "b", "a a", ""], words=(1,), dimensions=1)
    assert vectors[:, 0].tolist() == [*signs, signs[0], 0]
    both = hashed(["a a b", "a", "b"], words=(1,), dimensions=2**12)
    tf = np.array([1 + math.log(2), 1])
    assert both[0] @ both[1:].T == pytest.approx(tf / np.linalg.norm(tf), abs=1e-6)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_hashed_vectors_depend_on_their_text_only(texts: list[str]) -> None:
    alone = [hashed([text], dimensions=64)[0] for text in texts]
    assert np.array_equal(hashed(texts, dimensions=64), alone)


def lengths(calls: list[list[str]]) -> Any:
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        calls.append(list(texts))
        return np.array([[len(text), 1] for text in texts], np.float32)

    return embed


def test_no_text_is_embedded_twice(tmp_path: Path) -> None:
    calls: list[list[str]] = []
    path = tmp_path / "vectors.sqlite"
    first = Cached(lengths(calls), "lengths", path, batch=2)(["a", "bb", "a", "ccc"])
    assert calls == [["a", "bb"], ["ccc"]]
    assert first.tolist() == [[1, 1], [2, 1], [1, 1], [3, 1]]
    second = Cached(lengths(calls), "lengths", path)(["ccc", "dddd"])
    assert calls[2:] == [["dddd"]]
    assert second.tolist() == [[3, 1], [4, 1]]
    Cached(lengths(calls), "another", path)(["ccc"])
    assert calls[3:] == [["ccc"]]


def test_what_was_embedded_before_a_failure_is_kept(tmp_path: Path) -> None:
    calls: list[list[str]] = []
    path = tmp_path / "vectors.sqlite"

    def fails(texts: Sequence[str]) -> NDArray[np.float32]:
        if "c" in texts:
            raise DataError("the line went dead")
        return lengths(calls)(texts)

    with pytest.raises(DataError, match="dead"):
        Cached(fails, "lengths", path, batch=2)(["a", "b", "c"])
    Cached(lengths(calls), "lengths", path, batch=2)(["a", "b", "c"])
    assert calls == [["a", "b"], ["c"]]


def test_a_damaged_cache_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match=r"vectors\.sqlite .*delete it"):
        Cached(lengths([]), "lengths", path)(["a"])


def embeds(call: Call) -> None:
    """Answer in another order than asked, as an endpoint may."""
    texts = call.body["input"]
    items = [
        {"index": index, "embedding": [3 * len(text), 4 * len(text)]}
        for index, text in enumerate(texts)
    ]
    data = {"data": [] if "bad" in texts else items[::-1]}
    call.send(500 if "ill" in texts else 201, json.dumps(data).encode())


def test_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream("embeddings", embeds) as server:
        settings = Embedding(
            kind="endpoint", url=server.url, model="m", key_variable="A_KEY", batch=2
        )
        with pytest.raises(ConfigError, match="A_KEY"):
            settings.embedder(tmp_path / "cache")
        monkeypatch.setenv("A_KEY", "secret")
        embedder = settings.embedder(tmp_path / "cache")
        assert embedder(["a", "bb", "ccc"]) == pytest.approx(np.array([[0.6, 0.8]] * 3))
        assert [body["input"] for body in server.bodies] == [["a", "bb"], ["ccc"]]
        assert {body["path"] for body in server.bodies} == {"/v1/embeddings"}
        assert server.authorizations == {"Bearer secret"}
        for text in ("bad", "ill"):
            with pytest.raises(DataError, match="/v1/embeddings must answer"):
                embedder([text])
