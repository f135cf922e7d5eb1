"""Spread categories from a few labelled prompts to unlabelled ones."""

import numpy as np

from micronas.arrays import Floats, Integers
from micronas.language.embedders import unit
from micronas.language.neighbours import correct_prior, cross_validate, vote


def propagate(
    vectors: Floats, labels: Integers, *, categories: int, precision: float, seed: int = 0
) -> Integers:
    """Give unlabelled prompts the category voted by their nearest labelled ones.

    The number of neighbours, the confusion of categories and the entropy above which a prompt stays
    unlabelled come from cross-validation on the labelled prompts.

    Parameters
    ----------
    vectors
        Vectors [prompts, dimensions].
    labels
        Category of each prompt, -1 if unknown.
    precision
        Wanted share of right labels.

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
