"""Layers that the hand-written networks share."""

from collections.abc import Callable

from torch import Tensor, nn

Activation = Callable[[], nn.Module]


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    activation: Activation = nn.ReLU,
) -> nn.Sequential:
    """Convolution, norm, activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        norm(outputs),
        activation(),
    )


def conv1d(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    *,
    dilation: int = 1,
    groups: int = 1,
    activation: Activation = nn.ReLU,
) -> nn.Sequential:
    """Convolution over time that keeps the length (over its stride), norm, activation."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm1d(outputs),
        activation(),
    )


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Depthwise and pointwise convolution of MobileNetV1 and DS-CNN."""
    return nn.Sequential(conv(inputs, inputs, 3, stride, groups=inputs), conv(inputs, outputs, 1))


class Inverted(nn.Module):
    """Inverted residual of MobileNetV2."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, factor: int = 4) -> None:
        super().__init__()
        inner = factor * inputs
        self.inner = nn.Sequential(
            conv(inputs, inner, 1, activation=nn.ReLU6),
            conv(inner, inner, 3, stride, groups=inner, activation=nn.ReLU6),
            conv(inner, outputs, 1, activation=nn.Identity),
        )
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return x + y if self.is_residual else y


class Residual(nn.Module):
    """Sum of a branch and a shortcut, then ReLU."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut or nn.Identity()
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.branch(x) + self.shortcut(x))


def basic(inputs: int, outputs: int, stride: int = 1) -> Residual:
    """Two 3x3 convolutions of a ResNet."""
    branch = nn.Sequential(
        conv(inputs, outputs, 3, stride), conv(outputs, outputs, activation=nn.Identity)
    )
    is_plain = stride == 1 and inputs == outputs
    return Residual(
        branch, None if is_plain else conv(inputs, outputs, 1, stride, activation=nn.Identity)
    )


def head(channels: int, classes: int) -> nn.Sequential:
    """Average over the map, and a classifier."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def head1d(channels: int, classes: int) -> nn.Sequential:
    """Average over time, and a classifier."""
    return nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, classes))
