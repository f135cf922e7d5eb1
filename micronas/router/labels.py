"""Categories where prompts have none, from a few labelled ones."""

import numpy as np

from micronas.arrays import Floats, Integers
from micronas.language.embedders import unit
from micronas.language.neighbours import correct_prior, cross_validate, vote


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
