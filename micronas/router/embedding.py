"""Turn prompts into vectors of words and layout."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from micronas.arrays import Floats
from micronas.language.embedders import (
    Cached,
    Embedder,
    EndpointEmbedding,
    WordLlama,
    hashed,
    unit,
)
from micronas.language.multilingual import Multilingual
from micronas.router.rewordings import cores, plain

_LAYOUT = 1.0
"""Weight of the layout relative to a unit vector of words."""
_HEAD, _TAIL = 6000, 2000
"""Characters embedded at a prompt's head and tail; the middle costs time and adds little."""
_MATHEMATICS = frozenset("\\{}$")


class Embedding(EndpointEmbedding):
    """Embedding of prompts as vectors."""

    kind: Literal["auto", "wordllama", "multilingual", "ngrams", "endpoint"] = "auto"
    """Kind; ``auto`` is wordllama if installed, else ngrams; ``multilingual`` reads sixteen
    languages. None of them needs torch."""
    layout: bool = True
    """Add length, lines, digits, capitals and signs of a prompt to its words."""
    dimensions: Annotated[int, Field(gt=0, le=1024)] = 512
    """Dimensions of ``ngrams``; memory of a fit grows with their square, time with their cube."""

    def resolved(self) -> "Embedding":
        """Return the settings with ``auto`` replaced by the installed kind."""
        if self.kind != "auto":
            return self
        installed = all(find_spec(name) for name in ("wordllama", "tokenizers", "safetensors"))
        return self.model_copy(update={"kind": "wordllama" if installed else "ngrams"})


def embedder_of(settings: Embedding, cache: Path | None = None) -> Callable[..., Floats]:
    """Return a function from prompts to vectors [prompts, dimensions].

    The cache is an SQLite file for the vectors of ``multilingual`` or an endpoint. Raises
    ConfigError if a package or a key is missing.
    """
    words = _words_of(settings.resolved(), cache)

    def embed(prompts: Sequence[str]) -> Floats:
        # tokenizers reject unpaired surrogates, which JSON can hold
        prompts = [
            plain(cut(prompt)).encode("utf-8", "replace").decode("utf-8") for prompt in prompts
        ]
        parts = [np.asarray(unit(np.asarray(words(prompts))), np.float64)]
        if settings.layout:
            parts.append(_LAYOUT * layout(prompts))
        return np.hstack(parts)

    return embed


def embedded_cores(
    embed: Callable[..., Floats], prompts: Sequence[str], *, whole: Floats | None = None
) -> Floats:
    """Return vectors [cores, prompts, dimensions] of prompts and their `cores`.

    The first is of the whole prompt, which also stands in where a prompt has fewer cores; `whole`
    [prompts, dimensions] spares its embedding.
    """
    vectors = embed(prompts) if whole is None else whole
    found = [cores(plain(cut(prompt)))[1:] for prompt in prompts]
    texts = list(dict.fromkeys(itertools.chain(*found)))
    if texts:
        vectors = np.concatenate([vectors, embed(texts)])
    place = {text: len(prompts) + number for number, text in enumerate(texts)}
    others = itertools.zip_longest(*found)
    rows = [[place.get(text, row) for row, text in enumerate(each)] for each in others]
    return np.asarray(vectors[[list(range(len(prompts))), *rows]])


def cut(prompt: str) -> str:
    """Return a prompt without its middle if it is longer than 8,000 characters."""
    if len(prompt) <= _HEAD + _TAIL:
        return prompt
    return f"{prompt[:_HEAD]}\n{prompt[-_TAIL:]}"


def layout(prompts: Sequence[str]) -> Floats:
    """Return the layout of prompts [prompts, 8], without their words: numbers of about 0 to 1.

    They are logarithms of characters, words and lines; square roots of the shares of digits,
    capitals and signs; 1 for a final question mark; 1 for LaTeX or code braces.
    """
    return np.array([_layout(prompt) for prompt in prompts], np.float64).reshape(-1, 8)


def _layout(prompt: str) -> list[float]:
    size = max(len(prompt), 1)
    kinds = (
        sum(map(str.isdigit, prompt)),
        sum(map(str.isupper, prompt)),
        sum(not (each.isalnum() or each.isspace()) for each in prompt),
    )
    return [
        float(np.log1p(len(prompt))) / 10,
        float(np.log1p(len(prompt.split()))) / 8,
        float(np.log1p(prompt.count("\n"))) / 4,
        *((count / size) ** 0.5 for count in kinds),
        float(prompt.rstrip().endswith("?")),
        float(not _MATHEMATICS.isdisjoint(prompt)),
    ]


def _words_of(settings: Embedding, cache: Path | None) -> Embedder:
    if settings.kind == "wordllama":
        return WordLlama()
    if settings.kind == "multilingual":
        found = Multilingual()
        return Cached(found, found.name, cache) if cache else found
    if settings.kind == "endpoint":
        return settings.endpoint(cache)
    return partial(hashed, dimensions=settings.dimensions)
