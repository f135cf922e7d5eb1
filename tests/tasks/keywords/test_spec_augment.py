"""Masks and channels: how wide, where, how often, and always the same from the same generator."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from micronas.tasks.keywords.spec_augment import other_channel, spec_augment
from tests.tasks.keywords.corpus import generator


def masks(n: int, time: int, frequency: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return which frames [n, 49] and coefficients [n, 10] were hidden as a whole."""
    ones = torch.ones(n, 1, 49, 10)
    hidden = spec_augment(ones, generator(seed), time_mask=time, frequency_mask=frequency) == 0
    frames, coefficients = hidden.all(3)[:, 0], hidden.all(2)[:, 0]
    assert torch.equal(hidden[:, 0], frames[:, :, None] | coefficients[:, None, :])
    return frames, coefficients


@given(st.integers(0, 48), st.integers(0, 9), st.integers(0, 2**31))
def test_each_mask_is_one_stretch_up_to_its_width(time: int, frequency: int, seed: int) -> None:
    for hidden, widest in zip(masks(8, time, frequency, seed), (time, frequency), strict=True):
        assert hidden.sum(1).max() <= widest
        edges = torch.nn.functional.pad(hidden.int(), (1, 1)).diff(dim=1).abs().sum(1)
        assert set(edges.tolist()) <= {0, 2}


def test_widths_and_places_are_even() -> None:
    n = 20_000
    frames, coefficients = masks(n, 12, 3)
    for hidden, widest in ((frames, 12), (coefficients, 3)):
        share = torch.bincount(hidden.sum(1), minlength=widest + 1) / n
        expected = 1 / (widest + 1)
        assert len(share) == widest + 1
        assert share.sub(expected).abs().max() < 4 * (expected / n) ** 0.5
    # A mask of three of ten coefficients begins at 0 .. 7.
    starts = coefficients[coefficients.sum(1) == 3].int().argmax(1)
    share = torch.bincount(starts) / len(starts)
    assert share.tolist() == pytest.approx([1 / 8] * 8, abs=0.02)


def test_chance_comes_from_the_generator_alone() -> None:
    features = torch.randn(5, 1, 49, 10, generator=generator())
    before, state = features.clone(), torch.get_rng_state()
    first = spec_augment(features, generator(1), time_mask=20, frequency_mask=4)
    assert torch.equal(first, spec_augment(features, generator(1), time_mask=20, frequency_mask=4))
    assert not torch.equal(
        first, spec_augment(features, generator(2), time_mask=20, frequency_mask=4)
    )
    assert torch.equal(features, before)
    assert torch.equal(torch.get_rng_state(), state)
    kept = first != 0
    assert torch.equal(first[kept], features[kept])


def test_no_mask_changes_nothing_but_draws_the_same() -> None:
    features = torch.randn(5, 1, 49, 10, generator=generator())
    first, second = generator(3), generator(3)
    assert torch.equal(spec_augment(features, first, time_mask=0, frequency_mask=0), features)
    spec_augment(features, second, time_mask=20, frequency_mask=4)
    assert torch.equal(first.get_state(), second.get_state())


def test_a_channel_is_one_constant_of_each_coefficient() -> None:
    features = torch.randn(4_000, 1, 7, 10, generator=generator()).clamp_(-1, 1)
    added = other_channel(features, generator(1), spread=0.3, limit=4.0) - features
    assert added.var(2).max() < 1e-10
    constants = added.mean(2).flatten()
    assert constants.mean().abs() < 0.01
    assert constants.std().item() == pytest.approx(0.3, abs=0.01)
    assert added[:, 0, 0].T.corrcoef().fill_diagonal_(0).abs().max() < 0.1
    assert other_channel(features, generator(), spread=0.9, limit=1.5).abs().max() == 1.5
