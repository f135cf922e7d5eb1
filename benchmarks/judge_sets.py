"""Build evaluation sets from earlier verdicts, and hold them against random ones and the whole.

    python -m benchmarks.judge_sets POOL ARENA_FOLDER

The experiment of arXiv 2408.08808 on public judgements: domain sets from a pool by a small seed of
topics labelled by hand (``judge_topics.csv``), chosen by the verdicts on some models, measured on
others that took no part. A pool is the store of a judge run or import (``.sqlite``), or JSON lines
of ``prompt`` and ``preference``, a mapping from models to the share of a point won from the
baseline; the folder is the one of `judge_tables`.
"""

import argparse
import csv
import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from micronas.files import text_hash
from micronas.judge.build import Build
from micronas.judge.choose import Outcomes
from micronas.judge.manifest import load_prompts
from micronas.judge.quality import Estimates, quality, separability
from micronas.judge.recipe import Recipe, RecipeFile
from micronas.judge.rows import StoredPrompt, VerdictRow
from micronas.judge.sample import apportion
from micronas.judge.store import prompts_of, verdicts_of, writing
from micronas.language.intervals import intervals
from micronas.text import table
from testing.arena_hard import load_arena

TOPICS = Path(__file__).with_name("judge_topics.csv")
BASELINE = "gpt4_1106_preview"
CONSTANT = "example"
"""What the file of AlpacaEval's NullModel calls it: a constant answer, which is no model."""
NAMES = {
    "claude-2": "claude-2.0",
    "OpenHermes-2.5-Mistral-7B": "openhermes-2.5-mistral-7b",
    "vicuna-13b-v1.5-togetherai": "vicuna-13b",
    "vicuna-7b-v1.3": "vicuna-7b",
    "wizardlm-13b": "wizardlm-13b",
    "pythia-12b-mix-sft": "oasst-pythia-12b",
}
"""Arena's names of models that Arena-Hard's own list lacks."""
ROUNDS, DRAWS, SPLITS, SEED = 500, 60, 10, 0

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Pool:
    """Prompts, and what each model won on each [prompts, models]."""

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    won: Floats


def read(path: Path) -> Pool:
    if path.suffix == ".sqlite":
        found = Outcomes.of(verdicts_of(path))
        texts = {each.id: each.text for each in prompts_of(path)}
        prompts = tuple(texts[each] for each in found.prompts)
        models, won = [name.split(" against ")[0] for name in found.models], found.won
    else:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        prompts = tuple(row["prompt"] for row in rows)
        models = sorted(set(rows[0]["preference"]) - {BASELINE})
        won = np.array([[row["preference"].get(m) for m in models] for row in rows], np.float64)
    kept = [column for column, name in enumerate(models) if name != CONSTANT]
    # a verdict that is missing is an average one
    won = np.where(np.isnan(won), np.nanmean(won, axis=0), won)[:, kept]
    return Pool(prompts, tuple(models[column] for column in kept), won)


