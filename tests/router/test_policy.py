import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from micronas.arrays import Floats
from micronas.errors import ConfigError, DataError
from micronas.language.embedders import hashed
from micronas.router.decision import GENERAL, Routing
from micronas.router.embedding import Embedding
from micronas.router.fit import FitSettings, fit
from micronas.router.mapping import ParameterBudget
from micronas.router.plan import Evidence, choose, cross_fitted, gain, make_plan
from micronas.router.policy import ARRAYS, DESCRIPTION, Router
from micronas.router.scores import ScoreTable
from tests.router.world import EXPERTS, SKILLS, prompt, table

SETTINGS = FitSettings(embedding=Embedding(kind="ngrams", dimensions=64))


def test_each_kind_goes_to_the_expert_that_is_good_at_it(router: Router) -> None:
    routing: Routing = router
    rng = random.Random(7)
    kinds = list(SKILLS) * 20
    decisions = routing.route([prompt(kind, rng) for kind in kinds])
    pairs = list(zip(decisions, kinds, strict=True))
    assert all(each.category in (kind, GENERAL) for each, kind in pairs)
    assert np.mean([each.category == kind for each, kind in pairs]) > 0.9
    experts = {row["category"]: row["expert"] for row in router.mapping()}
    # code needs the large one, and 30 B for a third of the prompts leaves 3 B for the others
    assert experts["code"] == "large"
    assert experts["sums"] == "reckoner"
    assert experts["words"] == "small"
    assert router.plan.used.active <= 12e9
    for each in decisions:
        assert each.expert == experts[each.category]
        assert 0 <= each.uncertainty <= 1
        assert each.expected_score is not None
        assert each.expert in each.reason
        assert "12B active" in each.reason


def test_an_odd_prompt_is_general_and_the_reason_says_why(router: Router) -> None:
    (decision,) = router.route(["¿¿¿ ??? !!! ((( )))\n" * 9])
    assert decision.category == GENERAL
    assert "unlike the fitting prompts" in decision.reason
    assert router.route([]) == []


def test_the_nearest_core_decides_and_no_text_is_embedded_twice(router: Router) -> None:
    seen: list[str] = []

    def embed(texts: Sequence[str]) -> Floats:
        seen.extend(texts)
        return router.embed(texts)

    kinds = ("words", "sums")
    usual, other = (prompt(kind, random.Random(8)) for kind in kinds)
    unusual = f"Zut alors !!! (((???)))\n{other}"
    decisions = replace(router, embed=embed).route([usual, unusual])
    assert len(set(seen)) == len(seen) > 2
    assert tuple(each.category for each in decisions) == kinds
    whole = router.categories.classify(router.embed([unusual])[None])
    assert whole.distance[0] > router.categories.usual
    # the last bits of probabilities depend on the size of a batch
    alone = [*router.route([usual]), *router.route([unusual])]
    assert [each.reason for each in decisions] == [each.reason for each in alone]


def test_ranking_is_by_expected_score(router: Router) -> None:
    assert router.ranking("code")[0] == "large"
    assert sorted(router.ranking("sums")) == ["large", "reckoner", "small"]
    with pytest.raises(DataError, match="did you mean 'sums'"):
        router.ranking("sum")


def test_a_saved_router_decides_the_same(router: Router, tmp_path: Path) -> None:
    router.save(tmp_path)
    again = Router.load(tmp_path)
    prompts = table(30, seed=5).prompts
    assert again.route(prompts) == router.route(prompts)
    assert again.summary() == router.summary()
    remapped = again.map(ParameterBudget(active=3e9))
    assert remapped.summary() == router.map(ParameterBudget(active=3e9)).summary()


def test_a_mapping_may_be_edited_by_hand(router: Router, tmp_path: Path) -> None:
    router.save(tmp_path)
    path = tmp_path / DESCRIPTION
    said = json.loads(path.read_text())
    row = next(row for row in said["mapping"] if row["category"] == "sums")
    row["expert"] = "large"
    path.write_text(json.dumps(said))
    text = prompt("sums", random.Random(3))
    assert Router.load(tmp_path).route([text])[0].expert == "large"
    row["expert"] = "larger"
    path.write_text(json.dumps(said))
    with pytest.raises(DataError, match="fit it again"):
        Router.load(tmp_path)


