"""Measures that tell prompts of an unseen task, by leaving each task out.

    python -m benchmarks.router_unfamiliar SCORES MODELS

SCORES and MODELS as in router_heldout. A quarter of the prompts is kept apart; each task in turn is
left out of the fit, and a measure's threshold keeps exactly 95 % of the other tasks' prompts that
were kept apart. Printed: the share of the left-out task's prompts above it, and the AUROC; means of
the tasks. Features are static word vectors, the layout, both, and both with hashed n-grams.
"""

import sys

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import softmax
from scipy.stats import mannwhitneyu

from benchmarks.router_heldout import read, vectors_of
from micronas.language.embedders import hashed, unit
from micronas.language.neighbours import entropy
from micronas.router.category import fit_gaussians
from micronas.router.embedding import layout
from micronas.text import table
from testing.usage import given

Floats = NDArray[np.float64]
RIDGE, TEMPERATURE, KEPT = 0.1, 3.0, 0.95


def measures(vectors: Floats, labels: NDArray[np.int64], asked: Floats) -> dict[str, Floats]:
    """Each measure of how unlike the fitting prompts others are [prompts]."""
    tasks = int(labels.max()) + 1
    (fitted,) = fit_gaussians(vectors, labels, categories=tasks, ridges=[RIDGE])
    logits, relative = fitted(asked)
    means = np.array([vectors[labels == task].mean(axis=0) for task in range(tasks)])
    inside = vectors - means[labels]
    covariance = inside.T @ inside / len(inside)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    near = cdist(asked, means, "mahalanobis", VI=np.linalg.inv(covariance)).min(axis=1)
    centroids = unit(np.array([unit(vectors[labels == each]).mean(0) for each in range(tasks)]))
    return {
        "relative Mahalanobis distance": relative,
        "Mahalanobis distance": near,
        "entropy of the categories": entropy(softmax(logits / TEMPERATURE, axis=1)),
        "distance to the nearest prompt": 1 - (unit(asked) @ unit(vectors).T).max(axis=1),
        "distance to the nearest centroid": 1 - (unit(asked) @ centroids.T).max(axis=1),
    }


def main(scores: str, models: str) -> None:
    judged, _ = read(scores, models)
    labels = np.unique(judged.categories, return_inverse=True)[1].astype(np.int64)
    words = vectors_of(judged, "wordllama")[:, :-8]  # what stands behind them is the layout
    shape, grams = layout(judged.prompts), hashed(judged.prompts, dimensions=512)
    sets = {
        "words": words,
        "layout": shape,
        "words and layout": np.hstack([words, shape]),
        "words, n-grams and layout": np.hstack([words, grams, shape]),
    }
    held = np.random.default_rng(0).random(len(labels)) < 0.25
    cells: dict[str, list[str]] = {}
    for name, vectors in sets.items():
        found: dict[str, list[tuple[float, float]]] = {}
        for task in range(labels.max() + 1):
            part, seen, unseen = (labels != task) & ~held, (labels != task) & held, labels == task
            own = np.unique(labels[part], return_inverse=True)[1].astype(np.int64)
            both = measures(vectors[part], own, np.vstack([vectors[seen], vectors[unseen]]))
            for measure, values in both.items():
                inside, outside = values[: seen.sum()], values[seen.sum() :]
                area = mannwhitneyu(outside, inside).statistic / len(inside) / len(outside)
                share = (outside > np.quantile(inside, KEPT)).mean()
                found.setdefault(measure, []).append((float(share), float(area)))
        for measure, pairs in found.items():
            share, area = np.mean(pairs, axis=0)
            cells.setdefault(measure, []).append(f"{share:.3f}, {area:.3f}")
        print(name, "done", file=sys.stderr, flush=True)
    print(table(["measure", *sets], [[measure, *row] for measure, row in cells.items()]))


if __name__ == "__main__":
    main(*given(__doc__, 2))
