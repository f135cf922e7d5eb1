"""Categories where prompts have none: from a few labelled ones, or from the vectors alone."""

import numpy as np
from numpy.typing import NDArray

from micronas.language.embedders import unit
from micronas.language.neighbours import correct_prior, cross_validate, vote

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_ROUNDS = 100


def propagate(
    vectors: Floats, labels: Integers, *, categories: int, precision: float, seed: int = 0
) -> Integers:
    """Give unlabelled prompts the category that their nearest labelled ones vote for.

    Neighbours, the shares of categories among the unlabelled, and the entropy above which a
    prompt stays unlabelled are found on the labelled prompts, each from
    the other folds.

    Parameters
    ----------
    vectors
        [prompts, dimensions].
    labels
        Category of each prompt, -1 where unknown.
    precision
        Share of right labels wanted.

    Returns
    -------
    array
        Labels [prompts], -1 where the votes are too uncertain; given labels stay.

    Raises
    ------
    DataError
        If there are fewer labelled prompts than folds (5).
    """
    known, unknown = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    directions = unit(vectors)
    seeds, truth = directions[known], labels[known]
    found = cross_validate(seeds, truth, categories, seed, precision=precision)
    votes = vote(seeds, truth, categories, directions[unknown], found.neighbours)
    corrected = correct_prior(votes, found, "estimated")
    result = np.array(labels, np.int64)
    result[unknown] = np.where(corrected.entropy <= found.threshold, corrected.label, -1)
    return result


def kmeans(vectors: Floats, clusters: int, *, seed: int = 0) -> Integers:
    """Return the cluster of each prompt: k-means on directions, begun by k-means++.

    Returns
    -------
    array
        [prompts], numbered from 0 without gaps; at most `clusters` of them.
    """
    directions = unit(vectors).astype(np.float64)
    rng = np.random.default_rng(seed)
    centres = directions[[rng.integers(len(directions))]]
    while len(centres) < clusters:
        squares = np.maximum(2 - 2 * directions @ centres.T, 0).min(axis=1)
        if not squares.sum():
            break
        drawn = rng.choice(len(directions), p=squares / squares.sum())
        centres = np.vstack([centres, directions[[drawn]]])
    labels = np.full(len(directions), -1)
    for _ in range(_ROUNDS):
        nearest = (directions @ centres.T).argmax(axis=1)
        if np.array_equal(nearest, labels):
            break
        # a cluster that lost all its prompts is left out
        labels = np.unique(nearest, return_inverse=True)[1].ravel()
        sums = np.zeros((int(labels.max()) + 1, directions.shape[1]))
        np.add.at(sums, labels, directions)
        centres = unit(sums).astype(np.float64)
    return np.asarray(labels, np.int64)
