"""Hand-written networks for sound and other series."""

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.parts import Residual, conv, conv1d, head, head1d, separable


def _ds_cnn() -> nn.Module:
    stem = nn.Sequential(
        nn.Conv2d(1, 64, (10, 4), 2, (5, 1), bias=False), nn.BatchNorm2d(64), nn.ReLU()
    )
    return nn.Sequential(stem, *(separable(64, 64) for _ in range(4)), head(64, 12))


def _residual1d(inputs: int, outputs: int, kernel: int, stride: int) -> Residual:
    branch = nn.Sequential(
        conv1d(inputs, outputs, kernel, stride),
        conv1d(outputs, outputs, kernel, activation=nn.Identity),
    )
    is_plain = stride == 1 and inputs == outputs
    return Residual(branch, None if is_plain else conv1d(inputs, outputs, 1, stride))


def tc_resnet8(inputs: int = 40, classes: int = 12) -> nn.Module:
    """Return TC-ResNet8, its convolutions over time written as Conv1d."""
    widths = [(16, 24), (24, 32), (32, 48)]
    blocks = [_residual1d(before, after, 9, 2) for before, after in widths]
    return nn.Sequential(conv1d(inputs, 16, 3), *blocks, head1d(48, classes))


class _SubSpectralNorm(nn.Module):
    """Batch norm of each of five bands of frequencies."""

    def __init__(self, channels: int, bands: int = 5) -> None:
        super().__init__()
        self.bands, self.norm = bands, nn.BatchNorm2d(channels * bands)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = x.view(batch, channels * self.bands, height // self.bands, width)
        y: Tensor = self.norm(x)
        return y.view(batch, channels, height, width)


class _BroadcastBlock(nn.Module):
    """BC-ResNet's block: a 2-D branch over frequency, its mean over frequency through time."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.is_plain = inputs == outputs and stride == 1
        self.widen = nn.Identity() if self.is_plain else conv(inputs, outputs, 1)
        self.frequency = nn.Sequential(
            nn.Conv2d(outputs, outputs, (3, 1), (stride, 1), (1, 0), groups=outputs, bias=False),
            _SubSpectralNorm(outputs),
        )
        self.time = nn.Sequential(
            nn.Conv2d(
                outputs,
                outputs,
                (1, 3),
                padding=(0, dilation),
                dilation=(1, dilation),
                groups=outputs,
                bias=False,
            ),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        wide = self.frequency(self.widen(x))
        y = wide + self.time(wide.mean(2, keepdim=True))
        return F.relu(x + y if self.is_plain else y)


class _BCResNet(nn.Module):
    """BC-ResNet-1 with fewer blocks a stage."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d(1, 16, 5, (2, 1), 2, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        stages = [(16, 8, 1, 1), (8, 8, 1, 1), (8, 12, 2, 2), (12, 12, 1, 2), (12, 16, 2, 4)]
        self.body = nn.Sequential(stem, *(_BroadcastBlock(*stage) for stage in stages))
        self.depthwise = nn.Conv2d(16, 16, 5, padding=(0, 2), groups=16)
        self.last = nn.Sequential(nn.Conv2d(16, 32, 1), nn.ReLU())
        self.classifier = nn.Conv2d(32, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.depthwise(self.body(x)).mean(2, keepdim=True))
        y: Tensor = self.classifier(x.mean(3, keepdim=True))
        return y.flatten(1)


def _time_separable(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    depthwise = nn.Conv1d(
        inputs,
        inputs,
        kernel,
        padding=dilation * (kernel - 1) // 2,
        dilation=dilation,
        groups=inputs,
        bias=False,
    )
    return nn.Sequential(
        depthwise, nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs)
    )


def _matchboxnet() -> nn.Module:
    def block(inputs: int, outputs: int, kernel: int) -> nn.Module:
        branch = nn.Sequential(
            _time_separable(inputs, outputs, kernel),
            nn.ReLU(),
            _time_separable(outputs, outputs, kernel),
        )
        return Residual(branch, conv1d(inputs, outputs, 1, activation=nn.Identity))

    return nn.Sequential(
        nn.Sequential(_time_separable(64, 128, 11), nn.ReLU()),
        block(128, 64, 13),
        block(64, 64, 15),
        block(64, 64, 17),
        nn.Sequential(_time_separable(64, 128, 29, 2), nn.ReLU()),
        conv1d(128, 128, 1),
        nn.Conv1d(128, 12, 1),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
    )


class _Causal(nn.Module):
    """Dilated convolution that sees the past only."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.past = dilation * (kernel - 1)
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (self.past, 0)))


class _TCN(nn.Module):
    """Dilated residual blocks; the answer is the last step's."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.first = nn.Conv1d(10, width, 1)
        self.blocks = nn.Sequential(
            *(
                Residual(
                    nn.Sequential(
                        _Causal(width, width, 3, dilation),
                        nn.BatchNorm1d(width),
                        nn.ReLU(),
                        _Causal(width, width, 3, dilation),
                        nn.BatchNorm1d(width),
                    )
                )
                for dilation in (1, 2, 4, 8)
            )
        )
        self.last = nn.Linear(width, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.blocks(self.first(x))[:, :, -1])


class _WaveNet(nn.Module):
    """Gated dilated convolutions, residual and skip connections."""

    def __init__(self, width: int = 16, dilations: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.first = nn.Conv1d(10, width, 1)
        self.filters, self.gates = (
            nn.ModuleList(_Causal(width, width, 2, dilation) for dilation in dilations)
            for _ in range(2)
        )
        self.skips, self.residuals = (
            nn.ModuleList(nn.Conv1d(width, width, 1) for _ in dilations) for _ in range(2)
        )
        self.last = nn.Sequential(
            nn.ReLU(), nn.Conv1d(width, 32, 1), nn.ReLU(), nn.Conv1d(32, 8, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        total = torch.zeros_like(x)
        layers = (self.filters, self.gates, self.skips, self.residuals)
        for filtered, gate, skip, residual in zip(*layers, strict=True):
            y = torch.tanh(filtered(x)) * torch.sigmoid(gate(x))
            total, x = total + skip(y), x + residual(y)
        y = self.last(total)
        return y.mean(2)


class _Recurrent(nn.Module):
    """A recurrent layer over frames; the answer is the last step's."""

    def __init__(
        self, cell: type[nn.GRU] | type[nn.LSTM], inputs: int = 10, classes: int = 12
    ) -> None:
        super().__init__()
        self.cell = cell(inputs, 32, batch_first=True)
        self.last = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cell(x)[0][:, -1])


class CRNN(nn.Module):
    """Convolutions over time and frequency, then an LSTM over time."""

    def __init__(self, classes: int = 12) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(1, 16, 3, 2), conv(16, 24, 3, 2))
        self.tail = _Recurrent(nn.LSTM, 72, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.tail(x.permute(0, 2, 1, 3).flatten(2))


def _accelerometer() -> nn.Module:
    return nn.Sequential(
        conv1d(3, 16, 5),
        nn.MaxPool1d(2),
        conv1d(16, 32, 5),
        nn.MaxPool1d(2),
        conv1d(32, 32, 3),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 6),
    )


def _ecg_resnet() -> nn.Module:
    widths = [(16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2)]
    blocks = [_residual1d(before, after, 7, stride) for before, after, stride in widths]
    return nn.Sequential(conv1d(1, 16, 15, 2), nn.MaxPool1d(3, 2, 1), *blocks, head1d(64, 5))


def _autoencoder() -> nn.Module:
    def layer(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())

    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers = [layer(*pair) for pair in pairwise(widths)]
    return nn.Sequential(*layers, nn.Linear(128, 640))


class _Pooled(nn.Module):
    """Mean and maximum over time, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(1, 16, 3, 2), conv(16, 32, 3, 2))
        self.last = nn.Linear(192, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.last(torch.cat((x.mean(2), x.amax(2)), 1).flatten(1))


class _Transformer(nn.Module):
    """Two blocks of attention over frames, norm first."""

    def __init__(self, width: int = 32, frames: int = 49) -> None:
        super().__init__()
        self.first = nn.Linear(10, width)
        self.positions = nn.Parameter(0.1 * torch.randn(1, frames, width))
        self.blocks = nn.ModuleList(_TransformerBlock(width) for _ in range(2))
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.last(self.norm(x).mean(1))


class _TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norms[1](x))


def _m5() -> nn.Module:
    """Return M5 of "Very Deep Convolutional Neural Networks for Raw Waveforms", a quarter wide."""
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, stride in (
        (1, 32, 80, 16),
        (32, 32, 3, 1),
        (32, 64, 3, 1),
        (64, 64, 3, 1),
    ):
        layers += [nn.Conv1d(inputs, outputs, kernel, stride), nn.BatchNorm1d(outputs), nn.ReLU()]
        layers.append(nn.MaxPool1d(4))
    return nn.Sequential(*layers, head1d(64, 35))


def _sensor_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3)
    )


ENTRIES = [
    Entry("DS-CNN", _ds_cnn, ((1, 49, 10),)),
    Entry("TC-ResNet8", tc_resnet8, ((40, 101),)),
    Entry("BC-ResNet-1", _BCResNet, ((1, 40, 101),)),
    Entry("MatchboxNet", _matchboxnet, ((64, 128),)),
    Entry("dilated TCN", _TCN, ((10, 64),)),
    Entry("WaveNet-like", _WaveNet, ((10, 64),)),
    Entry("GRU", lambda: _Recurrent(nn.GRU), ((49, 10),)),
    Entry("LSTM", lambda: _Recurrent(nn.LSTM), ((49, 10),)),
    Entry("CRNN", CRNN, ((1, 49, 10),)),
    Entry("accelerometer 1-D", _accelerometer, ((3, 128),)),
    Entry("ECG ResNet-1D", _ecg_resnet, ((1, 512),)),
    Entry("AD autoencoder", _autoencoder, ((640,),)),
    Entry("mean over time + concat", _Pooled, ((1, 49, 10),)),
    Entry("tiny transformer", _Transformer, ((49, 10),)),
    Entry("M5", _m5, ((1, 8000),)),
    Entry("sensor MLP with tanh", _sensor_mlp, ((12,),)),
]
