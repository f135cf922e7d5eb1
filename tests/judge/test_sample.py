from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import DataError
from micronas.judge.recipe import Category
from micronas.judge.sample import apportion, draw, quality, shares
from micronas.language.clusters import clusters


def test_apportion_by_hand() -> None:
    assert apportion(10, {"a": 1, "b": 1, "c": 1}) == {"a": 4, "b": 3, "c": 3}
    assert apportion(7, {"en": 0.8, "de": 0.2}) == {"en": 6, "de": 1}


@given(
    st.integers(0, 5000),
    st.dictionaries(st.text(max_size=3), st.floats(1e-3, 1e3), min_size=1, max_size=9),
)
def test_parts_add_up_and_are_within_one(total: int, ratios: dict[str, float]) -> None:
    parts = apportion(total, ratios)
    whole = sum(ratios.values())
    assert sum(parts.values()) == total
    assert all(abs(parts[name] - total * ratio / whole) < 1 for name, ratio in ratios.items())


def test_quality_prefers_prompts_that_ask_something() -> None:
    good = (
        "A bakery sells rolls for 40 cents. On Sundays prices rise by a tenth, but regulars get "
        "the third roll free. What do seven rolls cost a regular on a Sunday, and why?"
    )
    assert quality(good) > 0.95
    assert quality("hi") < quality("Tell me a joke, please.") < quality(good)
    assert quality("buy " * 60) < 0.5
    assert quality("?!") == 0


def groups(sizes: list[int]) -> np.ndarray:
    """Unit vectors near as many axes as there are sizes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    vectors = np.eye(len(sizes))[labels] + rng.normal(0, 0.05, (len(labels), len(sizes)))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_clusters_are_the_groups() -> None:
    found = clusters(groups([30, 5, 10]), 3, seed=0)
    parts = [set(found[:30]), set(found[30:35]), set(found[35:])]
    assert [len(part) for part in parts] == [1, 1, 1]
    assert len(set.union(*parts)) == 3


def test_equal_vectors_are_one_cluster() -> None:
    assert clusters(np.ones((5, 1), np.float32), 3, seed=0).tolist() == [0] * 5


def test_draws_evenly_over_clusters_whatever_their_size() -> None:
    vectors = groups([30, 5, 10])
    ids = [str(i) for i in range(45)]
    chosen = draw(ids, ["en"] * 45, vectors, {"en": 12}, cluster_count=3, seed=0)
    assert [
        sum(low <= i < high for i in chosen) for low, high in ((0, 30), (30, 35), (35, 45))
    ] == [4, 4, 4]
    more = draw(ids, ["en"] * 45, vectors, {"en": 24}, cluster_count=3, seed=0)
    assert sum(30 <= i < 35 for i in more) == 5
    assert set(chosen) <= set(more)


@given(st.integers(0, 40), st.integers(0, 3), st.permutations(range(40)))
def test_quotas_are_exact_and_order_does_not_matter(
    quota: int, seed: int, order: list[int]
) -> None:
    ids = [f"p{i}" for i in range(40)]
    languages = ["en" if i < 30 else "de" for i in range(40)]
    # vectors all alike make one cluster, which does not depend on the order
    vectors = np.ones((40, 1), np.float32)
    quotas = shares(languages, "c", Category(quota=quota))

    def drawn(order: Sequence[int]) -> list[int]:
        of = [ids[i] for i in order], [languages[i] for i in order]
        return draw(*of, vectors, quotas, cluster_count=4, seed=seed)

    chosen = drawn(range(40))
    assert len(chosen) == len(set(chosen)) == quota
    assert sum(i >= 30 for i in chosen) == apportion(quota, {"en": 30, "de": 10})["de"]
    assert {order[i] for i in drawn(order)} == set(chosen)


def test_shortage_is_an_error_or_accepted() -> None:
    settings = Category(quota=4, languages={"en": 1, "de": 1})
    languages = ["en", "en", "en", "de"]
    with pytest.raises(DataError, match="'law' must have 2 prompts in de, but has 1"):
        shares(languages, "law", settings)
    assert shares(languages, "law", settings, accept_shortage=True) == {"en": 2, "de": 1}
    for found in (languages, []):
        with pytest.raises(DataError, match=f"'law' must have 5 prompts, but has {len(found)}"):
            shares(found, "law", Category(quota=5))
