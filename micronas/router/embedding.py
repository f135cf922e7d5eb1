"""Prompts into vectors: what they are about and how they are laid out."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from micronas.arrays import Floats
from micronas.errors import ConfigError, DataError
from micronas.language.embedders import Cached, Embedder, EmbeddingEndpoint, WordLlama, hashed, unit
from micronas.language.endpoints import BaseUrl
from micronas.router.rewordings import plain
from micronas.settings import Settings

_Count = Annotated[int, Field(ge=1)]

_LAYOUT = 1.0
"""Weight of the layout beside a unit vector of words."""
_HEAD, _TAIL = 6000, 2000
"""Characters of a prompt that are embedded; what lies between takes time and says little more."""
_MATHEMATICS = frozenset("\\{}$")


class Embedding(Settings):
    """Embedding of prompts as vectors."""

    kind: Literal["auto", "wordllama", "ngrams", "endpoint", "callable"] = "auto"
    """``auto`` is wordllama where it is installed, else ngrams; both need no torch."""
    layout: bool = True
    """Whether length, lines, digits, capitals and signs of a prompt stand beside its words."""
    dimensions: Annotated[int, Field(gt=0, le=1024)] = 512
    """Dimensions of ``ngrams``; fitting takes memory by their square, and time by their cube."""
    url: BaseUrl | None = None
    """Address of an OpenAI-compatible ``endpoint``, up to and including ``/v1``."""
    model: str | None = None
    """Model of the ``endpoint``."""
    key_variable: str | None = None
    """Environment variable that holds the key of the ``endpoint``."""
    batch: _Count = 64
    """Prompts in a request."""
    callable: str | None = None
    """``package.module:function`` of a ``callable`` from a list of texts to a matrix."""

    @model_validator(mode="after")
    def _is_complete(self) -> "Embedding":
        if self.kind == "endpoint" and not (self.url and self.model):
            raise ValueError("kind endpoint needs url and model")
        if self.kind == "callable" and not self.callable:
            raise ValueError("kind callable needs callable: package.module:function")
        return self

    def resolved(self) -> "Embedding":
        """The same with ``auto`` replaced by what is installed here."""
        if self.kind != "auto":
            return self
        installed = all(find_spec(name) for name in ("wordllama", "tokenizers", "safetensors"))
        return self.model_copy(update={"kind": "wordllama" if installed else "ngrams"})


def embedder_of(settings: Embedding, cache: Path | None = None) -> Callable[..., Floats]:
    """Return a function from prompts to vectors [prompts, dimensions].

    Parameters
    ----------
    cache
        SQLite file in which vectors of slow embedders (endpoint, callable) are kept.

    Raises
    ------
    ConfigError
        If a package, a key or the function is missing.
    """
    words = _words_of(settings.resolved(), cache)
    source = settings.callable or settings.kind

    def embed(prompts: Sequence[str]) -> Floats:
        # half of a surrogate pair, which JSON can hold, is no text to a tokenizer
        prompts = [
            plain(cut(prompt)).encode("utf-8", "replace").decode("utf-8") for prompt in prompts
        ]
        vectors: Any = words(prompts)
        if np.ndim(vectors) != 2 or len(vectors) != len(prompts) or not np.isfinite(vectors).all():
            raise DataError(
                f"embedder {source} must return one finite vector a prompt, but returned shape "
                f"{np.shape(vectors)} for {len(prompts)} prompts"
            )
        parts = [np.asarray(unit(np.asarray(vectors)), np.float64)]
        if settings.layout:
            parts.append(_LAYOUT * layout(prompts))
        return np.hstack(parts)

    return embed


def cut(prompt: str) -> str:
    """Return a prompt without its middle, where it is longer than 8,000 characters."""
    if len(prompt) <= _HEAD + _TAIL:
        return prompt
    return f"{prompt[:_HEAD]}\n{prompt[-_TAIL:]}"


def layout(prompts: Sequence[str]) -> Floats:
    """Return the layout of prompts, without their words: eight numbers of about 0 to 1.

    Logarithms of characters, words and lines; roots of the shares of digits, capitals and signs;
    whether it ends with a question mark; whether it holds LaTeX or code braces.

    Returns
    -------
    array
        [prompts, 8].
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
    if settings.kind == "ngrams":
        return lambda prompts: hashed(prompts, dimensions=settings.dimensions)
    slow: Embedder
    if settings.kind == "endpoint" and settings.url and settings.model:
        slow = EmbeddingEndpoint(settings.url, settings.model, key_variable=settings.key_variable)
        name = slow.name
    else:
        slow, name = _function(settings.callable or ""), f"callable {settings.callable}"
    return Cached(slow, name, cache, settings.batch) if cache else slow


def _function(path: str) -> Embedder:
    try:
        function: Embedder = resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"embedding.callable must be package.module:function, but got {path!r}: {error}"
        ) from error
    return function
