"""Draw the evaluation set: exact quotas over category and language, evenly over clusters."""

import hashlib
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from micronas.errors import DataError
from micronas.judge.recipe import Category
from micronas.language.clusters import clusters
from micronas.language.embedders import Vectors

_WORDS = re.compile(r"\w+")


def quality(text: str) -> float:
    """Return a quality score of a prompt from 0 to 1, for any language, offline.

    It is the mean of three parts: length (full from 160 characters on), variety (different words
    among all words, full from one half on) and information (bytes that compression leaves, full
    from 60 % on).
    """
    words = _WORDS.findall(text.casefold())
    if not words:
        return 0.0
    data = text.encode("utf-8")
    length = min(len(text) / 160, 1.0)
    variety = min(2 * len(set(words)) / len(words), 1.0)
    information = min(len(zlib.compress(data, 9)) / len(data) / 0.6, 1.0)
    return (length + variety + information) / 3


def apportion(total: int, ratios: Mapping[str, float]) -> dict[str, int]:
    """Divide a number in given ratios, by largest remainder; parts add up to it exactly."""
    whole = sum(ratios.values())
    exact = {name: total * ratio / whole for name, ratio in ratios.items()}
    parts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(ratios, key=lambda name: (parts[name] - exact[name], name))
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def shares(
    languages: Sequence[str], category: str, settings: Category, *, accept_shortage: bool = False
) -> dict[str, int]:
    """Return the number of prompts of each language to draw for one category.

    `languages` are those of the prompts that may be drawn. Raises DataError, which names category,
    language, quota and number of prompts, if there are too few; with `accept_shortage` fewer do.
    """
    there = Counter(languages)
    wanted = apportion(settings.quota, settings.languages or there or {"any language": 1})
    short = sorted(name for name, quota in wanted.items() if there[name] < quota)
    if short and not accept_shortage:
        quota, found, where = settings.quota, len(languages), ""
        if settings.languages:
            quota, found, where = wanted[short[0]], there[short[0]], f" in {short[0]}"
        raise DataError(
            f"category {category!r} must have {quota} prompts{where}, but has {found}; add "
            "sources, lower the quota or set sampling.shortage=accept"
        )
    return {language: min(quota, there[language]) for language, quota in wanted.items()}


def draw(
    ids: Sequence[str],
    languages: Sequence[str],
    vectors: Vectors,
    quotas: Mapping[str, int],
    *,
    cluster_count: int,
    seed: int,
) -> list[int]:
    """Draw the quota of each language, evenly over clusters; return ascending indices.

    The choice within a cluster depends only on the seed and the ids. All prompts are of one
    category.
    """
    drawn: list[int] = []
    for language, quota in sorted(quotas.items()):
        there = [index for index, each in enumerate(languages) if each == language]
        if there and quota:
            groups = clusters(vectors[np.array(there)], cluster_count, seed)
            drawn += _even(ids, there, groups, quota, seed)
    return sorted(drawn)


def seeded(name: str, seed: int) -> str:
    """Return a sort key of a name, which gives each seed its own order."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def _even(
    ids: Sequence[str], there: list[int], groups: NDArray[np.int64], quota: int, seed: int
) -> list[int]:
    """Take one prompt of each cluster in turn, the clusters and prompts in a seeded order."""

    def order(index: int) -> str:
        return seeded(ids[index], seed)

    by_cluster: dict[int, list[int]] = defaultdict(list)
    for index, group in zip(there, groups.tolist(), strict=True):
        by_cluster[group].append(index)
    queues = sorted(
        (sorted(each, key=order) for each in by_cluster.values()), key=lambda queue: order(queue[0])
    )
    rounds = [
        queue[turn]
        for turn in range(max(map(len, queues)))
        for queue in queues
        if turn < len(queue)
    ]
    return rounds[:quota]