class Sets:
    """Sets built from a pool by the commands' own code, as indices of its prompts."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self._pool, self._folder = pool, folder
        keys = [text_hash(prompt)[:12] for prompt in pool.prompts]
        self._place = {key: row for row, key in enumerate(keys)}
        lines = [
            json.dumps({"id": key, "text": prompt})
            for key, prompt in zip(keys, pool.prompts, strict=True)
        ]
        (folder / "pool.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with TOPICS.open(encoding="utf-8", newline="") as file:
            topics = {row["id"]: row["category"] for row in csv.DictReader(file)}
        self.labelled = Counter(topics.values())
        labels = [f"pool-{key},{topic}" for key, topic in topics.items() if key in self._place]
        (folder / "labels.csv").write_text("\n".join(["id,category", *labels]) + "\n")
        with writing(folder / "earlier.sqlite") as store:
            store.put_prompts(map(StoredPrompt, keys, pool.prompts))
            store.put_verdicts(
                VerdictRow(key, model, "baseline", "unknown", "judge", None, float(share))
                for key, shares in zip(keys, pool.won, strict=True)
                for model, share in zip(pool.models, shares, strict=True)
            )
        self.available: dict[str, dict[str, int]] = self._run({}, {})["categories"]

    def build(self, size: int, compared: Sequence[str] | None) -> Indices:
        """Build a set; `compared` are the models that take no part, None uses no verdicts."""
        judged = {} if compared is None else {"judged": ["earlier.sqlite"], "compared": compared}
        available = {name: each["available"] for name, each in self.available.items()}
        self._run(apportion(size, available), judged)
        chosen = load_prompts(self._folder / "set")
        return np.array([self._place[prompt.id.removeprefix("pool-")] for prompt in chosen])

    def _run(self, quotas: dict[str, int], sampling: Mapping[str, object]) -> dict[str, Any]:
        names = [*self.labelled, "general"]
        recipe = Recipe.model_validate(
            {
                "name": "sets",
                "sources": [{"path": "pool.jsonl", "id": "id", "licence": "development only"}],
                "cleaning": {"min_characters": 1, "min_letters": 0, "max_repetition": 1},
                "duplicates": {"threshold": 1.0},
                "labelling": {"labels": ["labels.csv"], "precision": 0.5},
                "categories": {name: {"quota": quotas.get(name, 0)} for name in names},
                "sampling": {"min_quality": 0, **sampling},
            }
        )
        return Build(RecipeFile(recipe, self._folder), self._folder / "set").run()


def estimates(pool: Pool, rows: Indices, models: Indices) -> Estimates:
    """Win rates on some prompts, with a bootstrap over them: Bradley-Terry's on a star."""
    won = pool.won[np.ix_(rows, models)]
    rng = np.random.default_rng(SEED)
    counts = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=ROUNDS)
    names = tuple(pool.models[model] for model in models)
    samples = counts @ won / len(rows)
    spread = (samples, samples.mean(axis=0), samples.var(axis=0))
    return Estimates(names, won.mean(axis=0), *intervals(samples), *spread)


def apart(pool: Pool, rows: Indices, models: Indices) -> NDArray[np.float64]:
    """Which pairs are told apart [models, models]."""
    found = estimates(pool, rows, models)
    lower, upper = found.lower, found.upper
    return ((lower[:, None] >= upper) | (lower >= upper[:, None])).astype(np.float64)


