"""Hand-written networks for images: heads, gates, norms, activations."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.parts import Activation, Inverted, Residual, basic, conv, head, separable

_IMAGE = (3, 96, 96)


def _plain(activation: Activation = nn.ReLU) -> nn.Module:
    """Return a small classifier with one kind of activation."""
    return nn.Sequential(
        conv(3, 16, 3, 2, activation=activation),
        conv(16, 32, 3, 2, activation=activation),
        conv(32, 32, 3, 2, groups=32, activation=activation),
        conv(32, 64, 1, activation=activation),
        head(64, 10),
    )


def _normed(norm: Callable[[int], nn.Module]) -> nn.Module:
    """Return a small classifier with one kind of norm."""
    return nn.Sequential(
        conv(3, 16, 3, 2, norm=norm),
        conv(16, 32, 3, 2, norm=norm),
        conv(32, 64, 3, 2, norm=norm),
        head(64, 10),
    )


def _trunk() -> nn.Sequential:
    """Return the first layers of a detector: 96x96x3 to 12x12x32."""
    return nn.Sequential(
        conv(3, 16, 3, 2, activation=nn.ReLU6),
        Inverted(16, 16),
        Inverted(16, 24, 2),
        Inverted(24, 24),
        Inverted(24, 32, 2),
        Inverted(32, 32),
    )


class _ChannelNorm(nn.Module):
    """LayerNorm over the channels of a map, as ConvNeXt has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


class _ConvTransposeAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 32, 3, 2))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(32, 32, 3, 2, 1, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 2, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class UNet(nn.Module):
    """A map of one size in and out, by two levels."""

    def __init__(self, mode: str, outputs: int = 2) -> None:
        super().__init__()
        align = False if mode == "bilinear" else None
        self.first, self.second, self.third = conv(3, 8), conv(8, 16), conv(16, 32)
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(None, 2, mode, align)
        self.fourth, self.fifth = conv(48, 16), conv(24, 8)
        self.last = nn.Conv2d(8, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.first(x)
        middle = self.second(self.pool(fine))
        coarse = self.third(self.pool(middle))
        middle = self.fourth(torch.cat((self.up(coarse), middle), 1))
        return self.last(self.fifth(torch.cat((self.up(middle), fine), 1)))


class _TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_trunk(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.kind, self.angle = nn.Linear(32, 10), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shared = self.trunk(x)
        return self.kind(shared), self.angle(shared)


class _SSDLite(nn.Module):
    """Boxes and scores of two maps, flat, one row an anchor."""

    def __init__(self, anchors: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.classes = classes
        self.trunk, self.extra = _trunk(), Inverted(32, 48, 2)
        self.boxes = nn.ModuleList(separable_head(width, 4 * anchors) for width in (32, 48))
        self.scores = nn.ModuleList(separable_head(width, classes * anchors) for width in (32, 48))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = [self.trunk(x)]
        maps.append(self.extra(maps[0]))
        boxes = [_rows(each(y), 4) for each, y in zip(self.boxes, maps, strict=True)]
        scores = [_rows(each(y), self.classes) for each, y in zip(self.scores, maps, strict=True)]
        return torch.cat(boxes, 1), torch.cat(scores, 1)


def separable_head(channels: int, outputs: int) -> nn.Sequential:
    """Return the predictor of SSDLite."""
    depthwise = conv(channels, channels, 3, groups=channels, activation=nn.ReLU6)
    return nn.Sequential(depthwise, nn.Conv2d(channels, outputs, 1))


def _rows(x: Tensor, size: int) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, size)


class _YOLO(nn.Module):
    """One anchor: centre and scores through a sigmoid, size as it is."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.trunk, self.head = _trunk(), nn.Conv2d(32, 5 + classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.trunk(x))
        centre, size, scores = y[:, :2], y[:, 2:4], y[:, 4:]
        return torch.cat((centre.sigmoid(), size, scores.sigmoid()), 1)


class _TwoInputs(nn.Module):
    """An image and four numbers from other sensors."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(_trunk(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.sensors = nn.Sequential(nn.Linear(4, 16), nn.ReLU())
        self.last = nn.Linear(48, 5)

    def forward(self, image: Tensor, sensors: Tensor) -> Tensor:
        return self.last(torch.cat((self.image(image), self.sensors(sensors)), 1))


class _Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_trunk(), head(32, 64))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.trunk(x), dim=1)


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int, inner: int, gate: Activation = nn.Sigmoid) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def _gated(gate: Activation) -> nn.Module:
    """Return a ResNet with squeeze-excite in its blocks."""
    blocks = [
        Residual(
            nn.Sequential(
                conv(before, after, 3, 2),
                conv(after, after, activation=nn.Identity),
                _SqueezeExcite(after, after // 4, gate),
            ),
            conv(before, after, 1, 2, activation=nn.Identity),
        )
        for before, after in ((16, 32), (32, 64))
    ]
    return nn.Sequential(conv(3, 16, 3, 2), *blocks, head(64, 10))


class _CBAM(nn.Module):
    """Attention over channels, then over positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 1), nn.ReLU(), nn.Conv2d(channels // 4, channels, 1)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        mean, largest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        x = x * torch.sigmoid(self.shared(mean) + self.shared(largest))
        pooled = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        return x * torch.sigmoid(self.spatial(pooled))


class _Shuffle(nn.Module):
    """ShuffleNet's unit: grouped convolutions, channels exchanged in between."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.first = conv(channels, channels, 1, groups=groups)
        self.depthwise = conv(channels, channels, 3, groups=channels, activation=nn.Identity)
        self.last = conv(channels, channels, 1, groups=groups, activation=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        batch, channels, height, width = y.shape
        y = y.view(batch, self.groups, channels // self.groups, height, width)
        y = y.transpose(1, 2).reshape(batch, channels, height, width)
        return F.relu(x + self.last(self.depthwise(y)))


class _Pyramid(nn.Module):
    """Maps of two sizes, the coarse one enlarged and added."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(conv(3, 16, 3, 2), conv(16, 24, 3, 2)),
            conv(24, 24, 3, 2),
        )
        self.lateral, self.last = conv(24, 24, 1), head(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.first(x)
        coarse = self.second(fine)
        return self.last(self.lateral(fine) + F.interpolate(coarse, scale_factor=2.0))


def _average_shortcut() -> nn.Module:
    """Return a ResNet-D: shortcuts average where they stride, with ceil_mode."""

    def block(before: int, after: int) -> nn.Module:
        pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        shortcut = nn.Sequential(pool, conv(before, after, 1, activation=nn.Identity))
        branch = nn.Sequential(
            conv(before, after, 3, 2), conv(after, after, activation=nn.Identity)
        )
        return Residual(branch, shortcut)

    return nn.Sequential(
        conv(3, 16, 3, 2), block(16, 32), block(32, 48), block(48, 64), head(64, 10)
    )


class _Mixer(nn.Module):
    """MLP-Mixer: patches of 16x16, mixed over positions and over channels."""

    def __init__(self, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.ModuleList(_MixerBlock(36, width) for _ in range(depth))
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.last(self.norm(x).mean(1))


class _MixerBlock(nn.Module):
    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.tokens = nn.Sequential(nn.Linear(positions, 32), nn.GELU(), nn.Linear(32, positions))
        self.channels = nn.Sequential(nn.Linear(width, 96), nn.GELU(), nn.Linear(96, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x))


class _Normalised(nn.Module):
    """Mean and deviation of the pixels taken away inside the network."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.body = _plain()

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - self.mean) / self.deviation)


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
        nn.LogSoftmax(1),
    )


