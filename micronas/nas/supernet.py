"""The supernet: one set of weights, at the largest width and kernel, shared by all networks."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.layers import same_conv2d
from micronas.nas.gates import Sample
from micronas.nas.path import Feature, MaskedPath, Path, SlicedPath
from micronas.search_space import (
    BottleneckSpace,
    Choice,
    SearchSpace,
    stage_blocks,
)


class SharedConv(nn.Module):
    """A convolution and batch norm at their largest, of which a path uses a part.

    Batch norm always normalises by the statistics of the batch at hand: running statistics of
    one width say nothing about another, so a network is judged on one large batch instead, which
    is the recalibration that shared weights need.
    """

    def __init__(self, depth: int, width: int, kernel: tuple[int, int], stride: tuple[int, int]):
        super().__init__()
        plain = nn.Conv2d(depth, width, kernel, bias=False)
        self.weight = plain.weight  # PyTorch's default scale: larger ones learn more slowly
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))
        self.stride = stride

    def along(self, source: Feature, width: str, bits: str, path: Path) -> Tensor:
        """Convolve a mixed feature map; `width` and `bits` are the names of decisions."""
        x, present = source.values, source.mask
        weight = path.rounded(bits, self.weight[: path.width(width), : x.shape[1]], present)
        return self._normalise(same_conv2d(x, weight, stride=self.stride))

    def _normalise(self, y: Tensor) -> Tensor:
        width = y.shape[1]
        return F.batch_norm(y, None, None, self.scale[:width], self.shift[:width], training=True)


class SharedDepthwise(SharedConv):
    """One superkernel: smaller kernels are its centre."""

    def __init__(self, width: int, kernel: int, stride: tuple[int, int]):
        super().__init__(1, width, (kernel, kernel), stride)

    def over(self, x: Tensor, name: str, path: Path) -> Tensor:
        weight = path.kernel(name, self.weight[: x.shape[1]])
        return self._normalise(same_conv2d(x, weight, stride=self.stride, groups=x.shape[1]))


class Supernet(nn.Module):
    """All networks of a search space.

    Parameters
    ----------
    space
        The search space. Inputs are float32 [N, channels, height, width], outputs logits
        [N, classes].
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        self.units = nn.ModuleDict()
        stem = space.stem
        width = self._add_conv("stem", space.input[2], stem.width, stem.kernel, stem.stride)
        for number, stage in enumerate(space.stages, 1):
            entering = width
            for name in stage_blocks(stage, number):
                hidden = width
                if isinstance(stage, BottleneckSpace):
                    hidden = self._add_conv(f"{name}.expand", width, stage.expansion)
                depthwise = SharedDepthwise(hidden, stage.kernel[-1], stage.stride)
                self.units[_key(f"{name}.depthwise")] = depthwise
                narrow = self._add_conv(f"{name}.project", hidden, stage.width)
                keeps_input = isinstance(stage, BottleneckSpace) and stage.residual
                width = max(narrow, width) if keeps_input else narrow
            if stage.skip:
                width = max(width, entering)
        if space.head.width is not None:
            width = self._add_conv("head", width, space.head.width)
        self.classifier = nn.Linear(width, space.classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def sliced(self, x: Tensor, choice: Choice) -> Tensor:
        """Logits of the chosen network, at its own cost."""
        return self._run(x, SlicedPath(self.space, choice))

    def masked(self, x: Tensor, gates: Sample) -> Tensor:
        """Logits under gates, with a gradient to every option."""
        return self._run(x, MaskedPath(self.space, gates))

    def _run(self, x: Tensor, path: Path) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        stem = self._active(self._conv("stem", Feature(x), "stem.width", "stem.bits", path))
        feature = Feature(stem, path.width_mask("stem.width"), waits=True)
        for number, stage in enumerate(self.space.stages, 1):
            names = stage_blocks(stage, number)
            if isinstance(stage, BottleneckSpace):
                for name in names:
                    feature = self._bottleneck(stage, name, feature, path)
            else:
                feature = path.prefix(
                    f"stage{number}.depth",
                    stage.repeat,
                    lambda position, value, names=names: self._separable(  # type: ignore[misc]
                        names[position], value, path
                    ),
                    feature,
                )
        if self.space.head.width is not None:
            hidden = self._conv("head", feature.mixed(), "head.width", "head.bits", path)
            feature = Feature(self._active(hidden), path.width_mask("head.width"), waits=True)
        pooled = feature._replace(values=feature.values.mean((2, 3), keepdim=True))
        mixed = pooled.mixed().values.flatten(1)
        return F.linear(mixed, self.classifier.weight[:, : mixed.shape[1]], self.classifier.bias)

    def _separable(self, name: str, feature: Feature, path: Path) -> Feature:
        width, bits = f"{name}.width", f"{name}.bits"
        hidden = self._active(self._depthwise(name, feature.values, path))
        mixed = feature._replace(values=hidden).mixed()
        narrow = self._conv(f"{name}.project", mixed, width, bits, path)
        return Feature(self._active(narrow), path.width_mask(width), waits=True)

    def _bottleneck(
        self, stage: BottleneckSpace, name: str, feature: Feature, path: Path
    ) -> Feature:
        skip = feature.mixed()
        width, expansion, bits = f"{name}.width", f"{name}.expansion", f"{name}.bits"

        def branch() -> Feature:
            hidden = self._active(self._conv(f"{name}.expand", skip, expansion, bits, path))
            hidden = self._active(self._depthwise(name, hidden, path))
            mixed = Feature(hidden, path.width_mask(expansion), waits=True).mixed()
            narrow = self._conv(f"{name}.project", mixed, width, bits, path)
            return Feature(narrow, path.width_mask(width), waits=True).mixed()

        if not stage.residual:
            return branch()
        return path.residual(f"{name}.keep" if stage.skip else None, skip, branch)

    def _active(self, y: Tensor) -> Tensor:
        return F.relu(y) if self.space.activation == "relu" else F.relu6(y)

    def _conv(self, name: str, source: Feature, width: str, bits: str, path: Path) -> Tensor:
        unit = self.units[_key(name)]
        assert isinstance(unit, SharedConv)
        return unit.along(source, width, bits, path)

    def _depthwise(self, name: str, x: Tensor, path: Path) -> Tensor:
        unit = self.units[_key(f"{name}.depthwise")]
        assert isinstance(unit, SharedDepthwise)
        return unit.over(x, f"{name}.kernel", path)

    def _add_conv(
        self,
        name: str,
        depth: int,
        widths: tuple[int, ...],
        kernel: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
    ) -> int:
        self.units[_key(name)] = SharedConv(depth, widths[-1], kernel, stride)
        return widths[-1]


def _key(name: str) -> str:
    return name.replace(".", "_")
