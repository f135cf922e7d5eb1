"""Embed texts in unit vectors: n-grams, words, sentences, or an endpoint; a cache."""

import json
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from micronas.errors import ConfigError, DataError
from micronas.files import text_hash
from micronas.language.answers import read_json
from micronas.language.endpoints import BaseUrl, required_key
from micronas.settings import Settings

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Vectors: TypeAlias = "NDArray[np.float32] | csr_array"
"""Unit vectors [texts, dimensions], dense or sparse; the product of two is the cosine."""
Embedder = Callable[[Sequence[str]], Vectors]
"""Any function from texts to vectors; `unit` makes vectors of length one."""

_TIMEOUT = 120.0
_SCRIPTS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKENS = re.compile(rf"[{_SCRIPTS}]|[^\W{_SCRIPTS}]+|[^\w\s]")
"""Words and signs; single characters in scripts without spaces (Thai, Lao, Chinese, Japanese)."""


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return dense vectors scaled to length one; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float32]:
    """Return the cosines of all pairs, dense [len(a), len(b)]."""
    product: Any = a @ b.T
    return np.asarray(product.toarray() if hasattr(product, "toarray") else product, np.float32)


def tfidf(
    texts: Sequence[str], *, words: Sequence[int] = (1, 2), dimensions: int = 2**18
) -> "csr_array":
    """Return hashed n-grams of words and signs, weighted by (1 + ln tf) (1 + ln (1+n)/(1+df)).

    They are float32 [texts, dimensions]. Stop words and signs count, since the wording of a
    question shows its kind. Document frequencies are those of the given texts.
    """
    from scipy.sparse import csr_array

    index, counts, starts = _gram_counts(texts, words, dimensions)
    frequency = np.bincount(index, minlength=dimensions)
    rarity = 1 + np.log((1 + len(texts)) / (1 + frequency[index]))
    weights = (1 + np.log(counts)) * rarity
    rows = np.repeat(np.arange(len(texts)), np.diff(starts))
    lengths = np.sqrt(np.bincount(rows, weights**2, minlength=len(texts)))
    weights = (weights / lengths[rows]).astype(np.float32)
    return csr_array((weights, index, starts), shape=(len(texts), dimensions))


