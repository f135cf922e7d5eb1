"""Training on mixtures of examples and their labels."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.data import Split, Subset, TensorSplit
from micronas.train.loop import Epoch, generator_for
from micronas.train.recipe import Recipe
from tests.training import fit

pytestmark = pytest.mark.usefixtures("device")


def numbered(count: int, mixup: float) -> TensorSplit:
    """Example i is the number i, and so is its label."""
    inputs = torch.arange(count, dtype=torch.float32).reshape(count, 1, 1, 1)
    return TensorSplit(inputs, torch.arange(count), mixup=mixup)


def linear(inputs: int, classes: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


def test_loss_is_that_of_soft_labels() -> None:
    generator = generator_for(0, "labels")
    labels = torch.randint(4, (64,), generator=generator)
    # Inputs that are their own one-hot labels: mixed inputs are the soft labels wanted.
    split = TensorSplit(F.one_hot(labels, 4).float().reshape(64, 4, 1, 1), labels, mixup=0.3)
    soft: list[float] = []

    def loss(logits: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
        soft.append(F.cross_entropy(logits, inputs.flatten(1)).item())
        return F.cross_entropy(logits, labels)

    told: list[Epoch] = []
    recipe = Recipe(epochs=3, batch_size=16)
    fit(linear(4, 4), split, recipe, seed=0, loss=loss, progress=told.append)
    # The loss is asked twice a step, and sees the same mixed inputs both times.
    assert soft[::2] == soft[1::2]
    for number, epoch in enumerate(told):
        expected = sum(soft[8 * number : 8 * number + 8 : 2]) / 4
        assert abs(epoch.loss - expected) < 1e-5


@pytest.mark.long
def test_weights_of_mixtures_follow_the_beta_distribution() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def loss(logits: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
        seen.append((labels, inputs.flatten()))
        return F.cross_entropy(logits, labels)

    recipe = Recipe(epochs=500, batch_size=8)
    fit(linear(1, 8), numbered(8, 0.3), recipe, seed=0, loss=loss)
    shares = []
    for (first, mixed), (second, _) in zip(seen[::2], seen[1::2], strict=True):
        assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(8))
        moved = first != second
        share = ((mixed - second) / (first - second))[moved]
        torch.testing.assert_close(share, share[:1].expand_as(share), atol=1e-5, rtol=0)
        shares.append(share[0].item())
    found = torch.tensor(shares)
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)) = 0.156.
    assert abs(found.mean().item() - 0.5) < 0.06
    assert abs(found.var().item() - 0.15625) < 0.02


def test_without_mixup_a_split_trains_as_before_and_with_it_repeats_exactly() -> None:
    class Plain(Split):
        """A split that has never heard of mixing."""

        def __init__(self, split: TensorSplit) -> None:
            self.labels, self.groups, self.batch = split.labels, split.groups, split.batch

    recipe = Recipe(epochs=2, batch_size=4)
    plain, zero, mixed, again = (
        fit(linear(1, 8), split, recipe, seed=0).state_dict()["1.weight"]
        for split in (Plain(numbered(8, 0.0)), *(numbered(8, share) for share in (0.0, 0.3, 0.3)))
    )
    assert torch.equal(plain, zero)
    assert not torch.equal(plain, mixed)
    assert torch.equal(mixed, again)


def test_parts_of_a_mixed_split_are_mixed() -> None:
    assert Subset(numbered(8, 0.3), torch.arange(4)).mixup == 0.3


class Pasted(TensorSplit):
    """Training may insert boxes."""

    cutmix = True


def test_boxes_wait_for_a_long_training() -> None:
    inputs, labels = torch.arange(64.0).reshape(4, 1, 4, 4), torch.arange(4)
    plain, short, long = (
        fit(
            linear(16, 4),
            split(inputs, labels),
            Recipe(epochs=8, batch_size=4, cutmix_from=first),
            seed=0,
        ).state_dict()["1.weight"]
        for split, first in ((TensorSplit, 8), (Pasted, 9), (Pasted, 8))
    )
    assert torch.equal(plain, short)
    assert not torch.equal(plain, long)


def test_a_pasted_box_counts_by_its_area() -> None:
    """Example i is a plain map of the value i: a mixture shows whose each pixel is."""

    count = 6
    plain = torch.arange(count, dtype=torch.float32).reshape(count, 1, 1, 1).expand(-1, 1, 8, 10)
    seen: list[tuple[Tensor, Tensor]] = []

    def loss(logits: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
        seen.append((labels, inputs))
        return logits.sum() * 0 + (labels * torch.arange(1, count + 1)).sum()

    told: list[Epoch] = []
    split = Pasted(plain.clone(), torch.arange(count))
    recipe = Recipe(epochs=200, batch_size=count)
    fit(linear(80, count), split, recipe, seed=0, loss=loss, progress=told.append)
    shares = []
    for (first, mixed), (second, _), epoch in zip(seen[::2], seen[1::2], told, strict=True):
        of_other = mixed[:, 0] != first[:, None, None]
        assert (mixed[:, 0][of_other] == second[:, None, None].expand(-1, 8, 10)[of_other]).all()
        some = of_other[first != second]
        if not some.any():
            shares.append(1.0)
            continue
        assert (some == some[0]).all(), "one box for all"
        rows, columns = some[0].any(1), some[0].any(0)
        assert some[0].sum() == rows.sum() * columns.sum(), "a rectangle"
        shares.append(1 - some[0].float().mean().item())
        own, other = (
            (labels * torch.arange(1, count + 1)).sum().item() for labels in (first, second)
        )
        assert epoch.loss == pytest.approx(shares[-1] * own + (1 - shares[-1]) * other)
    assert 70 < sum(share == 1.0 for share in shares) < 135, "half of the batches"
    assert min(shares) < 0.3
    assert Subset(split, torch.arange(4)).cutmix
