"""Reproduce Arena-Hard's own figures of benchmark quality from its published bootstraps.

    python -m benchmarks.judge_tables FOLDER

FOLDER holds the files of ``notebook/`` of lmarena/arena-hard-auto at commit bd52a78 (Apache-2.0):
bootstraps of Arena-Hard, AlpacaEval 2 (LC) and MT-Bench, and ratings of Chatbot Arena. Prints the
figures on the twenty models that all of them share, and on all models of each.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np

from micronas.judge.quality import Estimates, Quality, quality
from micronas.text import table

FILES = {
    "Arena-Hard": "arena_hard",
    "AlpacaEval 2 LC": "alpaca_LC",
    "AlpacaEval 2": "alpaca",
    "MT-Bench": "mt_bench",
    "Arena, 20k votes": "20k_votes",
    "Arena, 20k votes (Elo)": "20k_votes_elo",
    "Arena-Hard BT": "arena_hard_bt",
    "Arena like Arena-Hard": "arena_hard_distribution_elo",
}


def load_bootstrap(folder: Path, name: str, level: float = 0.95) -> Estimates:
    """Read scores and bootstrap results; the anchor has one result only.

    Names are in lower case, as the files do not agree on capitals.
    """
    lines = (folder / f"bootstrap_stats_{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    tails = [50 * (1 - level), 50 * (1 + level)]
    bounds = np.array([np.percentile(row["results"], tails) for row in rows])
    return Estimates(
        models=tuple(row["model"].lower() for row in rows),
        scores=np.array([row["score"] for row in rows], np.float64),
        lower=bounds[:, 0],
        upper=bounds[:, 1],
        mean=np.array([np.mean(row["results"]) for row in rows]),
        variance=np.array([np.var(row["results"]) for row in rows]),
    )


def load_arena(folder: Path) -> Estimates:
    """Read Chatbot Arena's ratings with their published intervals."""
    path = folder / "chatbot_arena_2024-03-29.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("rating", "rating_q025", "rating_q975")
    scores, lower, upper = (np.array([float(row[name]) for row in rows]) for name in columns)
    return Estimates(tuple(row["index"].lower() for row in rows), scores, lower, upper)


def with_arena_names(benchmark: Estimates, names: dict[str, str]) -> Estimates:
    """Keep the models of a mapping from Arena's names to the benchmark's, under Arena's names."""
    kept = benchmark.of_models(list(names.values()))
    return Estimates(
        tuple(names), kept.scores, kept.lower, kept.upper, None, kept.mean, kept.variance
    )


def shared(folder: Path, name: str, level: float = 0.95) -> Estimates:
    """A benchmark on the twenty shared models, under Chatbot Arena's names."""
    benchmark = load_bootstrap(folder, name, level)

    def mapping(file: str) -> dict[str, str]:
        names: dict[str, str] = json.loads((folder / file).read_text(encoding="utf-8").lower())
        return names

    if name.startswith("alpaca"):
        names = {theirs: ours for ours, theirs in mapping("alpaca_to_arena.json").items()}
    elif name == "mt_bench":
        names = mapping("arena_to_mt_bench.json")
    elif name.startswith("arena_hard") and not name.endswith("_elo"):
        names = mapping("arena_to_arena_hard.json")
    else:
        names = {name: name for name in mapping("arena_to_arena_hard.json")}
    return with_arena_names(benchmark, names)


def main(folder: Path) -> None:
    arena = load_arena(folder)
    rows = []
    for title, name in FILES.items():
        if not name.endswith("distribution_elo"):
            row = quality(shared(folder, name), arena, convention="arena-hard")
            rows.append([title, *_cells(row, quality(shared(folder, name, 0.8)))])
    names = shared(folder, "arena_hard").models
    rows.append(["Arena itself", *_cells(quality(arena.of_models(names)), None)])
    for title, name in FILES.items():
        row, narrow = (quality(load_bootstrap(folder, name, level)) for level in (0.95, 0.8))
        rows.append([f"{title}, all", *_cells(row, narrow)])
    rows.append(["Arena itself, all", *_cells(quality(arena), None)])
    header = ["benchmark", "models", "separability", "at 80 %", "strict", "agreement"]
    print(table([*header, "Spearman", "Kendall", "Brier", "log-loss"], rows))


def _cells(row: Quality, narrow: Quality | None) -> list[str]:
    figures = (row.spearman, row.kendall, row.brier, row.log_loss)
    shares = (row.separability, narrow and narrow.separability)
    return [
        str(row.models),
        *("" if each is None else str(each) for each in shares),
        *(
            "" if each is None else f"{each.value:.6f} of {each.pairs}"
            for each in (row.strict_agreement, row.agreement)
        ),
        *("" if each is None else f"{each:.6f}" for each in figures),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
