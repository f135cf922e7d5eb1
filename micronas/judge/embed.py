"""The embedder of a recipe."""

from pathlib import Path

from micronas.judge.recipe import Embedding
from micronas.language.embedders import Cached, Embedder, EmbeddingEndpoint, WordLlama, tfidf


def embedder_of(settings: Embedding, cache: Path) -> Embedder:
    """Return the embedder of a recipe; only an endpoint's vectors are cached in the file."""
    if settings.kind == "wordllama":
        return WordLlama()
    if settings.kind == "endpoint" and settings.url and settings.model:
        endpoint = EmbeddingEndpoint(
            settings.url, settings.model, key_variable=settings.key_variable
        )
        return Cached(endpoint, endpoint.name, cache, settings.batch)
    return lambda texts: tfidf(texts, words=settings.words, dimensions=settings.dimensions)
