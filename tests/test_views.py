"""Inputs seen in other shapes, against the arrays by hand."""

import pytest
import torch

from micronas.data import DataSet, TensorSplit
from micronas.errors import ConfigError
from micronas.views import Frames, Layout, Pixels


def numbered(*shape: int) -> torch.Tensor:
    return torch.arange(float(torch.tensor(shape).prod())).reshape(shape)


def test_columns_become_channels_in_the_order_of_the_device() -> None:
    x = numbered(2, 1, 4, 3)
    seen = Layout()(x, (4, 1, 3))
    assert seen.shape == (2, 3, 4, 1)
    # NHWC: what the file's input holds, byte after byte
    assert torch.equal(seen.permute(0, 2, 3, 1).flatten(), x.permute(0, 2, 3, 1).flatten())


def test_every_second_frame_and_the_first_coefficients() -> None:
    x = numbered(2, 1, 5, 4)
    view = Frames()
    assert torch.equal(view(x, (3, 2, 1)), x[:, :, ::2, :2])
    assert torch.equal(view(x, (3, 1, 2))[:, :, :, 0], x[:, 0, ::2, :2].transpose(1, 2))
    assert view.meaning((5, 4, 1), (3, 1, 2)) == {"every": 2, "coefficients": 2}
    assert view.meaning((5, 4, 1), (5, 1, 4)) == {}


def test_pictures_are_averaged_over_areas_and_turn_gray() -> None:
    x = numbered(1, 3, 4, 4)
    half = Pixels()(x, (2, 2, 3))
    assert half[0, 1, 0, 0] == x[0, 1, :2, :2].mean()
    gray = Pixels()(x, (4, 4, 1))
    expected = 0.299 * x[0, 0, 1, 2] + 0.587 * x[0, 1, 1, 2] + 0.114 * x[0, 2, 1, 2]
    torch.testing.assert_close(gray[0, 0, 1, 2], expected)
    assert Pixels().meaning((4, 4, 3), (4, 4, 1)) == {"color": "gray", "read": [4, 4, 3]}
    assert Pixels().meaning((4, 4, 3), (4, 4, 3)) == {}


@pytest.mark.parametrize(
    ("view", "read", "shape"),
    [
        (Layout(), (4, 3, 1), (3, 4, 1)),
        (Frames(), (49, 10, 1), (30, 10, 1)),
        (Frames(), (49, 10, 1), (49, 1, 11)),
        (Pixels(), (32, 32, 1), (32, 32, 3)),
        (Pixels(), (32, 32, 3), (48, 48, 3)),
    ],
)
def test_what_cannot_be_seen_is_refused(view: Layout, read: tuple, shape: tuple) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match=r"an input must .* correct `input` of the space"):
        view.check(read, shape)


def test_all_parts_of_a_data_set_are_seen_alike() -> None:
    split = TensorSplit(numbered(6, 1, 4, 3), torch.arange(6) % 2, groups=torch.arange(6) // 2)
    data = DataSet(split, split, split, ("a", "b"), (4, 3, 1), {"features": "mfcc"}, view=Frames())
    seen = data.seen_as((2, 1, 2))
    assert seen.input == (2, 1, 2)
    assert seen.meaning == {"features": "mfcc", "every": 2, "coefficients": 2}
    assert seen.test is not None
    for part in (seen.train, seen.validation, seen.test):
        assert part.batch(torch.tensor([1, 2]), None).shape == (2, 2, 2, 1)
        assert torch.equal(part.groups, split.groups)
    assert data.seen_as(data.input) is data