@pytest.mark.parametrize("damage", ["arrays", "cut", "missing", "json", "version", "key"])
def test_a_damaged_router_is_one_error(router: Router, tmp_path: Path, damage: str) -> None:
    router.save(tmp_path)
    arrays, description = tmp_path / ARRAYS, tmp_path / DESCRIPTION
    said = json.loads(description.read_text())
    if damage == "arrays":
        data = bytearray(arrays.read_bytes())
        data[len(data) // 2] ^= 1
        arrays.write_bytes(data)
    elif damage == "cut":
        arrays.write_bytes(arrays.read_bytes()[:-100])
    elif damage == "missing":
        arrays.unlink()
    elif damage == "json":
        description.write_text("{")
    elif damage == "version":
        description.write_text(json.dumps({**said, "version": 99}))
    else:
        del said["temperature"]
        description.write_text(json.dumps(said))
    with pytest.raises(DataError, match="must hold a fitted router") as caught:
        Router.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_router_of_a_function_wants_it_back(tmp_path: Path) -> None:
    def embed(prompts: object) -> np.ndarray:
        return np.asarray(hashed(list(prompts), dimensions=32), np.float64)  # type: ignore[call-overload]

    told: list[tuple[object, ...]] = []
    router = fit(
        table(60),
        EXPERTS,
        settings=SETTINGS,
        embedder=embed,
        progress=lambda *each: told.append(each[:3]),
    )
    copies = 1 + SETTINGS.rewordings
    assert told == [
        *(("embedding", done, copies) for done in range(copies)),
        *(("categories", done, 1) for done in range(2)),
    ]
    router.save(tmp_path)
    with pytest.raises(ConfigError, match=r"give it to Router\.load"):
        Router.load(tmp_path)
    text = table(3, seed=9).prompts
    assert Router.load(tmp_path, embedder=embed).route(text) == router.route(text)


@pytest.mark.parametrize("dominant", ["small", "large"])
def test_a_dominant_expert_gets_everything(dominant: str) -> None:
    # no expert is better in any category: categories are noise
    rng = np.random.default_rng(0)
    known = table(240)
    chances = [0.9 if expert.name == dominant else 0.5 for expert in EXPERTS]
    scores = (rng.uniform(size=(240, 3)) < chances).astype(np.float64)
    even = ScoreTable(known.prompts, known.experts, scores, known.categories)
    found = fit(even, EXPERTS, settings=SETTINGS)
    assert {row["expert"] for row in found.mapping()} == {dominant}
    # with a dear one categories still are a way to spend a budget on some of the prompts
    assert found.evidence.merged == (dominant == "small")
    said = found.route(["Add 1 to 2"])[0].reason
    assert ("for all categories" in said) == (dominant == "small")


@pytest.mark.long
def test_choice_of_categories_never_loses_to_one_of_them() -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        category, fold = rng.integers(0, 6, 300), rng.integers(0, 5, 300)
        scores = (rng.uniform(size=(300, 3)) < [0.5, 0.6, 0.7]).astype(np.float64)
        active = np.array([1.0, 2.0, 9.0])
        evidence = Evidence(category, 7, fold, scores, active, active)
        single = Evidence(category, 7, fold, scores, active, active, merged=True)
        chosen = choose(evidence, single)
        for budget in map(ParameterBudget, active.tolist()):
            gain = cross_fitted(chosen, budget) - cross_fitted(single, budget)
            assert gain.mean() >= -2 * gain.std() / 300**0.5


def test_cross_fitting_never_maps_a_prompt_by_its_own_score() -> None:
    # each prompt scores 1 with the expert that all others of its category have 0 with
    category = np.zeros(4, np.int64)
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    fold = np.arange(4)
    one = np.array([1.0, 1.0])
    evidence = Evidence(category, 2, fold, scores, one, one, merged=True)
    # without itself the other expert leads two to one
    assert cross_fitted(evidence, ParameterBudget()).tolist() == [0, 0, 0, 0]


def test_a_category_nobody_saw_does_not_come_for_free() -> None:
    evidence = Evidence(
        category=np.array([0, 0, 0]),
        categories=2,
        fold=np.array([0, 1, 2]),
        scores=np.array([[0.0, 1.0]] * 3),
        active=np.array([1.0, 9.0]),
        total=np.array([1.0, 9.0]),
    )
    assert evidence.problem().weights.tolist() == [0.75, 0.25]
    plan = make_plan(evidence, ParameterBudget(active=7.0))
    assert plan.experts.tolist() == [1, 0]


def test_few_labels_are_enough() -> None:
    few = table(240, labelled=0.15)
    found = fit(few, EXPERTS, settings=SETTINGS, budget=ParameterBudget(active=12e9))
    rng = random.Random(7)
    kinds = list(SKILLS) * 20
    decisions = found.route([prompt(kind, rng) for kind in kinds])
    assert np.mean([d.category == kind for d, kind in zip(decisions, kinds, strict=True)]) > 0.9


def test_a_table_without_categories_is_refused() -> None:
    bare = table(240)
    unknown = ScoreTable(bare.prompts, bare.experts, bare.scores, ("",) * 240)
    with pytest.raises(DataError, match="must have categories, but has none"):
        fit(unknown, EXPERTS, settings=SETTINGS)


def test_prompts_labelled_general_are_no_category() -> None:
    known = table(120)
    names = tuple(GENERAL if number < 6 else name for number, name in enumerate(known.categories))
    marked = ScoreTable(known.prompts, known.experts, known.scores, names)
    assert fit(marked, EXPERTS, settings=SETTINGS).names == ("code", "sums", "words", GENERAL)


def test_unfamiliar_prompts_count_as_any_prompt() -> None:
    # the two prompts that a fold sent to `general` had other luck than all the rest
    category = np.array([0, 0, 1, 1, 2, 2])
    scores = np.array([[0.0, 1.0]] * 4 + [[1.0, 0.0]] * 2)
    evidence = Evidence(category, 3, np.arange(6) % 2, scores, np.ones(2), np.ones(2))
    assert evidence.problem().utilities[-1] == pytest.approx([1 / 3, 2 / 3])


def test_the_gain_is_cross_fitted_and_says_when_routing_does_not_pay() -> None:
    # two categories of one prompt in two, of which each expert knows one: by hand .5 is gained
    category, fold = np.arange(400) % 2, np.arange(400) // 2 % 4
    scores = np.eye(2)[category]
    known = Evidence(category, 3, fold, scores, np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    found = gain(known, ParameterBudget())
    assert (found["score"], found["gain"]) == (1.0, 0.5)
    # a gain of half the prompts has the deviation of a coin
    assert found["low"] == pytest.approx(0.5 - 1.96 * 0.5 / 20)
    assert found["enough"] == np.ceil(1.96**2)
    # who may pay for the first alone gains nothing
    assert gain(known, ParameterBudget(active=1.0))["gain"] == 0
    noise = np.random.default_rng(0).random((400, 2))
    nothing = gain(replace(known, scores=noise), ParameterBudget())
    # shrunken to nothing, categories all have one expert
    assert (nothing["gain"], nothing["low"], nothing["enough"]) == (0, 0, None)