def _mobilenet_v1() -> nn.Module:
    widths = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2)]
    widths += [(128, 128, 1)] * 5 + [(128, 256, 2), (256, 256, 1)]
    return nn.Sequential(conv(3, 8, 3, 2), *(separable(*width) for width in widths), head(256, 2))


ENTRIES = [
    Entry("ConvTranspose autoencoder", _ConvTransposeAutoencoder, (_IMAGE,)),
    Entry("U-Net bilinear", lambda: UNet("bilinear"), (_IMAGE,)),
    Entry("U-Net nearest", lambda: UNet("nearest"), (_IMAGE,)),
    Entry(
        "FOMO head",
        lambda: nn.Sequential(_trunk(), conv(32, 32, 1), nn.Conv2d(32, 3, 1)),
        (_IMAGE,),
    ),
    Entry("two heads", _TwoHeads, (_IMAGE,)),
    Entry("SSD-lite flat", _SSDLite, (_IMAGE,)),
    Entry("two inputs", _TwoInputs, (_IMAGE, (4,))),
    Entry("L2 embedding", _Embedding, (_IMAGE,)),
    Entry("SE", lambda: _gated(nn.Sigmoid), (_IMAGE,)),
    Entry("LeakyReLU", lambda: _plain(lambda: nn.LeakyReLU(0.1)), (_IMAGE,)),
    Entry("PReLU", lambda: _plain(nn.PReLU), (_IMAGE,)),
    Entry("SiLU", lambda: _plain(nn.SiLU), (_IMAGE,)),
    Entry("GELU", lambda: _plain(nn.GELU), (_IMAGE,)),
    Entry("ELU", lambda: _plain(nn.ELU), (_IMAGE,)),
    Entry("hardsigmoid", lambda: _gated(nn.Hardsigmoid), (_IMAGE,)),
    Entry("tanh", lambda: _plain(nn.Tanh), (_IMAGE,)),
    Entry("hardtanh", lambda: _plain(nn.Hardtanh), (_IMAGE,)),
    Entry("GroupNorm", lambda: _normed(lambda width: nn.GroupNorm(4, width)), (_IMAGE,)),
    Entry("LayerNorm", lambda: _normed(_ChannelNorm), (_IMAGE,)),
    Entry(
        "InstanceNorm",
        lambda: _normed(lambda width: nn.InstanceNorm2d(width, affine=True)),
        (_IMAGE,),
    ),
    Entry(
        "channel shuffle",
        lambda: nn.Sequential(
            conv(3, 32, 3, 2), nn.MaxPool2d(2), _Shuffle(32, 4), _Shuffle(32, 4), head(32, 10)
        ),
        (_IMAGE,),
    ),
    Entry("interpolate", _Pyramid, (_IMAGE,)),
    Entry("average-pool shortcut", _average_shortcut, (_IMAGE,)),
    Entry("MLP-Mixer", _Mixer, (_IMAGE,)),
    Entry("LeNet-5 with log_softmax", _lenet, ((1, 28, 28),)),
    Entry(
        "ResNet-8",
        lambda: nn.Sequential(
            conv(3, 16), basic(16, 16), basic(16, 32, 2), basic(32, 64, 2), head(64, 10)
        ),
        ((3, 32, 32),),
    ),
    Entry("MobileNetV1", _mobilenet_v1, (_IMAGE,)),
    Entry("normalisation in the graph", _Normalised, (_IMAGE,)),
    Entry(
        "CBAM",
        lambda: nn.Sequential(
            conv(3, 16, 3, 2),
            conv(16, 32, 3, 2),
            _CBAM(32),
            conv(32, 64, 3, 2),
            _CBAM(64),
            head(64, 10),
        ),
        (_IMAGE,),
    ),
    Entry("YOLO head", _YOLO, (_IMAGE,)),
]
