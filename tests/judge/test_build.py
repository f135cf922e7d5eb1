# ruff: noqa: RUF001
import csv
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from micronas.errors import DataError
from micronas.judge.build import Build
from micronas.judge.manifest import load_prompts
from micronas.judge.recipe import Recipe, RecipeFile

_WORDS = {
    "math": "integral matrix prime equation angle theorem fraction polynomial vector proof",
    "coding": "function compiler pointer array loop class thread bug parser library",
    "medical": "patient dose fever therapy kidney vaccine symptom surgery nurse blood",
}
WORDS = {category: words.split() for category, words in _WORDS.items()}
ASKS = ["Explain the words {}, {}, {}, {}, {}", "Why need {}, {}, {}, {}, {}"]
RUSSIAN = ["Расскажи про погоду в городе номер {}", "Какие книги о море стоит прочитать {}"]


def write_sources(folder: Path, labelled: int = 12) -> None:
    rng = random.Random(0)
    rows = []
    for category, words in WORDS.items():
        for i in range(60):
            text = ASKS[i % 2].format(*rng.sample(words, 5)) + f", case {len(rows)}?"
            rows.append({"text": text, "known": category if i < labelled else ""})
    rows += [{"text": text.format(i), "known": ""} for i in range(10) for text in RUSSIAN]
    rows += [rows[0], {**rows[1], "text": rows[1]["text"].upper()}, {"text": "hi", "known": ""}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "a.jsonl").write_text(lines, encoding="utf-8")
    (folder / "b.csv").write_text(
        "question,terms\nWhat do zebras think of fridges?,MIT\nWhat do cats dream of at noon?,\n",
        encoding="utf-8",
    )


def recipe(**more: object) -> Recipe:
    values = {
        "name": "test",
        "sources": [
            {"path": "a.jsonl", "category": "known", "licence": "MIT"},
            {"path": "b.csv", "text": "question", "licence_field": "terms"},
        ],
        "languages": {"expected": ["en"]},
        "embedding": {"dimensions": 2**12},
        "categories": {
            **{name: {"quota": 20} for name in WORDS},
            "russian": {"quota": 7, "language": "ru"},
            "general": {"quota": 1},
        },
    }
    return Recipe.model_validate(values | more)


def test_a_recipe_without_the_general_category_says_how_to_add_it() -> None:
    with pytest.raises(ValueError, match=r"'general', .* add it, as `general: {quota: 0}`"):
        recipe(categories={"sums": {"quota": 1}})


