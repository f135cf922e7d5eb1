"""Exact and near-duplicates: MinHash finds candidates, a weighted Jaccard similarity decides."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from micronas.arrays import Floats
from micronas.judge.recipe import Duplicates

_RAREST = 100
"""Largest rarity of an n-gram: in one of this many texts."""
_BANDS, _ROWS = 32, 4
"""Bands and rows of a signature: texts of similarity 0.5 share a band with probability 87 %, of 0.7
with 99.98 %."""
_NUMBERS = re.compile(r"\d+(?:[.,]\d+)*|(?<=\w)[#+]+|[+=<>%]|(?<=\w)\s*[*/^-]\s*(?=\d)")
"""Numbers and operators."""
_SIGNS = frozenset("#%&*-/@\\_")
"""Significant punctuation: C++ is not C#, and 2 + 3 is not 2 * 3."""


@dataclass(frozen=True)
class _Duplicate:
    """A text that duplicates an earlier one."""

    index: int
    of: int
    """Index of the text that is kept."""
    similarity: float
    """Similarity; 1 for texts that differ at most in case, punctuation and blanks."""


def find_duplicates(texts: Sequence[str], settings: Duplicates) -> list[_Duplicate]:
    """Return the texts that duplicate an earlier one, which is kept.

    The similarity of two texts is the share of common n-grams, weighted by rarity: prompts from one
    template share much text of little meaning. Candidates come from MinHash signatures of 128
    hashes in 32 bands (Broder 1997).
    """
    plain = [_plain(text) for text in texts]
    grams = [_grams(text, settings.characters) for text in plain]
    numbers = [sorted("".join(n.split()) for n in _NUMBERS.findall(text)) for text in texts]
    similarities = _similarities(grams)
    buckets: dict[tuple[int, bytes, str], list[int]] = defaultdict(list)
    first: dict[str, int] = {}
    duplicates = []
    for index, text in enumerate(plain):
        if text in first and numbers[index] == numbers[first[text]]:
            duplicates.append(_Duplicate(index, first[text], 1.0))
            continue
        same = " ".join(numbers[index]) if settings.same_numbers else ""
        rows = enumerate(_signature(grams[index]))
        keys = [(band, row.tobytes(), same) for band, row in rows]
        candidates = sorted(set().union(*(buckets[key] for key in keys)))
        similar = similarities(index, candidates)
        if len(similar) and similar.max() >= settings.threshold:
            best = int(similar.argmax())
            duplicates.append(_Duplicate(index, candidates[best], float(similar[best])))
            continue
        first.setdefault(text, index)
        for key in keys:
            buckets[key].append(index)
    return duplicates


def _plain(text: str) -> str:
    """Return the text in lower case with blanks for punctuation; all-punctuation texts stay."""
    letters = (
        c if c in _SIGNS or unicodedata.category(c)[0] != "P" else " " for c in text.casefold()
    )
    return " ".join("".join(letters).split()) or text.strip()


_Grams = NDArray[np.uint64]


def _grams(text: str, size: int) -> _Grams:
    """Return the hashes of the different character n-grams of a text, ascending."""
    points = np.frombuffer(f" {text} ".encode("utf-32-le", "surrogatepass"), np.uint32)
    points = points.astype(np.uint64)
    size = min(size, len(points))
    hashes = np.zeros(len(points) - size + 1, np.uint64)
    for offset in range(size):
        hashes = _mix(hashes ^ points[offset : len(points) - size + 1 + offset])
    return np.unique(hashes)


def _mix(values: _Grams) -> _Grams:
    """Mix bits by the finaliser of splitmix64 (Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), np.uint64)


_SALTS = _mix(np.arange(_BANDS * _ROWS, dtype=np.uint64))


def _signature(grams: _Grams) -> _Grams:
    """Return the minima of 128 hash functions, uint64 [bands, rows]."""
    # an odd multiplier permutes the hashes
    hashed = (grams ^ _SALTS[:, None]) * (_SALTS[:, None] | np.uint64(1))
    return np.asarray(hashed.min(axis=1), np.uint64).reshape(_BANDS, _ROWS)


def _similarities(grams: Sequence[_Grams]) -> Callable[[int, Sequence[int]], Floats]:
    """Return a function from a text and others to their similarities, by indices.

    N-grams are weighted by inverse document frequency. In a pool from one template each text has
    all others as candidates, so that these must be compared at once.
    """
    every = np.concatenate([np.empty(0, np.uint64), *grams])
    known, counts = np.unique(every, return_counts=True)
    # without a limit n-grams of a typing error would have the largest weight
    weights = np.log1p(np.minimum(len(grams) / counts, _RAREST))
    place = np.searchsorted(known, every).astype(np.int32)
    ends = np.cumsum([0, *map(len, grams)])
    held = (np.ones(len(place), np.int8), place, ends)
    table = sparse.csr_array(held, shape=(len(grams), len(known)))
    sums, own = table @ weights, np.zeros(len(known))

    def of(text: int, others: Sequence[int]) -> Floats:
        wanted = place[ends[text] : ends[text + 1]]
        own[wanted] = weights[wanted]
        common = table[others] @ own
        own[wanted] = 0
        return np.asarray(common / (sums[text] + sums[others] - common))

    return of
