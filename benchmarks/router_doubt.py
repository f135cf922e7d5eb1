"""Doubt of the router: calibration, precision of what is kept, and prompts of unseen tasks.

    python -m benchmarks.router_doubt SCORES MODELS [EMBEDDING]

SCORES, MODELS and EMBEDDING as in router_methods. Calibration: three 60/40 splits, expected
calibration error and log-loss on the test part before and after temperature scaling, for each
classifier. Precision: the share that is kept from `general` and its precision, on the test part.
Unseen tasks: each task in turn is left out of the fit; AUROC of telling its prompts from the test
prompts of the tasks that were fitted, by four measures of doubt.
"""

import sys
import time

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from scipy.stats import rankdata

from benchmarks.router_methods import read, vectors_of
from micronas.language.embedders import cosines, unit
from micronas.router.category import CategorySettings, Kind, calibration_error, fit_categories
from micronas.router.evaluate import random_parts
from micronas.text import table

Floats = NDArray[np.float64]
KINDS: tuple[Kind, ...] = ("logistic", "knn", "mlp")


def auroc(inside: Floats, outside: Floats) -> float:
    """Chance that a prompt from outside has the larger doubt; ties count half."""
    ranks = rankdata(np.concatenate([inside, outside]))[len(inside) :]
    return float((ranks.mean() - (len(outside) + 1) / 2) / len(inside))


def log_loss(logits: Floats, labels: NDArray[np.int64]) -> float:
    return -float(log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def calibration(vectors: Floats, labels: NDArray[np.int64], names: tuple[str, ...]) -> None:
    rows = []
    for kind in KINDS:
        found = []
        start = time.process_time()
        for fit, test in random_parts(len(labels), 3):
            model, _ = fit_categories(
                vectors[fit], labels[fit], names=names, settings=CategorySettings(classifier=kind)
            )
            logits, truth = model.classifier.logits(vectors[test]), labels[test]
            cooled = logits / model.temperature
            found.append(
                [
                    (logits.argmax(axis=1) == truth).mean(),
                    calibration_error(softmax(logits, axis=1), truth),
                    calibration_error(softmax(cooled, axis=1), truth),
                    log_loss(logits, truth),
                    log_loss(cooled, truth),
                    model.temperature,
                ]
            )
        seconds = (time.process_time() - start) / 3
        rows.append([kind, *(f"{each:.3f}" for each in np.mean(found, axis=0)), f"{seconds:.1f}"])
    header = ["classifier", "accuracy", "ECE before", "after", "log-loss before", "after"]
    print(table([*header, "temperature", "CPU s a fit"], rows))


def precision(vectors: Floats, labels: NDArray[np.int64], names: tuple[str, ...]) -> None:
    rows = []
    for wanted in (0.85, 0.9, 0.95, 0.98):
        found = []
        for fit, test in random_parts(len(labels), 3):
            settings = CategorySettings(precision=wanted)
            model, _ = fit_categories(vectors[fit], labels[fit], names=names, settings=settings)
            category = model.classify(vectors[test]).category
            kept = category < len(names)
            found.append([kept.mean(), (category[kept] == labels[test][kept]).mean()])
        rows.append([f"{wanted}", *(f"{each:.3f}" for each in np.mean(found, axis=0))])
    print(table(["precision wanted", "kept", "precision on test"], rows))


def unseen(vectors: Floats, labels: NDArray[np.int64], names: tuple[str, ...]) -> None:
    ((fit, test),) = random_parts(len(labels), 1)
    rows = []
    for left_out, name in enumerate(names):
        part = fit[labels[fit] != left_out]
        rest = tuple(each for each in names if each != name)
        place = np.delete(np.arange(len(names)), left_out)
        own = np.searchsorted(place, labels[part])
        model, _ = fit_categories(vectors[part], own, names=rest, settings=CategorySettings())
        found = model.classify(vectors[test])
        nearest = 1 - cosines(unit(vectors[test]), unit(vectors[part])).max(axis=1)
        outside = labels[test] == left_out
        doubts = (
            found.entropy,
            1 - found.probabilities.max(axis=1),
            found.distance,
            nearest.astype(np.float64),
        )
        rows.append([name, *(auroc(each[~outside], each[outside]) for each in doubts)])
    means = np.mean([row[1:] for row in rows], axis=0)
    worst = np.min([row[1:] for row in rows], axis=0)
    rows += [["mean", *means], ["worst", *worst]]
    cells = [[name, *(f"{each:.3f}" for each in values)] for name, *values in rows]
    header = ["task left out", "entropy", "1 - max prob", "centroid distance", "nearest distance"]
    print(table(header, cells))


def main(scores: str, models: str, embedding: str = "wordllama") -> None:
    judged, _ = read(scores, models)
    vectors = vectors_of(judged, embedding)
    names = tuple(sorted(set(judged.categories)))
    labels = np.array([names.index(each) for each in judged.categories], np.int64)
    print(f"{embedding}, {len(judged)} prompts, {len(names)} tasks\n")
    for part in (calibration, precision, unseen):
        part(vectors, labels, names)
        print()


if __name__ == "__main__":
    main(*sys.argv[1:])
