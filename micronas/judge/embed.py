"""The embedder that a recipe asks for."""

from pathlib import Path

from micronas.judge.recipe import Embedding
from micronas.language.embedders import Cached, Embedder, EmbeddingEndpoint, WordLlama, tfidf


def embedder_of(settings: Embedding, cache: Path) -> Embedder:
    """Return the embedder of a recipe; only an endpoint's vectors are kept in the cache file."""
    if settings.kind == "wordllama":
        return WordLlama()
    if settings.kind == "endpoint" and settings.url and settings.model:
        endpoint = EmbeddingEndpoint(
            settings.url, settings.model, key_variable=settings.key_variable
        )
        return Cached(endpoint, endpoint.name, cache, settings.batch)
    return lambda texts: tfidf(texts, words=settings.words, dimensions=settings.dimensions)
