"""The router on prompts and on tasks that it has not seen, beside its baselines, with intervals.

    python -m benchmarks.router_heldout SCORES MODELS [EMBEDDING] [--budgets 8,12] [--groups N]

SCORES is a table that `micronas.router.scores.read_scores` reads, with categories under ``task``;
MODELS a CSV of model and params_billion; EMBEDDING a kind (wordllama, ngrams). Prompts: ten
folds, each prompt tested once; intervals of a bootstrap over prompts. Tasks: each left out in turn,
or with --groups so many groups of them; means of tasks, with intervals of a bootstrap over tasks,
and of prompts within a task. Regressions for each expert with a price are "ridge scores".
`general`: the share of a left-out task's prompts that reach it, where 95, 90 and 80 % of seen ones
are kept. Service: half of the tasks is left out, and the controller of the budget sees their
requests alone.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from micronas.language.intervals import intervals
from micronas.router.category import CategorySettings, fit_categories
from micronas.router.control import Controller
from micronas.router.embedding import Embedding, embedder_of
from micronas.router.evaluate import OURS, Evaluation, evaluate
from micronas.router.experts import Expert
from micronas.router.fit import FitSettings, embedded_rewordings, fit
from micronas.router.mapping import ParameterBudget
from micronas.router.rewordings import reworded
from micronas.router.scores import ScoreTable, read_scores
from micronas.text import table

Floats = NDArray[np.float64]
BUDGETS = "8.2,12,20,31,52"
SINGLE, WITHIN = "best single", "best single within"
KEPT, ROUNDS = (0.95, 0.9, 0.8), 2000
REQUESTS, HALVES = 5000, 8


def read(scores: str, models: str) -> tuple[ScoreTable, NDArray[np.float64]]:
    """The table and the parameters of its experts."""
    with Path(models).open(encoding="utf-8", newline="") as file:
        active = {row["model"]: 1e9 * float(row["params_billion"]) for row in csv.DictReader(file)}
    judged = read_scores(Path(scores), category="task").of_experts(tuple(active))
    return judged, np.array(list(active.values()))


def random_folds(size: int, folds: int) -> list[tuple[Any, Any]]:
    """Splits in which each of `size` prompts is tested on once."""
    order = np.random.default_rng(0).permutation(size)
    return [(np.setdiff1d(order, test), test) for test in np.array_split(order, folds)]


def vectors_of(judged: ScoreTable, kind: str) -> Floats:
    """Vectors of all prompts; those of slow embedders are kept beside other temporary files."""
    return _embedder(kind)(judged.prompts)


def _embedder(kind: str) -> Callable[..., Floats]:
    assert kind in get_args(Embedding.model_fields["kind"].annotation)
    cache = Path(tempfile.gettempdir()) / "micronas_router_vectors.sqlite"
    return embedder_of(Embedding(kind=kind), cache)  # type: ignore[arg-type]


def by_prompt(done: Evaluation) -> str:
    """Every method less the best single model."""
    rows = [
        [
            f"{row['budget'] / 1e9:g}",
            row["method"],
            f"{row['score']:.4f}",
            f"{row['active'] / 1e9:.1f}",
            f"{-row['difference']:+.4f}",
            f"{-row['high']:+.4f} to {-row['low']:+.4f}",
        ]
        for row in done.rows(against=SINGLE)
    ]
    return table(["budget, B", "method", "score", "active, B", "minus best single", "95 %"], rows)


def by_task(done: Evaluation, labels: NDArray[np.int64]) -> str:
    """Means of tasks, each left out: score, active parameters, less the best single within."""
    tasks = int(labels.max()) + 1
    of_task = [labels == task for task in range(tasks)]
    rng = np.random.default_rng(0)

    def drawn(values: Floats) -> Floats:
        """Means of drawn tasks, of drawn prompts each."""
        samples = np.empty(ROUNDS)
        for place in range(ROUNDS):
            picked = [values[of_task[task]] for task in rng.integers(0, tasks, tasks)]
            samples[place] = np.mean([rng.choice(each, len(each)).mean() for each in picked])
        return samples

    rows = []
    for place, budget in enumerate(done.budgets):
        reference = np.nansum(done.scores[WITHIN][place], axis=0)
        for method in done.scores:
            score = np.nansum(done.scores[method][place], axis=0)
            active = np.nansum(done.active[method][place], axis=0)
            gains = score - reference
            low, high = intervals(drawn(gains)) if method == OURS else (0.0, 0.0)
            used = np.array([active[each].mean() for each in of_task])
            rows.append(
                [
                    f"{budget / 1e9:g}",
                    method,
                    f"{np.mean([score[each].mean() for each in of_task]):.4f}",
                    f"{used.mean() / 1e9:.1f}",
                    f"{used.max() / 1e9:.1f}",
                    f"{np.mean([gains[each].mean() for each in of_task]):+.4f}",
                    f"{low:+.4f} to {high:+.4f}" if method == OURS else "",
                ]
            )
    header = ["budget, B", "method", "score", "active, B", "largest", "minus best within", "95 %"]
    return table(header, rows)


def unfamiliar(vectors: Floats, other: Floats, judged: ScoreTable) -> str:
    """Share of prompts that reach `general`: of the task that was left out, and of the others."""
    names = sorted(set(judged.categories))
    labels = np.array([names.index(each) for each in judged.categories])
    rows = []
    for task, name in enumerate(names):
        seen = np.flatnonzero(labels != task)
        held = seen[np.random.default_rng(task).permutation(len(seen)) < len(seen) // 5]
        part = np.setdiff1d(seen, held)
        rest = tuple(each for each in names if each != name)
        own = np.array([rest.index(judged.categories[place]) for place in part])
        cells = []
        for kept in KEPT:
            wanted = CategorySettings(familiar=kept)
            model, _ = fit_categories(
                vectors[part], own, names=rest, settings=wanted, reworded=other[:, part]
            )
            for asked in (np.flatnonzero(labels == task), held):
                general = model.classify(vectors[asked]).category == len(rest)
                cells.append(float(general.mean()))
        rows.append((name, cells))
    rows.append(("mean", np.mean([cells for _, cells in rows], axis=0).tolist()))
    header = ["task left out"]
    for kept in KEPT:
        header += [f"general, {kept:.0%} kept", "seen prompts"]
    return table(header, [[name, *(f"{each:.3f}" for each in cells)] for name, cells in rows])


def in_service(
    vectors: Floats,
    other: Floats,
    judged: ScoreTable,
    active: Floats,
    budgets: tuple[float, ...],
) -> str:
    """Requests of mixed tasks that were all left out, with the controller and without."""
    names = np.unique(judged.categories)
    of = dict(zip(judged.prompts, vectors, strict=True))
    for texts, found_vectors in zip(reworded(judged.prompts, len(other)), other, strict=True):
        of |= dict(zip(texts, found_vectors, strict=True))
    experts = [
        Expert(name=each, active=size)
        for each, size in zip(judged.experts, active.tolist(), strict=True)
    ]
    found: dict[float, list[list[float]]] = {budget: [] for budget in budgets}
    for number in range(HALVES):
        rng = np.random.default_rng(number)
        unseen = np.isin(judged.categories, rng.permutation(names)[: len(names) // 2])
        part, asked = judged.rows(~unseen), np.flatnonzero(unseen)
        base = fit(part, experts, embedder=lambda texts: np.array([of[each] for each in texts]))
        category = base.categories.classify(vectors[asked]).category
        draws = rng.integers(0, len(asked), REQUESTS)
        means = part.scores.mean(axis=0)
        for budget in budgets:
            router = base.map(ParameterBudget(active=budget))
            controller = Controller(router)
            score, worst = 0.0, 0.0
            for place, draw in enumerate(draws.tolist()):
                expert = controller.router.plan.experts[category[draw]]
                controller.spend(active[expert])
                score += judged.scores[asked[draw], expert]
                if place >= REQUESTS // 10:
                    worst = max(worst, controller.average / budget - 1)
            alone = router.plan.experts[category[draws]]
            within = int(np.where(active <= budget, means, -np.inf).argmax())
            own = judged.scores[asked[draws], alone].mean(), active[alone].mean() / 1e9
            found[budget].append(
                [
                    *own,
                    score / REQUESTS,
                    controller.average / 1e9,
                    100 * (controller.average / budget - 1),
                    100 * worst,
                    judged.scores[asked[draws], within].mean(),
                ]
            )
    rows = []
    for budget, each in found.items():
        mean, largest = np.mean(each, axis=0), np.max(each, axis=0)
        cells = [f"{mean[0]:.4f}", f"{mean[1]:.1f}", f"{largest[1]:.1f}", f"{mean[2]:.4f}"]
        cells += [
            f"{mean[3]:.2f}",
            f"{largest[4]:+.2f} %",
            f"{largest[5]:+.2f} %",
            f"{mean[6]:.4f}",
        ]
        rows.append([f"{budget / 1e9:g}", *cells])
    header = ["budget, B", "alone: score", "active, B", "largest", "controlled: score", "active, B"]
    header += ["largest excess", "after 500 at most", "best within"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scores")
    parser.add_argument("models")
    parser.add_argument("embedding", nargs="?", default="wordllama")
    parser.add_argument("--budgets", default=BUDGETS)
    parser.add_argument("--groups", type=int)
    arguments = parser.parse_args()
    judged, active = read(arguments.scores, arguments.models)
    budgets = tuple(1e9 * float(each) for each in arguments.budgets.split(","))
    vectors = vectors_of(judged, arguments.embedding)
    copies = FitSettings().rewordings
    other = embedded_rewordings(_embedder(arguments.embedding), judged.prompts, copies)
    assert other is not None
    labels = np.unique(judged.categories, return_inverse=True)[1].astype(np.int64)
    count = int(labels.max()) + 1

    def compared(parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Evaluation:
        return evaluate(
            judged,
            vectors,
            active=active,
            total=active,
            budgets=budgets,
            settings=FitSettings(),
            parts=parts,
            reworded=other,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )

    print(f"{arguments.embedding}, {len(judged)} prompts of {count} tasks\n")
    print("ten folds of prompts")
    print(by_prompt(compared(random_folds(len(judged), 10))), flush=True)
    groups = np.arange(count)
    if arguments.groups:
        groups = np.random.default_rng(0).permutation(count) % arguments.groups
    of_prompt = groups[labels]
    tasks = [
        (np.flatnonzero(of_prompt != group), np.flatnonzero(of_prompt == group))
        for group in np.unique(groups)
    ]
    print(f"\n{len(tasks)} parts of whole tasks left out in turn, means of tasks")
    print(by_task(compared(tasks), labels), flush=True)
    if arguments.groups is None:
        print(f"\n{unfamiliar(vectors, other, judged)}", flush=True)
        print(
            f"\n{REQUESTS} requests of half of the tasks, left out together, {HALVES} such halves"
        )
        print(in_service(vectors, other, judged, active, budgets))


if __name__ == "__main__":
    main()
