"""Categories of classes: those a small network confuses belong together."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from micronas.errors import ConfigError
from micronas.router.decision import GENERAL

Floats = npt.NDArray[np.float64]
Members = npt.NDArray[np.int64]
"""Cluster of each class."""


def confused_classes(
    confusion: Floats, classes: Sequence[str], *, count: int
) -> dict[str, tuple[str, ...]]:
    """Cluster classes so that confusions stay within a category, of two classes or more each.

    Spectral clustering: the affinity of two classes is how often each is taken for the other; the
    leading eigenvectors of the normalised affinity are cut by Ward's criterion, which needs no
    random start. A class left alone joins the category it is confused with most, so that there
    may be fewer categories than asked for.

    Parameters
    ----------
    confusion
        float [C, C]: row i is what class i is taken for, as counts or mean probabilities.
    classes
        Names of the C classes.
    count
        Number of categories, 2 to C / 2.

    Returns
    -------
    Classes by category, ``category1`` holding the first class.

    Raises
    ------
    ConfigError
        If the number of categories cannot be had, or no class is ever taken for another one.

    References
    ----------
    A. Ng et al., "On Spectral Clustering", 2001; the mean affinity is added to the degrees as in
    T. Qin and K. Rohe, arXiv 1309.4111.
    """
    check_count(count, len(classes))
    rates = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    affinity = rates + rates.T
    np.fill_diagonal(affinity, 0)
    degrees = affinity.sum(axis=1)
    if not degrees.any():
        raise ConfigError(
            "categories come from confusions, but no class is taken for another one; "
            "give the categories, or take a smaller network to confuse them"
        )
    clusters = _cut(_embedding(affinity, degrees + degrees.mean(), count), count)
    members = _without_singles(clusters, affinity).tolist()
    if len(set(members)) < 2:
        raise ConfigError(
            f"confusions must part the classes into categories of two or more, but {count} leave "
            "one category and single classes; ask for another number, or give the categories"
        )
    return {
        f"category{number}": tuple(
            name for name, member in zip(classes, members, strict=True) if member == cluster
        )
        for number, cluster in enumerate(dict.fromkeys(members), 1)
    }


def check_count(count: int, classes: int) -> None:
    """Raise ConfigError unless so many categories can hold two of the classes each."""
    if not 2 <= count <= classes // 2:
        raise ConfigError(
            "categories must be 2 or more and hold two classes each, but categories="
            f"{count} for {classes} classes; give 2 or more, and at most half the classes"
        )


def check_categories(
    categories: Mapping[str, Sequence[str]], classes: Sequence[str], *, smallest: int = 1
) -> dict[str, tuple[str, ...]]:
    """Check that categories divide the classes, `smallest` or more each, and return them.

    Raises
    ------
    ConfigError
        Naming what stands in no category or in several, or a category that is too small.
    """
    if len(categories) < 2 or GENERAL in categories:
        raise ConfigError(
            f"categories must be two or more and none be named {GENERAL!r}, which stands for "
            f"unsure inputs, but are {list(categories)}; edit the categories"
        )
    listed = [label for labels in categories.values() for label in labels]
    wrong = sorted({label for label in (*listed, *classes) if listed.count(label) != 1})
    unknown = sorted(set(listed) - set(classes))
    small = sorted(name for name, labels in categories.items() if len(labels) < smallest)
    if wrong or unknown or small:
        raise ConfigError(
            f"every class must stand in one category, and a category hold {smallest} or more, but "
            f"{wrong} stand in none or several, {unknown} are no classes and {small} are too "
            "small; edit the categories"
        )
    return {name: tuple(labels) for name, labels in categories.items()}


def _embedding(affinity: Floats, degrees: Floats, count: int) -> Floats:
    """Rows of the leading eigenvectors of the normalised affinity, at length 1."""
    root = np.sqrt(degrees)
    vectors = np.linalg.eigh(affinity / np.outer(root, root))[1][:, -count:]
    rows: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return rows


def _cut(rows: Floats, count: int) -> Members:
    try:
        from scipy.cluster import hierarchy
    except ImportError as error:
        raise ConfigError(
            "categories are clustered with SciPy, which is not installed; "
            "pip install '.[router]', or give the categories"
        ) from error
    tree = hierarchy.linkage(rows, "ward")
    clusters: Members = hierarchy.fcluster(tree, count, "maxclust").astype(np.int64)
    return clusters


def _without_singles(clusters: Members, affinity: Floats) -> Members:
    members: Members = clusters.copy()
    others = affinity - np.eye(len(members))  # no class joins itself
    for index in range(len(members)):
        if (members == members[index]).sum() == 1:
            members[index] = members[others[index].argmax()]
    return members
