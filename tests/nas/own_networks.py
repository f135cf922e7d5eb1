"""Networks as users write them, small: each brings something that ties channels together."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def examples(count: int, name: str = "") -> Tensor:
    return torch.randn(count, *((6, 40) if name == "series" else (1, 12, 12)))


class Plain(nn.Module):
    """One layer to narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)).relu().mean((2, 3)))


class Separable(nn.Module):
    def __init__(self, depth: int, width: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(depth, depth, 3, stride, 1, groups=depth, bias=False)
        self.norm = nn.BatchNorm2d(depth)
        self.pointwise = nn.Conv2d(depth, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.norm(self.depthwise(x)))
        return F.relu(self.norm2(self.pointwise(x)))


class DSCNN(nn.Module):
    """Depthwise separable blocks behind a strided stem, with dropout in front of the classifier."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, (5, 3), 2, (2, 1), bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.blocks = nn.Sequential(Separable(16, 24, 1), Separable(24, 32, 2))
        self.drop = nn.Dropout(0.0)
        self.classifier = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1)
        return self.classifier(self.drop(x.flatten(1)))


class Residual(nn.Module):
    """A sum, a pool, a batch norm alone in front of a ReLU, and a map flattened whole."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.before = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.narrow = nn.Conv2d(16, 8, 1)
        self.down = nn.Conv2d(8, 12, 3, 2)
        self.classifier = nn.Linear(12 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        branch = self.narrow(F.relu(self.norm(self.wide(F.relu(self.before(x))))))
        return self.classifier(self.down(F.relu(x + branch)).flatten(1))


class Same(nn.Module):
    """A layer that reads and writes the same channels, and ones that padding adds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2, 1)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.wider = nn.Conv2d(8, 12, 1)
        self.classifier = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.inner(x))
        x = F.relu(self.wider(x) + F.pad(x, (0, 0, 0, 0, 0, 4)))
        return self.classifier(x.mean((2, 3)))


class Filters(nn.Conv2d):
    """A subclass of a layer."""


class Joined(nn.Module):
    """Parts of several layers joined, twice; a depthwise convolution that multiplies; groups."""

    def __init__(self) -> None:
        super().__init__()
        self.left = Filters(1, 8, 3, 2, 1)
        self.right = nn.Conv2d(1, 12, 5, 2, 2)
        self.more = nn.Conv2d(20, 40, 3, padding=1, groups=20)
        self.mixed = nn.Conv2d(40, 16, 1)
        self.grouped = nn.Conv2d(16, 16, 1, groups=4)
        self.hidden = nn.Linear(3 * 3 * (16 + 12), 20)
        self.norm = nn.BatchNorm1d(20)
        self.classifier = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        right = F.relu(self.right(x))
        joined = torch.cat([F.relu(self.left(x)), right], 1)
        x = self.grouped(F.relu(self.mixed(self.more(joined))))
        x = F.avg_pool2d(torch.cat([F.relu(x), right], 1), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return self.classifier(F.relu(self.norm(self.hidden(x))))


class Reused(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.again = nn.Conv2d(8, 8, 1)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.again(self.again(self.first(x))).mean((2, 3)))


class Gated(nn.Module):
    """One channel, the first operand of a product, is broadcast over many; its function adds 3."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.gate = nn.Conv2d(16, 1, 1)
        self.mix = nn.Conv2d(16, 8, 1)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        x = F.hardsigmoid(self.gate(x)) * x
        return self.last(self.mix(x).relu().mean((2, 3)))


class Series(nn.Module):
    """Convolutions of one dimension: strided, residual, depthwise, dilated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(6, 16, 9, 2, 4, bias=False)
        self.norm = nn.BatchNorm1d(16)
        self.inner = nn.Conv1d(16, 16, 5, padding=2)
        self.depthwise = nn.Conv1d(16, 16, 3, padding=2, dilation=2, groups=16)
        self.pointwise = nn.Conv1d(16, 24, 1, bias=False)
        self.norm2 = nn.BatchNorm1d(24)
        self.classifier = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.inner(x))
        x = F.max_pool1d(F.relu(self.norm2(self.pointwise(self.depthwise(x)))), 2)
        return self.classifier(x.mean(2))


class Shuffled(nn.Module):
    """Channels in another order, in front of a depthwise convolution and of one that mixes; dilated
    groups; a pool padded by other than zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 2, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.norm = nn.BatchNorm2d(16)
        self.inner = nn.Conv2d(16, 16, 1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=2)
        self.before = nn.BatchNorm2d(16)
        self.last = nn.Conv2d(16, 12, 1)
        self.classifier = nn.Linear(12 * 3 * 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.depthwise(F.channel_shuffle(self.stem(x), 4)))
        x = self.before(F.channel_shuffle(F.relu(self.grouped(self.inner(x))), 2))
        return self.classifier(F.max_pool2d(self.last(x), 3, 2, 1).flatten(1))


class Halves(nn.Module):
    """Half of the channels passes unchanged and is shuffled with the other, as in ShuffleNetV2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 2, 1)
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.last = nn.Conv2d(16, 8, 1)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        x = F.channel_shuffle(torch.cat([left, self.branch(right)], 1), 2)
        y: Tensor = self.classifier(F.relu(self.last(x)).mean((2, 3)))
        return y


class Tokens(nn.Module):
    """Linear layers on each pixel of a map, one of which reads rows as channels, and one that reads
    a whole map beside their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 4, 4)
        self.hidden = nn.Linear(16, 24)
        self.rows = nn.Linear(24 * 3, 8)
        self.classifier = nn.Linear(16 * 9 + 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        rows = F.relu(self.hidden(x.flatten(2).transpose(1, 2))).unflatten(1, (3, 3)).flatten(2)
        mean = F.relu(self.rows(rows)).mean(1)
        return self.classifier(torch.cat([x.flatten(1), mean], 1))


EXAMPLES: Mapping[str, Callable[[], nn.Module]] = {
    "plain": Plain,
    "ds_cnn": DSCNN,
    "residual": Residual,
    "same": Same,
    "joined": Joined,
    "gated": Gated,
    "series": Series,
    "shuffled": Shuffled,
    "halves": Halves,
    "tokens": Tokens,
}
