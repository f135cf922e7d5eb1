"""Categories from confusions, and the threshold of a router."""

import sys
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.errors import BudgetError, ConfigError
from micronas.router.device.categories import check_categories, confused_classes
from micronas.router.device.threshold import choose_threshold


def confusions(groups: list[int], seed: int, *, noise: float) -> np.ndarray:
    """Counts [C, C]: mostly right, wrong mostly within the class's group."""
    rng = np.random.default_rng(seed)
    group = np.array(groups)
    same = group[:, None] == group[None, :]
    rates = np.where(same, 8.0, noise) * rng.uniform(0.7, 1.3, same.shape)
    return np.asarray(rng.poisson(rates) + 100 * np.eye(len(group)))


@settings(max_examples=60)
@given(st.lists(st.integers(2, 6), min_size=2, max_size=5), st.integers(0, 10**6))
def test_groups_of_confused_classes_are_found_in_any_order(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    groups = np.random.default_rng(seed).permutation(groups)
    names = [f"word{number}" for number in range(len(groups))]
    found = confused_classes(confusions(groups.tolist(), seed, noise=0.05), names, count=len(sizes))
    wanted = {
        tuple(name for name, other in zip(names, groups, strict=True) if other == group)
        for group in groups
    }
    assert set(found.values()) == wanted
    assert list(found) == [f"category{number + 1}" for number in range(len(sizes))]
    assert found["category1"][0] == "word0"


def test_how_often_a_class_was_heard_does_not_matter() -> None:
    counts = confusions([0, 0, 1, 1, 2, 2], 0, noise=0.2)
    often = counts * np.array([[1], [50], [1], [1], [7], [1]])
    names = list("abcdef")
    assert confused_classes(counts, names, count=3) == confused_classes(often, names, count=3)


def test_a_class_left_alone_joins_those_it_is_confused_with() -> None:
    # c is confused with a and b a little, d to f with one another
    confusion = np.zeros((6, 6))
    confusion[:2, :2], confusion[3:, 3:] = 20, 20
    confusion[2, :2] = 1
    confusion += 1e-3
    found = confused_classes(confusion, list("abcdef"), count=3)
    assert set(found.values()) == {("a", "b", "c"), ("d", "e", "f")}


@pytest.mark.parametrize("count", [1, 4, 0, -2])
def test_a_number_of_categories_that_cannot_be_had(count: int) -> None:
    with pytest.raises(ConfigError, match=f"categories={count} for 7 classes"):
        confused_classes(np.ones((7, 7)), list("abcdefg"), count=count)


def test_a_network_that_confuses_nothing_has_no_categories() -> None:
    with pytest.raises(ConfigError, match="no class is taken for another one; give"):
        confused_classes(np.eye(6) * 10, list("abcdef"), count=2)


def test_without_scipy_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.cluster", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[router\]'"):
        confused_classes(np.ones((6, 6)), list("abcdef"), count=2)


@pytest.mark.parametrize(
    ("categories", "said"),
    [
        ({"x": "ab"}, "must be two or more"),
        ({"general": "ab", "x": "cd"}, "none be named 'general'"),
        ({"x": "ab", "y": "bcd"}, r"\['b'\] stand in none or several"),
        ({"x": "ab", "y": "c"}, r"\['d'\] stand in none or several"),
        ({"x": "ab", "y": "cde"}, r"\['e'\] are no classes"),
        ({"x": "abc", "y": "d"}, r"\['y'\] are too small"),
    ],
)
def test_given_categories_divide_the_classes(categories: Mapping[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check_categories(categories, "abcd", smallest=2)
    assert "\n" not in str(caught.value)


def test_good_categories_are_returned_in_their_order() -> None:
    assert check_categories({"y": "cd", "x": ["b", "a"]}, "abcd") == {
        "y": ("c", "d"),
        "x": ("b", "a"),
    }


codes = st.integers(-128, 127)
examples = st.lists(
    st.tuples(codes, st.booleans(), st.booleans(), st.integers(1, 9)), min_size=1, max_size=12
)


@given(examples, st.integers(1, 20), st.none() | st.integers(1, 20))
def test_the_threshold_is_the_best_there_is(
    rows: list[tuple[int, bool, bool, int]], unsure_macs: int, limit: int | None
) -> None:
    """Brute force, one input after the other."""
    outcomes = {}
    for code in range(-128, 128):
        right = spent = 0
        for confidence, sure, unsure, macs in rows:
            right += sure if confidence >= code else unsure
            spent += macs if confidence >= code else unsure_macs
        if limit is None or spent <= limit * len(rows):
            outcomes[code] = (-right, spent, code)
    confidence, sure, unsure, macs = map(np.array, zip(*rows, strict=True))

    def choose() -> int:
        return choose_threshold(
            confidence,
            sure,
            unsure=unsure,
            sure_macs=macs,
            unsure_macs=unsure_macs,
            limit=limit,
        ).code

    if outcomes:
        assert choose() == min(outcomes.values())[2]
    else:
        with pytest.raises(BudgetError, match=f"limit={limit}, smallest="):
            choose()


def test_what_a_threshold_led_to() -> None:
    chosen = choose_threshold(
        np.array([-100, 0, 50, 100], np.int8),
        np.array([False, False, True, True]),
        unsure=np.array([True, True, False, True]),
        sure_macs=np.array([10, 10, 10, 30]),
        unsure_macs=100,
    )
    assert (chosen.code, chosen.accuracy, chosen.macs) == (1, 1.0, 60.0)
