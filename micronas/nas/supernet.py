"""The supernet: one set of weights, at the largest width and kernel, shared by all networks."""

import os

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.nas.gates import Sample, is_one_hot
from micronas.nas.one_hot import OneHotPath, convolve_shown, whole
from micronas.nas.path import Feature, MaskedPath, Path, SlicedPath
from micronas.space.search_space import (
    BottleneckSpace,
    Choice,
    SearchSpace,
    stage_blocks,
)
from micronas.train.network import same_conv2d

# Each set of widths is a shape of its own to oneDNN, which generates code for it and by default
# forgets all but 1024: a fifth of a step. The first convolution of a process reads the variable.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32768")


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

    def along(self, source: Feature, width: str, bits: str, path: Path) -> Feature:
        """Convolve a mixed feature map; `width` and `bits` are the names of decisions."""
        computed, shown = path.width(width), path.shown(width)
        weight = self.weight[:computed, : source.channels]
        weight = path.rounded(bits, weight, source.mask)
        values = self._part(source, weight, slice(0, shown))
        feature = Feature(values, path.width_mask(width), waits=True)
        if shown == computed:
            return feature
        with torch.no_grad():
            return feature._replace(hidden=self._part(source, weight, slice(shown, computed)))

    def _part(self, source: Feature, weight: Tensor, channels: slice) -> Tensor:
        if source.hidden is None:
            y = same_conv2d(source.values, weight[channels], stride=self.stride)
        else:
            y = convolve_shown(source.values, source.hidden, weight[channels])
        return self._normalise(y, channels)

    def _normalise(self, y: Tensor, channels: slice) -> Tensor:
        scale, shift = self.scale[channels], self.shift[channels]
        return F.batch_norm(y, None, None, scale, shift, training=True)


class SharedDepthwise(SharedConv):
    """One superkernel: smaller kernels are its centre."""

    def __init__(self, width: int, kernel: int, stride: tuple[int, int]):
        super().__init__(1, width, (kernel, kernel), stride)

    def over(self, source: Feature, name: str, path: Path) -> Feature:
        weight = path.kernel(name, self.weight[: source.channels])

        def part(x: Tensor, channels: slice) -> Tensor:
            y = same_conv2d(x, weight[channels], stride=self.stride, groups=x.shape[1])
            return self._normalise(y, channels)

        return source.each(part)


class SharedNetwork(nn.Module):
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
        path = OneHotPath if is_one_hot(gates) else MaskedPath
        return self._run(x, path(self.space, gates))

    def _run(self, x: Tensor, path: Path) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        feature = self._active(self._conv("stem", Feature(x), "stem.width", "stem.bits", path))
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
            feature = self._conv("head", path.mix(feature), "head.width", "head.bits", path)
            feature = self._active(feature)
        pooled = path.mix(feature.each(lambda y, _: y.mean((2, 3), keepdim=True)))
        mixed = whole(pooled).values.flatten(1)
        return F.linear(mixed, self.classifier.weight[:, : mixed.shape[1]], self.classifier.bias)

    def _separable(self, name: str, feature: Feature, path: Path) -> Feature:
        hidden = self._active(self._depthwise(name, feature, path))._replace(waits=True)
        narrow = self._conv(
            f"{name}.project", path.mix(hidden), f"{name}.width", f"{name}.bits", path
        )
        return self._active(narrow)

    def _bottleneck(
        self, stage: BottleneckSpace, name: str, feature: Feature, path: Path
    ) -> Feature:
        skip = path.mix(feature)
        width, expansion, bits = f"{name}.width", f"{name}.expansion", f"{name}.bits"

        def branch() -> Feature:
            hidden = self._active(self._conv(f"{name}.expand", skip, expansion, bits, path))
            hidden = self._active(self._depthwise(name, hidden, path))
            return self._conv(f"{name}.project", path.mix(hidden), width, bits, path)

        if not stage.residual:
            return branch()
        return path.residual(
            f"{name}.keep" if stage.skip else None, skip, lambda: path.mix(branch())
        )

    def _active(self, feature: Feature) -> Feature:
        function = F.relu if self.space.activation == "relu" else F.relu6
        return feature.each(lambda y, _: function(y))

    def _conv(self, name: str, source: Feature, width: str, bits: str, path: Path) -> Feature:
        unit = self.units[_key(name)]
        assert isinstance(unit, SharedConv)
        return unit.along(source, width, bits, path)

    def _depthwise(self, name: str, source: Feature, path: Path) -> Feature:
        unit = self.units[_key(f"{name}.depthwise")]
        assert isinstance(unit, SharedDepthwise)
        return unit.over(source, f"{name}.kernel", path)

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
