"""Clusters of texts: k-means on the sphere, for dense and for sparse vectors."""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from micronas.language.embedders import Vectors, cosines, unit


def clusters(vectors: Vectors, count: int, seed: int) -> NDArray[np.int64]:
    """Return clusters [n] of unit vectors [n, dimensions], numbered from 0 without gaps.

    By k-means on the sphere, seeded by k-means++. There are fewer than `count` clusters where there
    are fewer different vectors.
    """
    if scipy.sparse.issparse(vectors):
        # centres are dense: leave out n-grams that no vector has
        sparse: Any = vectors
        vectors = sparse[:, np.unique(sparse.indices)]
    n = vectors.shape[0]
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(n))]
    closest = cosines(vectors, vectors[chosen])[:, 0].astype(np.float64)
    while len(chosen) < min(count, n):
        distance = np.maximum(1 - closest, 0)
        # rounding errors are no distance
        distance[distance < 1e-5] = 0
        if not distance.any():
            break
        chosen.append(int(rng.choice(n, p=distance / distance.sum())))
        closest = np.maximum(closest, cosines(vectors, vectors[chosen[-1:]])[:, 0])
    similar = cosines(vectors, vectors[chosen])
    labels = similar.argmax(axis=1)
    for _ in range(25):
        # an empty cluster keeps no centre; its vectors are nearer to others
        members = [np.nonzero(labels == cluster)[0] for cluster in np.unique(labels)]
        centres = np.stack([np.asarray(vectors[each].sum(axis=0)).ravel() for each in members])
        updated = cosines(vectors, unit(centres)).argmax(axis=1)
        if np.array_equal(updated, labels):
            break
        labels = updated
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64).ravel()
