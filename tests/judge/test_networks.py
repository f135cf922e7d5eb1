"""Paired comparisons against normal theory and exact enumeration."""

import itertools

import numpy as np
import pytest

from micronas.errors import DataError
from micronas.judge.networks import compare


def test_clips_spread_as_normal_theory_says() -> None:
    generator = np.random.default_rng(0)
    first = (generator.random(3000) < 0.9) * 1.0
    second = np.where(generator.random(3000) < 0.1, 1 - first, first)
    gain = first - second
    result = compare(first, second)
    assert result.value == pytest.approx(gain.mean())
    half = 1.96 * gain.std() / 3000**0.5
    assert result.lower == pytest.approx(gain.mean() - half, abs=0.05 * half)
    assert result.upper == pytest.approx(gain.mean() + half, abs=0.05 * half)
    assert (result.clips, result.groups) == (3000, 3000)
    assert result.differing == int((gain != 0).sum())


def test_three_clips_against_every_possible_draw() -> None:
    # the expanded interval of three clips at this level has tails of 0.2054
    gain = np.array([1.0, 0.0, -0.5])
    means = sorted(np.mean(draw) for draw in itertools.product(gain, repeat=3))
    result = compare(gain, np.zeros(3), level=0.5, rounds=50_000)
    assert result.lower == pytest.approx(means[5], abs=1e-12)
    assert result.upper == pytest.approx(means[21], abs=1e-12)


def test_clips_of_a_speaker_are_drawn_together() -> None:
    # forty speakers, all clips of one alike: as certain as forty clips
    generator = np.random.default_rng(1)
    by_speaker = generator.choice([0.0, 1.0], 40)
    groups = np.repeat(np.arange(40), 50)
    many = compare(by_speaker[groups], np.full(2000, 0.5), groups=groups.tolist())
    few = compare(by_speaker, np.full(40, 0.5))
    assert (many.clips, many.groups) == (2000, 40)
    assert many.lower == pytest.approx(few.lower)
    assert many.upper == pytest.approx(few.upper)


def test_groups_of_unequal_size_weigh_by_clips() -> None:
    result = compare([1, 1, 1, 0], [0, 0, 0, 0], groups=["a", "a", "a", "b"])
    assert result.value == 0.75
    assert (result.lower, result.upper) == (0.0, 1.0)


def test_swapping_networks_swaps_the_interval() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.random(200), generator.random(200)
    one, other = compare(first, second), compare(second, first)
    assert one.value == pytest.approx(-other.value)
    assert one.lower == pytest.approx(-other.upper, abs=0.003)


def test_a_result_says_whether_it_is_certain() -> None:
    better = compare([1] * 90 + [0] * 10, [0] * 40 + [1] * 50 + [0] * 10)
    assert better.certain
    assert str(better).startswith("+40.00 points (95 % interval +3")
    assert str(better).endswith("100 clips, 40 differ)")
    same = compare([1, 0] * 50, [0, 1] * 50)
    assert not same.certain
    grouped = compare([1, 0, 1], [0, 0, 0], groups=["x", "y", "y"])
    assert "3 clips in 2 groups" in str(grouped)


def test_few_speakers_are_covered_as_well() -> None:
    # six speakers that differ: without the expansion about 85 % are covered
    generator = np.random.default_rng(3)
    covered = []
    for simulation in range(200):
        gain = np.repeat(generator.normal(0.1, 1.0, 6), 2)
        result = compare(
            gain,
            np.zeros(12),
            groups=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5],
            rounds=2000,
            seed=simulation,
        )
        covered.append(result.lower <= 0.1 <= result.upper)
    assert np.mean(covered) >= 0.9


@pytest.mark.parametrize(
    ("first", "second", "groups", "complaint"),
    [
        ([1, 0], [1], None, "the same clips"),
        ([1], [1], None, "two clips or groups or more, but got 1"),
        ([1, 0], [1, 1], ["a", "a"], "two clips or groups or more, but got 1"),
        ([1, 0], [1, 1], ["a"], "one group, but got 1 for 2 clips"),
        ([1, float("nan")], [1, 1], None, "must be finite"),
    ],
)
def test_clips_that_do_not_match(
    first: list[float], second: list[float], groups: list[str] | None, complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        compare(first, second, groups)


def test_level_and_rounds() -> None:
    with pytest.raises(DataError, match="a level is between"):
        compare([1, 0], [0, 0], level=95)