def hashed(
    texts: Sequence[str], *, words: Sequence[int] = (1, 2), dimensions: int = 512
) -> NDArray[np.float32]:
    """Return hashed n-grams with random signs, weighted by 1 + ln tf: unit vectors, float32.

    In contrast to `tfidf` a vector depends on its text only, so that new texts can be compared with
    earlier ones. Signs keep the cosines of texts without common n-grams near zero (Weinberger et
    al. 2009).
    """
    index, counts, starts = _gram_counts(texts, words, 2 * dimensions)
    signed = np.where(index % 2, -1, 1) * (1 + np.log(counts))
    rows = np.repeat(np.arange(len(texts)), np.diff(starts))
    cells = np.bincount(rows * dimensions + index // 2, signed, len(texts) * dimensions)
    return unit(cells.reshape(len(texts), dimensions))


class WordLlama:
    """Mean of static token vectors (WordLlama, 256 dimensions), read without torch or download.

    Raises ConfigError if wordllama or tokenizers is not installed.
    """

    def __init__(self) -> None:
        # found, not imported: the package's own loader downloads a tokenizer
        found = find_spec("wordllama")
        folder = Path(found.origin).parent if found is not None and found.origin else None
        if folder is None or not all(map(find_spec, ("tokenizers", "safetensors"))):
            raise ConfigError(
                "embedding.kind wordllama needs three packages: pip install wordllama tokenizers "
                "safetensors; or choose another kind"
            )
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        try:
            weights = load_file(folder / "weights" / "l2_supercat_256.safetensors")
            self._vectors = weights["embedding.weight"]
            path = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
            self._tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ConfigError(f"{folder} must hold the files of wordllama 0.4: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        sums = [self._vectors[each.ids].sum(axis=0, dtype=np.float32) for each in encoded]
        return unit(np.array(sums, np.float32).reshape(len(texts), self._vectors.shape[1]))


class EmbeddingEndpoint:
    """Embedder by an OpenAI-compatible ``/v1/embeddings``; raises DataError without an answer.

    Raises ConfigError if the variable is not set, or its key cannot be sent.

    Parameters
    ----------
    url
        Address up to and including ``/v1``.
    key_variable
        Environment variable of the key, if one is needed.
    """

    def __init__(self, url: str, model: str, *, key_variable: str | None = None) -> None:
        from micronas.language.client import Client

        key = required_key(key_variable, of=url) if key_variable else ""
        address = url.rstrip("/") + "/embeddings"
        self._client = Client(address, key=key, variable=key_variable, total=_TIMEOUT)
        self._model = model
        self.name = f"{url} {model}"

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from micronas.language.client import ExchangeError, post_once

        body = json.dumps({"model": self._model, "input": list(texts)}).encode("ascii")
        try:
            status, answer = post_once(self._client, body)
            if not 200 <= status < 300:
                raise ValueError(f"HTTP {status}")
            items = sorted(read_json(answer)["data"], key=lambda item: item["index"])
            vectors = np.array([item["embedding"] for item in items], np.float32)
        except (ExchangeError, ValueError, LookupError, TypeError, OverflowError) as error:
            raise DataError(
                f"{self._client.url} must answer with embeddings, but: "
                f"{self._client.clean(str(error))}; vectors so far are kept, run it again"
            ) from error
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise DataError(
                f"{self._client.url} must answer one finite vector a text, but got shape "
                f"{vectors.shape} for {len(texts)} texts"
            )
        return unit(vectors)


class Cached:
    """An embedder with a cache in an SQLite file, so that no text is embedded twice.

    Parameters
    ----------
    embedder
        Embedder of dense vectors that depend on one text only, such as a network's.
    name
        Name of the embedder; several may share a file.
    batch
        Number of texts embedded, and then stored, at a time.
    """

    def __init__(self, embedder: Embedder, name: str, path: Path, batch: int = 64) -> None:
        self._embedder, self._name, self._path, self._batch = embedder, name, path, batch

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        hashes = [text_hash(text) for text in texts]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._path)) as file:
                file.execute(
                    "create table if not exists vectors "
                    "(name text, hash text, vector blob, primary key (name, hash))"
                )
                query = "select hash, vector from vectors where name = ?"
                known: dict[str, bytes] = dict(file.execute(query, (self._name,)))
                wanted = dict(zip(hashes, texts, strict=True))
                missing = [item for item in wanted.items() if item[0] not in known]
                for start in range(0, len(missing), self._batch):
                    part = missing[start : start + self._batch]
                    vectors = np.asarray(self._embedder([text for _, text in part]), "<f4")
                    rows = [
                        (self._name, key, vector.tobytes())
                        for (key, _), vector in zip(part, vectors, strict=True)
                    ]
                    file.executemany("insert or replace into vectors values (?, ?, ?)", rows)
                    file.commit()
                    known.update((key, vector) for _, key, vector in rows)
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self._path} must be a cache of vectors that can be written: {error}; make room "
                "for it, or delete it"
            ) from error
        vectors_of = [np.frombuffer(known[key], "<f4") for key in hashes]
        if len({len(vector) for vector in vectors_of}) > 1:
            raise DataError(
                f"{self._path}: vectors of {self._name!r} must have one length; delete the file"
            )
        return np.array(vectors_of, np.float32)


class EndpointEmbedding(Settings):
    """Endpoint of an embedding of kind ``endpoint``; others need none."""

    kind: str
    url: BaseUrl | None = None
    """Address of an OpenAI-compatible ``endpoint``, up to and including ``/v1``."""
    model: str | None = None
    """Model of the ``endpoint``."""
    key_variable: str | None = None
    """Environment variable of the key of the ``endpoint``."""
    batch: Annotated[int, Field(ge=1)] = 64
    """Number of texts in a request."""

    @model_validator(mode="after")
    def _endpoint_is_named(self) -> "EndpointEmbedding":
        if self.kind == "endpoint" and not (self.url and self.model):
            raise ValueError("kind endpoint needs url and model")
        return self

    def endpoint(self, cache: Path | None) -> Embedder:
        """Return the embedder at the endpoint, whose vectors are kept in a cache file."""
        found = EmbeddingEndpoint(self.url or "", self.model or "", key_variable=self.key_variable)
        return Cached(found, found.name, cache, self.batch) if cache else found


def _gram_counts(
    texts: Sequence[str], words: Sequence[int], buckets: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[int]]:
    """Return bucket and count of every n-gram, text by text, and the starts of texts."""
    counts: list[float] = []
    found: list[int] = []
    starts = [0]
    for text in texts:
        tokens = _TOKENS.findall(text.casefold())
        grams = Counter(
            zlib.crc32(" ".join(tokens[start : start + size]).encode("utf-8", "replace")) % buckets
            for size in words
            for start in range(len(tokens) - size + 1)
        )
        found += grams
        counts += grams.values()
        starts.append(len(found))
    return np.array(found, np.int64), np.array(counts, np.float64), starts
