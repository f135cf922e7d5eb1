"""Measure the evaluation-set pipeline on real prompts: labels, duplicates, quotas, bytes.

python -m benchmarks.judge_pipeline ROUTING_SCORES.jsonl.gz [QUESTIONS.jsonl ...] [--out FOLDER]

The first file has fields ``id``, ``task`` and ``prompt``; the others ``prompt`` or ``turns``.
"""

import argparse
import gzip
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from micronas.errors import ConfigError
from micronas.judge.build import Build
from micronas.judge.duplicates import find_duplicates
from micronas.judge.recipe import Duplicates, Labelling, Recipe, RecipeFile
from micronas.language.embedders import Embedder, WordLlama, tfidf
from micronas.language.neighbours import correct_prior, cross_validate, vote
from micronas.text import percent, table

Words = Callable[[str, random.Random], str]


def _typing_errors(text: str, rng: random.Random) -> str:
    """One wrong, missing or swapped letter in a hundred characters, at least one."""
    letters = list(text)
    places = [i for i, c in enumerate(letters[:-1]) if c.isalpha() and letters[i + 1].isalpha()]
    for i in rng.sample(places, min(len(places), max(1, len(text) // 100))):
        change = rng.randrange(3)
        if change == 0:
            letters[i] = rng.choice("abcdefghijklmnopqrstuvwxyz")
        elif change == 1:
            letters[i] = ""
        else:
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


def _missing_word(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    gone = rng.randrange(len(words))
    return " ".join(words[:gone] + words[gone + 1 :])


EDITS: dict[str, Words] = {
    "exact": lambda text, _: text,
    "upper case": lambda text, _: text.upper(),
    "blanks": lambda text, _: "  ".join(text.split(" ")) + "\n",
    "punctuation": lambda text, _: text.rstrip(".?!") + " !",
    "prefix": lambda text, _: "Please answer: " + text,
    "suffix": lambda text, _: text + " Thank you!",
    "typing errors": _typing_errors,
    "missing word": _missing_word,
}


def labels(texts: Sequence[str], tasks: Sequence[str], embedders: dict[str, Embedder]) -> None:
    """Accuracy of labelling each prompt from those of the other folds, by embedder."""
    names, settings = sorted(set(tasks)), Labelling()
    truth = np.array([names.index(task) for task in tasks])
    rows = []
    for name, embedder in embedders.items():
        start = time.perf_counter()
        vectors = embedder(texts)
        seconds = time.perf_counter() - start
        found = cross_validate(vectors, truth, len(names), 0)
        by_count = [percent(found.by_neighbours[k]) for k in settings.neighbours]
        rows.append(
            [
                name,
                f"{seconds:.1f} s",
                *by_count,
                f"{found.threshold:.3f}",
                percent(found.coverage),
                percent(found.precision),
            ]
        )
    counts = [f"k={k}" for k in settings.neighbours]
    print(f"{len(texts)} prompts, {len(names)} tasks, {settings.folds} folds")
    print(table(["embedder", "embedding", *counts, "entropy <=", "kept", "right"], rows))


def priors(texts: Sequence[str], tasks: Sequence[str], seeds: int) -> None:
    """Accuracy on the rest from a few seeds, drawn in proportion or the same of each task."""
    names = sorted(set(tasks))
    truth = np.array([names.index(task) for task in tasks])
    vectors = tfidf(texts)
    rng = np.random.default_rng(0)
    proportional = rng.permutation(len(truth))[:seeds]
    each = seeds // len(names)
    alike = np.concatenate(
        [rng.permutation(np.nonzero(truth == c)[0])[:each] for c in range(len(names))]
    )
    rows = []
    for title, chosen in (("in proportion", proportional), (f"{each} a task", alike)):
        rest = np.setdiff1d(np.arange(len(truth)), chosen)
        found = cross_validate(vectors[chosen], truth[chosen], len(names), 0)
        votes = vote(vectors[chosen], truth[chosen], len(names), vectors[rest], found.neighbours)
        row = [title, str(len(chosen)), str(found.neighbours)]
        for kind in ("seed", "uniform", "estimated"):
            told = correct_prior(votes, found, kind).label
            row.append(percent(float((told == truth[rest]).mean())))
        rows.append(row)
    print(table(["seeds", "number", "k", "seed prior", "uniform", "estimated"], rows))


def duplicates(texts: list[str], each: int) -> None:
    """Planted near-duplicates that are found, and other prompts that are taken for one."""
    settings = Duplicates()
    start = time.perf_counter()
    before = find_duplicates(texts, settings)
    seconds = time.perf_counter() - start
    gone = {duplicate.index for duplicate in before}
    kept = [i for i in range(len(texts)) if i not in gone]
    rng = random.Random(0)
    planted: list[str] = []
    truth: list[tuple[str, int]] = []
    for kind, edit in EDITS.items():
        for i in rng.sample(kept, each):
            planted.append(edit(texts[i], rng))
            truth.append((kind, i))
    found = {item.index: item.of for item in find_duplicates(texts + planted, settings)}
    hits: dict[str, list[bool]] = defaultdict(list)
    for position, (kind, _) in enumerate(truth):
        hits[kind].append(len(texts) + position in found)
    rows = [[kind, f"{sum(each)}/{len(each)}"] for kind, each in hits.items()]
    total = [hit for each in hits.values() for hit in each]
    rows.append(["all", f"{sum(total)}/{len(total)} = {percent(float(np.mean(total)))}"])
    print(table(["planted", "found"], rows))
    print(
        f"of {len(texts)} prompts {len(before)} ({percent(len(before) / len(texts))}) repeat "
        f"another one, {sum(d.similarity == 1 for d in before)} exactly; {seconds:.1f} s. "
        "Pairs that are not exact, to be judged by eye:"
    )
    for item in before:
        if item.similarity < 1:
            print(f"  {item.similarity:.2f} {texts[item.index][:110]!r} | {texts[item.of][:110]!r}")


def build(router: Path, questions: Sequence[Path], out: Path) -> None:
    """Build the set twice, with one task in three known by hand; print counts and quotas."""
    with gzip.open(router, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    names = sorted({row["task"] for row in rows})
    folder = out / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    for i, row in enumerate(rows):
        row["known"] = row["task"] if i % 3 == 0 else ""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "router.jsonl").write_text(lines, encoding="utf-8")
    licence = "as the source says"
    router_source = {"path": "router.jsonl", "text": "prompt", "id": "id", "category": "known"}
    sources: list[dict[str, Any]] = [{**router_source, "licence": licence}]
    for path in questions:
        target = folder / path.name
        target.write_bytes(path.read_bytes())
        first = json.loads(path.read_text(encoding="utf-8").split("\n")[0])
        field = "prompt" if "prompt" in first else "turns.0"
        # a name may hold a version number, which is no suffix
        name = path.name.removesuffix(".jsonl").replace(".", "-")
        sources.append({"path": path.name, "name": name, "text": field, "licence": licence})
    recipe = Recipe.model_validate(
        {
            "name": "benchmark",
            "sources": sources,
            "categories": {**{name: {"quota": 40} for name in names}, "general": {"quota": 200}},
        }
    )
    results = []
    for number in (1, 2):
        start = time.perf_counter()
        made = out / f"set{number}"
        say = print if number == 1 else (lambda _: None)
        manifest = Build(RecipeFile(recipe, folder), made, say=say).run()
        seconds = time.perf_counter() - start
        results.append([(made / name).read_bytes() for name in ("prompts.jsonl", "manifest.json")])
    quotas = manifest["categories"].items()
    exact = sum(each["drawn"] == each["quota"] for _, each in quotas)
    dropped = (out / "set2" / "dropped.jsonl").read_text(encoding="utf-8").count("\n")
    read = sum(manifest["steps"]["clean"]["read"].values())
    print(
        f"{read} prompts read = {manifest['prompts']} drawn + {dropped} listed as dropped; "
        f"{exact} of {len(quotas)} quotas exact; bytes of two builds equal: "
        f"{results[0] == results[1]}; {seconds:.1f} s"
    )
    truth = {f"router-{row['id']}": row["task"] for row in rows if not row["known"]}
    prompts = [json.loads(line) for line in results[0][0].splitlines()]
    told = [p for p in prompts if p["id"] in truth and p["category"] != "general"]
    right = np.mean([truth[p["id"]] == p["category"] for p in told])
    print(f"labels of drawn prompts that were unlabelled: {percent(float(right))} of {len(told)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("router", type=Path)
    parser.add_argument("questions", type=Path, nargs="*")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with gzip.open(arguments.router, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = [row["prompt"] for row in rows]
    tasks = [row["task"] for row in rows]
    embedders: dict[str, Embedder] = {
        "tfidf, words 1-2": tfidf,
        "tfidf, words 1": lambda texts: tfidf(texts, words=(1,)),
        "tfidf, words 1-3": lambda texts: tfidf(texts, words=(1, 2, 3)),
    }
    try:
        embedders["wordllama"] = WordLlama()
    except ConfigError as error:
        print(f"without wordllama: {error}")
    labels(texts, tasks, embedders)
    priors(texts, tasks, 420)
    questions = [
        row.get("prompt") or row["turns"][0]
        for path in arguments.questions
        for row in map(json.loads, path.read_bytes().splitlines())
    ]
    duplicates([text for text in texts + questions if len(text) >= 16], 60)
    with tempfile.TemporaryDirectory() as folder:
        build(arguments.router, arguments.questions, arguments.out or Path(folder))


if __name__ == "__main__":
    main()
