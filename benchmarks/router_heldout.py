"""The router on prompts and on tasks that it has not seen, beside its baselines, with intervals.

    python -m benchmarks.router_heldout SCORES MODELS [EMBEDDING] [--budgets 8,12] [--groups N]

SCORES is a table that `micronas.router.scores.read_scores` reads, with categories under ``task``;
MODELS a CSV of model and params_billion; EMBEDDING a kind (wordllama, ngrams). Prompts: ten
folds, each prompt tested once; intervals of a bootstrap over prompts. Tasks: each left out in turn,
or with --groups so many groups of them; means of tasks, with intervals of a bootstrap over tasks,
and of prompts within a task. Two steps less the best single model, the best one within the budget
and kNN stand first, with intervals; scores of the other methods behind them. Regressions for each
expert with a price are "ridge scores".
`general`: the share of a left-out task's prompts that reach it, where 95, 90 and 80 % of seen ones
are kept. Service: half of the tasks is left out, and the controller of the budget sees their
requests alone.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from micronas.language.intervals import intervals
from micronas.router.baselines import BASELINES
from micronas.router.category import CategorySettings, fit_categories
from micronas.router.control import Controller
from micronas.router.embedding import Embedding, embedded_cores, embedder_of
from micronas.router.evaluate import OURS, Evaluation, evaluate
from micronas.router.experts import Expert
from micronas.router.fit import FitSettings, Step1, embedded_rewordings, fit, fit_step1
from micronas.router.mapping import ParameterBudget
from micronas.router.scores import ScoreTable, read_scores
from micronas.text import table

Floats = NDArray[np.float64]
BUDGETS = "8.2,12,20,31,52"
BESIDE = ("best single", "best single within", "kNN scores")
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


def cores_of(judged: ScoreTable, kind: str) -> Floats:
    """Vectors of the cores of all prompts [cores, prompts, dimensions]."""
    return embedded_cores(_embedder(kind), judged.prompts)


def _embedder(kind: str) -> Callable[..., Floats]:
    assert kind in get_args(Embedding.model_fields["kind"].annotation)
    cache = Path(tempfile.gettempdir()) / "micronas_router_vectors.sqlite"
    return embedder_of(Embedding(kind=kind), cache)


def step1_of(vectors: Floats, part: ScoreTable, active: Floats, reworded: Floats | None) -> Step1:
    """The first step of default settings; experts are as large in total as they are active."""
    settings = FitSettings()
    return fit_step1(
        vectors, part, active=active, total=active, settings=settings, reworded=reworded
    )


def by_prompt(done: Evaluation) -> str:
    """Two steps, less other methods, and the scores of the rest."""
    of = {(row["budget"], row["method"]): row for row in done.rows()}
    rows = []
    for budget in done.budgets:
        own = of[budget, OURS]
        cells = [f"{budget / 1e9:g}", f"{own['score']:.4f}", f"{own['active'] / 1e9:.1f}"]
        for row in (of[budget, method] for method in BESIDE):
            cells.append(f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})")
        rows.append([*cells, *(f"{of[budget, method]['score']:.4f}" for method in BASELINES)])
    header = ["budget, B", OURS, "active, B", *(f"minus {each}" for each in BESIDE), *BASELINES]
    return table(header, rows)


def by_task(done: Evaluation, labels: NDArray[np.int64]) -> str:
    """Means of tasks, each left out: as `by_prompt`, and the task of most active parameters."""
    of_task = [np.flatnonzero(labels == task) for task in range(int(labels.max()) + 1)]
    rng = np.random.default_rng(0)

    def mean(values: Floats) -> Floats:
        return np.mean([values[..., each].mean(axis=-1) for each in of_task], axis=0)

    def drawn(values: Floats) -> Floats:
        """Means [rounds, methods] of drawn tasks, of drawn prompts each."""
        samples = []
        for _ in range(ROUNDS):
            picked = [of_task[task] for task in rng.integers(0, len(of_task), len(of_task))]
            parts = [values[:, rng.choice(each, len(each))].mean(axis=1) for each in picked]
            samples.append(np.mean(parts, axis=0))
        return np.array(samples)

    rows = []
    for place, budget in enumerate(done.budgets):
        score = {method: np.nansum(each[place], axis=0) for method, each in done.scores.items()}
        active = np.nansum(done.active[OURS][place], axis=0) / 1e9
        gains = np.array([score[OURS] - score[method] for method in BESIDE])
        low, high = intervals(drawn(gains))
        largest = max(active[each].mean() for each in of_task)
        rows.append(
            [
                f"{budget / 1e9:g}",
                f"{mean(score[OURS]):.4f}",
                f"{mean(active):.1f}",
                f"{largest:.1f}",
                *(
                    f"{each:+.4f} ({least:+.4f} to {most:+.4f})"
                    for each, least, most in zip(mean(gains), low, high, strict=True)
                ),
                *(f"{mean(score[method]):.4f}" for method in BASELINES),
            ]
        )
    header = ["budget, B", OURS, "active, B", "largest", *(f"minus {each}" for each in BESIDE)]
    return table([*header, *BASELINES], rows)


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
        model, validation = fit_categories(
            vectors[:, part], own, names=rest, settings=CategorySettings(), reworded=other[:, part]
        )
        distances = [model.classify(vectors[:, asked]).distance for asked in (labels == task, held)]
        familiar = np.quantile(validation.classified.distance, KEPT)
        cells = [float((each > most).mean()) for most in familiar for each in distances]
        rows.append((name, cells))
    rows.append(("mean", np.mean([cells for _, cells in rows], axis=0).tolist()))
    header = ["task left out"]
    for kept in KEPT:
        header += [f"general, {kept:.0%} kept", "seen prompts"]
    return table(header, [[name, *(f"{each:.3f}" for each in cells)] for name, cells in rows])


def in_service(
    vectors: Floats, kind: str, judged: ScoreTable, active: Floats, budgets: tuple[float, ...]
) -> str:
    """Requests of mixed tasks that were all left out, with the controller and without."""
    known: dict[str, Floats] = {}

    def embed(texts: Sequence[str]) -> Floats:
        """Embed no text twice: a prompt is fitted on in several halves."""
        new = [each for each in dict.fromkeys(texts) if each not in known]
        known.update(zip(new, _embedder(kind)(new) if new else (), strict=True))
        return np.array([known[each] for each in texts])

    names = np.unique(judged.categories)
    experts = [
        Expert(name=each, active=size)
        for each, size in zip(judged.experts, active.tolist(), strict=True)
    ]
    found: dict[float, list[list[float]]] = {budget: [] for budget in budgets}
    for number in range(HALVES):
        rng = np.random.default_rng(number)
        unseen = np.isin(judged.categories, rng.permutation(names)[: len(names) // 2])
        part, asked = judged.rows(~unseen), np.flatnonzero(unseen)
        base = fit(part, experts, embedder=embed)
        category = base.categories.classify(vectors[:, asked]).category
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
    vectors = cores_of(judged, arguments.embedding)
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
        print(in_service(vectors, arguments.embedding, judged, active, budgets))


if __name__ == "__main__":
    main()
