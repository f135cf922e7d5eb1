"""Arena-Hard's published bootstraps and Chatbot Arena's ratings, read from their files."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from micronas.judge.quality import Estimates


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
    return replace(benchmark.of_models(list(names.values())), models=tuple(names))


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
