"""Two-step routing beside its baselines on judged prompts: score, parameters, paired intervals.

    python -m benchmarks.router_methods SCORES MODELS [EMBEDDING] [SPLITS]

SCORES is a table that `micronas.router.scores.read_scores` reads, with categories under ``task``;
MODELS a CSV of model and params_billion; EMBEDDING a kind (wordllama, ngrams, minilm). Random
splits, 60 % to fit and 40 % to test; no prompt is in both. The difference is two steps minus the
row's method, with a 95 % interval over prompts; spread is over splits.
"""

import csv
import sys
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from micronas.router.embedding import Embedding, embedder_of
from micronas.router.evaluate import OURS, evaluate, random_parts
from micronas.router.fit import FitSettings
from micronas.router.scores import ScoreTable, read_scores
from micronas.text import table

BUDGETS = (8.2e9, 12e9, 20e9, 31e9, 52e9)


def read(scores: str, models: str) -> tuple[ScoreTable, NDArray[np.float64]]:
    """The table and the parameters of its experts."""
    with Path(models).open(encoding="utf-8", newline="") as file:
        active = {row["model"]: 1e9 * float(row["params_billion"]) for row in csv.DictReader(file)}
    judged = read_scores(Path(scores), category="task").of_experts(tuple(active))
    return judged, np.array(list(active.values()))


def vectors_of(judged: ScoreTable, kind: str) -> NDArray[np.float64]:
    """Vectors of all prompts; those of slow embedders are kept beside other temporary files."""
    assert kind in get_args(Embedding.model_fields["kind"].annotation)
    cache = Path(tempfile.gettempdir()) / "micronas_router_vectors.sqlite"
    return embedder_of(Embedding(kind=kind), cache)(judged.prompts)  # type: ignore[arg-type]


def main(scores: str, models: str, embedding: str = "wordllama", splits: str = "10") -> None:
    judged, active = read(scores, models)
    done = evaluate(
        judged,
        vectors_of(judged, embedding),
        active=active,
        total=active,
        budgets=BUDGETS,
        settings=FitSettings(clusters=(8, 32)),
        parts=random_parts(len(judged), int(splits)),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(f"{embedding}, {len(judged)} prompts, {splits} splits")
    rows = [
        [
            f"{row['budget'] / 1e9:g}",
            row["method"],
            f"{row['score']:.4f}",
            f"{row['active'] / 1e9:.1f}",
            "" if row["method"] == OURS else f"{row['difference']:+.4f}",
            "" if row["method"] == OURS else f"{row['low']:+.4f} to {row['high']:+.4f}",
            "" if row["method"] == OURS else f"{row['spread']:.4f}",
        ]
        for row in done.rows()
    ]
    header = ["budget, B", "method", "score", "active, B", "two steps minus it", "95 %", "spread"]
    print(table(header, rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