def dropped(out: Path) -> list[dict[str, object]]:
    lines = (out / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.long
def test_quotas_are_exact_and_nothing_is_lost(tmp_path: Path) -> None:
    write_sources(tmp_path)
    out = tmp_path / "set"
    told: list[tuple[object, ...]] = []
    manifest = Build(
        RecipeFile(recipe(), tmp_path), out, progress=lambda *each: told.append(each)
    ).run()
    assert told == [("build", done, len(manifest["steps"]), {}) for done in range(6)]
    prompts = load_prompts(out)
    assert Counter(prompt.category for prompt in prompts) == {
        **dict.fromkeys(WORDS, 20),
        "russian": 7,
        "general": 1,
    }
    assert all(p.language == ("ru" if p.category == "russian" else "en") for p in prompts)
    words_of = {
        p.id: {w for w in WORDS if any(word in p.text for word in WORDS[w])} for p in prompts
    }
    assert all(words_of[p.id] == {p.category} for p in prompts if p.category in WORDS)
    gone = dropped(out)
    ids = [prompt.id for prompt in prompts] + [str(row["id"]) for row in gone]
    assert len(ids) == len(set(ids)) == 180 + 20 + 3 + 2
    reasons = Counter(str(row["reason"]) for row in gone)
    del reasons["not drawn"]
    assert reasons == {"duplicate": 2, "too short": 1, "licence": 1}
    duplicates = {row["id"]: row["of"] for row in gone if row["reason"] == "duplicate"}
    assert duplicates == {"a-201": "a-1", "a-202": "a-2"}
    steps = manifest["steps"]
    assert steps["clean"]["read"] == {"a": 203, "b": 2}
    assert steps["label"]["accuracy"] > 0.9
    for before, after in zip(
        ["clean", "language", "duplicates", "label"],
        ["language", "duplicates", "label", "sample"],
        strict=True,
    ):
        lost = sum(steps[after]["dropped"].values())
        assert steps[after]["kept"] == steps[before]["kept"] - lost


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    write_sources(tmp_path)
    files = ("prompts.jsonl", "manifest.json", "dropped.jsonl", "review.csv")
    made = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        Build(RecipeFile(recipe(seed=seed), tmp_path), tmp_path / name).run()
        made.append([(tmp_path / name / file).read_bytes() for file in files])
    assert made[0] == made[1]
    assert made[0][0] != made[2][0]


def fill(path: Path, category: str) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["category"] = category
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return [row["id"] for row in rows]


def test_uncertain_prompts_wait_for_review_and_come_back(tmp_path: Path) -> None:
    write_sources(tmp_path)
    out = tmp_path / "set"
    file = RecipeFile(recipe(labelling={"uncertain": "review"}), tmp_path)
    with pytest.raises(DataError, match="'general' must have 1 prompts"):
        Build(file, out).run()
    waiting = fill(out / "review.csv", "general")
    assert "b-2" in waiting
    manifest = Build(file, out).run()
    assert manifest["categories"]["general"]["origins"] == {"hand": 1}
    # the filled file was kept before it was written again
    labels = (out / "labels.csv").read_text(encoding="utf-8")
    assert all(f"{key},general" in labels for key in waiting)
    assert Build(file, out).run() == manifest


def test_a_sheet_of_prompts_to_label_starts_a_set(tmp_path: Path) -> None:
    write_sources(tmp_path, labelled=0)
    out = tmp_path / "set"
    file = RecipeFile(recipe(), tmp_path)
    with pytest.raises(DataError, match="micronas judge label"):
        Build(file, out).run()
    assert Build(file, out).sheet(30) == 30
    with (out / "review.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len({row["id"] for row in rows}) == 30
    assert {row["language"] for row in rows} == {"en"}
    kinds = Counter(w for row in rows for w in WORDS if any(x in row["text"] for x in WORDS[w]))
    assert min(kinds.values()) >= 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,category\na-1,math\nz-1,math\n", "1 ids are in none, 'z-1' first"),
        ("id;category\n", "gives none"),
    ],
)
def test_labels_are_of_prompts_of_the_sources(tmp_path: Path, text: str, said: str) -> None:
    write_sources(tmp_path)
    (tmp_path / "more.csv").write_text(text, encoding="utf-8")
    file = RecipeFile(recipe(labelling={"labels": ["more.csv"]}), tmp_path)
    with pytest.raises(DataError, match=rf"more\.csv .*{said}"):
        Build(file, tmp_path / "set").run()


def test_ids_that_occur_twice_name_both_lines(tmp_path: Path) -> None:
    twice = {"text": "What is two and two?", "key": "k"}
    (tmp_path / "a.jsonl").write_text(2 * (json.dumps(twice) + "\n"), encoding="utf-8")
    named = recipe(sources=[{"path": "a.jsonl", "id": "key", "licence": "MIT"}])
    rule = r"'a-k' is line 2 of a and line 1 of a; name a field as id that differs in every line"
    with pytest.raises(DataError, match=rule):
        Build(RecipeFile(named, tmp_path), tmp_path / "set").run()


def test_every_shortage_is_named(tmp_path: Path) -> None:
    write_sources(tmp_path)
    categories = {**{name: {"quota": 100} for name in WORDS}, "general": {"quota": 0}}
    file = RecipeFile(recipe(categories=categories), tmp_path)
    with pytest.raises(DataError, match=r"'math' must .*'coding' must .*'medical' must"):
        Build(file, tmp_path / "set").run()
    accept = recipe(categories=categories, sampling={"shortage": "accept"})
    manifest = Build(RecipeFile(accept, tmp_path), tmp_path / "set").run()
    drawn = {name: each["drawn"] for name, each in manifest["categories"].items()}
    assert all(0 < drawn[name] < 100 for name in WORDS)
