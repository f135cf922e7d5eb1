"""Milliseconds to route one prompt, and to solve a mapping.

    python -m benchmarks.router_speed SCORES MODELS

Routing: a router is fitted on half of the prompts with each embedder that is no endpoint; the
others are routed one at a time, embedders in alternation. Parts: embedding alone, and all of
`Router.route`. Mapping: random problems by size. Each cell is time on the clock / of the processor:
the second holds on a busy machine too.
"""

import csv
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.router_heldout import read
from micronas.router.embedding import Embedding, embedder_of
from micronas.router.experts import Expert
from micronas.router.fit import FitSettings, fit
from micronas.router.mapping import MappingProblem, ParameterBudget, solve
from micronas.text import table
from testing.usage import given

PROMPTS, REPEATS = 500, 10
_KINDS: tuple[Literal["wordllama", "ngrams", "multilingual"], ...] = (
    "wordllama",
    "ngrams",
    "multilingual",
)
SIZES = ((4, 4), (15, 9), (33, 9))


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Time on the clock, and time of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return 1e3 * (time.perf_counter() - clock), 1e3 * (time.process_time() - processor)


def percentiles(spent: list[tuple[float, float]], *wanted: int) -> list[str]:
    """Percentiles of both times, one cell a percentile: clock / processor."""
    return [" / ".join(f"{each:.2f}" for each in np.percentile(spent, p, axis=0)) for p in wanted]


def main(scores: str, models: str) -> None:
    judged, _ = read(scores, models)
    with Path(models).open(encoding="utf-8", newline="") as file:
        experts = [
            Expert(name=row["model"], active=1e9 * float(row["params_billion"]))
            for row in csv.DictReader(file)
        ]
    part = judged.rows(np.arange(0, len(judged), 2))
    asked = judged.rows(np.arange(1, len(judged), 2)[:PROMPTS]).prompts
    cache = Path(tempfile.gettempdir()) / "micronas_router_vectors.sqlite"
    routers = {}
    for kind in _KINDS:
        embedding = Embedding(kind=kind)
        fitted = fit(part, experts, settings=FitSettings(embedding=embedding), cache=cache)
        routers[kind] = replace(fitted, embed=embedder_of(embedding))
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for prompt in asked:
        for kind, router in routers.items():
            for name, call in (("embed", router.embed), ("route", router.route)):
                spent = milliseconds(lambda call=call, prompt=prompt: call([prompt]))
                times.setdefault((kind, name), []).append(spent)
    rows = [[kind, name, *percentiles(spent, 50, 95, 99)] for (kind, name), spent in times.items()]
    print(f"{len(asked)} prompts, one at a time")
    print(table(["embedder", "part", "p50 ms", "p95 ms", "p99 ms"], rows))

    rows = []
    for categories, number in SIZES:
        solved: list[tuple[float, float]] = []
        for seed in range(REPEATS):
            rng = np.random.default_rng(seed)
            active = rng.uniform(1e9, 70e9, number)
            problem = MappingProblem(
                rng.uniform(size=(categories, number)),
                rng.dirichlet(np.ones(categories)),
                active,
                active,
            )
            budget = ParameterBudget(active=float(np.median(active)), total=float(active.sum() / 2))
            solved.append(milliseconds(lambda p=problem, b=budget: solve(p, b)))
        rows.append([f"{categories} x {number}", *percentiles(solved, 50, 95)])
    print(f"\n{REPEATS} random problems a size, both budgets")
    print(table(["categories x experts", "MILP p50 ms", "p95 ms"], rows))


if __name__ == "__main__":
    main(*given(__doc__, 2))
