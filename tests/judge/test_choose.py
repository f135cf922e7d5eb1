from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import DataError
from micronas.files import text_hash
from micronas.judge.build import Build
from micronas.judge.choose import Outcomes, discriminating
from micronas.judge.manifest import load_prompts
from micronas.judge.quality import separability
from micronas.judge.recipe import Recipe, RecipeFile, Sampling
from micronas.judge.rows import StoredPrompt, VerdictRow
from micronas.judge.store import writing


def test_outcomes_average_orders_and_judges() -> None:
    rows = [
        VerdictRow("p", "m", "base", "first", "j", "A", 1.0),
        VerdictRow("p", "m", "base", "second", "j", "tie", 0.5),
        VerdictRow("p", "n", "base", "first", "j", "B", 0.0),
        VerdictRow("q", "n", "base", "first", "j", None, None),
        VerdictRow("q", "m", "base", "first", "k", "B", 0.0),
        VerdictRow("q", "null:first", "base", "first", "j", "A", 1.0),
        VerdictRow("q", "secret", "base", "first", "j", "A", 1.0),
    ]
    found = Outcomes.of(rows, ["secret"])
    assert found.models == ("m against base", "n against base")
    np.testing.assert_array_equal(found.won, [[0.75, 0], [0, np.nan]])
    np.testing.assert_array_equal(found.on(["q", "x"]).won, [[0, np.nan], [np.nan, np.nan]])
    with pytest.raises(DataError, match="two models or more, but 1 are left"):
        Outcomes.of(rows, ["secret", "n"])


def simulated(prompts: int, models: int, seed: int, every: int = 2) -> np.ndarray:
    """Verdicts of models of even strengths, on prompts hard for all but one in so many."""
    rng = np.random.default_rng(seed)
    strength = np.linspace(-2, 1, models)
    ease = np.where(np.arange(prompts) % every == every - 1, 0.0, -6.0)
    chance = 1 / (1 + np.exp(-(strength + ease[:, None])))
    return (rng.random((prompts, models)) < chance).astype(float)


def apart(won: np.ndarray) -> float:
    mean, error = won.mean(axis=0), won.std(axis=0) / np.sqrt(len(won))
    return separability(mean - 1.96 * error, mean + 1.96 * error).value


def test_chosen_prompts_separate_models_that_took_no_part() -> None:
    won = simulated(400, 16, 0)
    earlier, later = won[:, ::2], won[:, 1::2]
    chosen = discriminating(earlier, np.zeros(400, int), np.array([120]))
    assert np.mean(np.array(chosen) % 2) > 0.95
    rng = np.random.default_rng(1)
    drawn = [apart(later[rng.permutation(400)[:120]]) for _ in range(20)]
    assert apart(later[chosen]) > max(drawn) > 0


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 9))
def test_quotas_of_strata_are_exact(first: int, second: int, seed: int) -> None:
    won = simulated(60, 4, seed)
    strata = np.repeat([0, 1], 30)
    chosen = discriminating(won, strata, np.array([first, second]))
    assert len(set(chosen)) == len(chosen) == first + second
    assert np.bincount(strata[chosen], minlength=2).tolist() == [first, second]


TEXTS = [f"Name {n} animals that live in forest number {n * n + 7}." for n in range(40)]


def pool(folder: Path) -> Recipe:
    (folder / "a.csv").write_text("text,known\n" + "".join(f"{text},c\n" for text in TEXTS))
    won = simulated(40, 6, 3)
    with writing(folder / "old.sqlite") as store:
        store.put_prompts(StoredPrompt(f"x{n}", text) for n, text in enumerate(TEXTS))
        store.put_verdicts(
            VerdictRow(f"x{n}", f"m{m}", "base", "first", "j", None, float(won[n, m]))
            for n in range(40)
            for m in range(6)
        )
    values = {
        "name": "test",
        "sources": [{"path": "a.csv", "licence": "MIT", "category": "known"}],
        "duplicates": {"threshold": 1.0},
        "categories": {"c": {"quota": 12}, "general": {"quota": 0}},
        "sampling": {"judged": ["old.sqlite"], "compared": ["m5"]},
    }
    return Recipe.model_validate(values)


def test_a_build_chooses_by_earlier_runs(tmp_path: Path) -> None:
    file = RecipeFile(pool(tmp_path), tmp_path)
    manifest = Build(file, tmp_path / "set").run()
    step = manifest["steps"]["sample"]
    assert step["judged"] == 40
    assert step["models"] == [f"m{m} against base" for m in range(5)]
    assert "old.sqlite" not in (tmp_path / "set" / "manifest.json").read_text()
    hard = {*map(text_hash, TEXTS[::2])}
    assert sum(prompt.hash in hard for prompt in load_prompts(tmp_path / "set")) <= 1

    # verdicts on the compared model change nothing; those on others are another choice
    before = (tmp_path / "set" / "prompts.jsonl").read_bytes()
    for model, same in (("m5", True), ("m1", False)):
        with writing(tmp_path / "old.sqlite") as store:
            store.put_verdicts(
                VerdictRow(f"x{n}", model, "base", "first", "j", None, float(n % 2 == 0))
                for n in range(40)
            )
        Build(file, tmp_path / "set").run()
        assert ((tmp_path / "set" / "prompts.jsonl").read_bytes() == before) is same


def test_earlier_runs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    recipe = pool(tmp_path)
    with writing(tmp_path / "other.sqlite") as store:
        store.put_verdicts(
            VerdictRow("z", model, "base", "first", "j", "A", 1.0) for model in ("m1", "m2")
        )
    for judged, compared, said in (
        ("old.sqlite", ("m9",), r"no verdict .* model 'm9' .* choose one of base, m0"),
        ("old.sqlite", ("m1", "m2", "m3", "m4", "m5"), "two models or more, but 1 are left"),
        ("none.sqlite", (), "there is no"),
        ("other.sqlite", (), "no prompt of theirs has the text of one"),
    ):
        sampling = Sampling(judged=(Path(judged),), compared=compared)
        changed = recipe.model_copy(update={"sampling": sampling})
        with pytest.raises(DataError, match=said):
            Build(RecipeFile(changed, tmp_path), tmp_path / "set").run()