def over_models(difference: Floats) -> tuple[float, float]:
    """95 % interval of a mean over pairs, models drawn with replacement."""
    rng = np.random.default_rng(SEED)
    size = len(difference)
    means = []
    for _ in range(2000):
        drawn = rng.integers(size, size=size)
        pairs = drawn[:, None] != drawn
        means.append(difference[np.ix_(drawn, drawn)][pairs].mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def span(values: Sequence[float], digits: int = 3) -> str:
    """Mean and the middle 95 %."""
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{np.mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def against_arena(pool: Pool, sets: Sets, folder: Path, size: int) -> None:
    """Models that are in Chatbot Arena are compared; all others choose the prompts."""
    arena = load_arena(folder)
    known = json.loads((folder / "alpaca_to_arena.json").read_text(encoding="utf-8")) | NAMES
    names = {each: known[each] for each in pool.models if known.get(each, "") in arena.models}
    models = np.array([pool.models.index(name) for name in names])
    people = arena.of_models(list(names.values()))
    rng = np.random.default_rng(SEED)

    def figures(rows: Indices) -> list[float]:
        ours = replace(estimates(pool, rows, models), models=people.models)
        measured = quality(ours, people)
        shares = (measured.separability, measured.agreement)
        rest = (measured.spearman, measured.brier)
        return [*(each.value for each in shares if each), *(float(each or 0) for each in rest)]

    def resampled(rows: Indices) -> list[list[float]]:
        return [figures(rng.choice(rows, len(rows))) for _ in range(DRAWS)]

    whole = np.arange(len(pool.prompts))
    built = sets.build(size, list(names))
    randoms = [figures(rng.permutation(whole)[:size]) for _ in range(DRAWS)]
    lines = []
    for title, rows in (
        ("whole pool", whole),
        ("built by verdicts on the others", built),
        ("built without verdicts", sets.build(size, None)),
        ("built by hindsight", sets.build(size, [])),
    ):
        point, spread = figures(rows), np.std(resampled(rows), axis=0)
        cells = [f"{a:.3f} +- {1.96 * b:.3f}" for a, b in zip(point, spread, strict=True)]
        lines.append([title, str(len(rows)), *cells])
    cells = [span(column) for column in zip(*randoms, strict=True)]
    lines.append([f"random, {DRAWS} sets", str(size), *cells])
    gains = np.array(figures(built)) - np.array(randoms)
    lines.append(["built minus random", "", *(span(column) for column in gains.T)])
    lines.append(["the paper, 10 models", "1573", ".84", ".844", ".915", ".042"])
    print(f"{len(names)} models of Chatbot Arena, {len(pool.models) - len(names)} others choose")
    header = ["set", "prompts", "separability", "agreement", "Spearman", "Brier"]
    print(table(header, lines))


def over_halves(pool: Pool, sets: Sets, sizes: Sequence[int]) -> None:
    """Halves of the models: one chooses, the other is compared, and the other way round."""
    rng = np.random.default_rng(SEED)
    whole = np.arange(len(pool.prompts))
    lines = []
    for size in sizes:
        gains, ranks, intervals, built_of, random_of = [], [], [], [], []
        for _ in range(SPLITS):
            order = rng.permutation(len(pool.models))
            half = len(order) // 2
            for models in (order[:half], order[half:]):
                compared = [pool.models[model] for model in models]
                built = sets.build(size, compared)
                drawn = [rng.permutation(whole)[:size] for _ in range(20)]
                mean = np.mean([apart(pool, rows, models) for rows in drawn], axis=0)
                difference = apart(pool, built, models) - mean
                pairs = np.triu_indices(len(models), 1)
                gains.append(float(difference[pairs].mean()))
                intervals.append(over_models(difference))
                built_of.append(separability(*_bounds(pool, built, models)).value)
                random_of.append(float(mean[pairs].mean()))
                truth = pool.won[:, models].mean(axis=0)

                def rank(rows: Indices, models=models, truth=truth) -> float:  # type: ignore[no-untyped-def]
                    rates = pool.won[np.ix_(rows, models)].mean(axis=0)
                    return float(stats.spearmanr(rates, truth).statistic)

                ranks.append((rank(built), float(np.mean([rank(rows) for rows in drawn]))))
        lines.append(
            [
                str(size),
                f"{np.mean(built_of):.3f}",
                f"{np.mean(random_of):.3f}",
                span(gains),
                f"{np.mean([low for low, _ in intervals]):+.3f} to "
                f"{np.mean([high for _, high in intervals]):+.3f}",
                f"{sum(low > 0 for low, _ in intervals)} of {len(intervals)}",
                "{:.3f} / {:.3f}".format(*np.mean(ranks, axis=0)),
            ]
        )
    print(f"{SPLITS} divisions of {len(pool.models)} models into halves, each compared in turn")
    header = ["prompts", "built", "random", "gain over halves", "interval over models"]
    print(table([*header, "above zero", "Spearman with the pool: built / random"], lines))


def _bounds(pool: Pool, rows: Indices, models: Indices) -> tuple[Floats, Floats]:
    found = estimates(pool, rows, models)
    return found.lower, found.upper


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("arena", type=Path)
    arguments = parser.parse_args()
    pool = read(arguments.pool)
    with tempfile.TemporaryDirectory() as folder:
        sets = Sets(pool, Path(folder))
        topics = {name: each["available"] for name, each in sets.available.items()}
        print(f"{sum(sets.labelled.values())} prompts labelled by hand; topics: {topics}")
        for size in (100, 213):
            against_arena(pool, sets, arguments.arena, size)
        over_halves(pool, sets, (100, 213, 280))


if __name__ == "__main__":
    main()
