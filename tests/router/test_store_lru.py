"""Who goes first, against other implementations and against every possible choice."""

from collections import OrderedDict
from functools import cache, lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.router.store.lru import Belady, Lru

TRACES = st.lists(st.sampled_from("abcdef"), max_size=60)
SIZES = st.fixed_dictionaries({name: st.integers(1, 5) for name in "abcdef"})


def misses(tier: Lru, trace: list[str], sizes: dict[str, int]) -> list[bool]:
    """Use a tier as the store does."""
    result = []
    for name in trace:
        result.append(name not in tier)
        if name in tier:
            tier.touch(name)
            continue
        victims = tier.victims(sizes[name])
        assert victims is not None
        for victim in victims:
            tier.discard(victim)
        tier.add(name, sizes[name])
    return result


def test_a_trace_by_hand() -> None:
    # 3 bytes: a b c fill it; a is used again, so d throws b out, then b throws c out
    tier = Lru(3)
    assert misses(tier, list("abcadbac"), dict.fromkeys("abcd", 1)) == [
        *(True, True, True, False, True, True, False, True),
    ]
    assert list(tier) == ["b", "a", "c"]


@given(TRACES, st.integers(1, 6))
def test_lru_of_equal_sizes_is_that_of_functools(trace: list[str], capacity: int) -> None:
    @lru_cache(maxsize=capacity)
    def load(name: str) -> str:
        return name

    expected = []
    for name in trace:
        before = load.cache_info().misses
        load(name)
        expected.append(load.cache_info().misses > before)
    assert misses(Lru(capacity), trace, dict.fromkeys("abcdef", 1)) == expected


@given(TRACES, SIZES, st.integers(5, 15))
def test_lru_of_any_sizes_is_that_of_an_ordered_dict(
    trace: list[str], sizes: dict[str, int], capacity: int
) -> None:
    reference: OrderedDict[str, int] = OrderedDict()
    expected = []
    for name in trace:
        expected.append(name not in reference)
        reference[name] = sizes[name]
        reference.move_to_end(name)
        while sum(reference.values()) > capacity:
            reference.popitem(last=False)
    tier = Lru(capacity)
    assert misses(tier, trace, sizes) == expected
    assert list(tier) == list(reference)
    assert tier.used == sum(reference.values()) <= capacity


def fewest(trace: str, capacity: int) -> int:
    """Misses of the best choice, found by trying all."""

    @cache
    def after(position: int, held: frozenset[str]) -> int:
        if position == len(trace):
            return 0
        name = trace[position]
        if name in held:
            return after(position + 1, held)
        if len(held) < capacity:
            return 1 + after(position + 1, held | {name})
        return 1 + min(after(position + 1, held - {gone} | {name}) for gone in held)

    return after(0, frozenset())


@given(st.text("abcdef", max_size=14), st.integers(1, 4))
def test_belady_has_the_fewest_misses(trace: str, capacity: int) -> None:
    sizes = dict.fromkeys("abcdef", 1)
    bound = sum(misses(Belady(capacity, trace), list(trace), sizes))
    assert bound == fewest(trace, capacity)
    assert bound <= sum(misses(Lru(capacity), list(trace), sizes))


def test_nobody_goes_who_is_kept() -> None:
    tier = Lru(4)
    for name in "abcd":
        tier.add(name, 1)
    assert tier.victims(2, keep={"a", "c"}) == ["b", "d"]
    assert tier.victims(3, keep={"a", "c"}) is None
    assert tier.victims(0) == []


def test_the_bound_cannot_be_passed() -> None:
    tier = Lru(4)
    tier.add("a", 3)
    with pytest.raises(ValueError, match="b of 2 B exceeds 4 B, 3 B used"):
        tier.add("b", 2)
