"""Weights that all networks of a space share: one unit for each operator with weights.

A unit holds its largest filter. A network uses a part of it: the channels it reads and writes and
the centre of the kernel, rounded to 4 bits where chosen.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.graph.ir import Op
from micronas.space.channels import Channels, Numbers
from micronas.space.decisions import Choice
from micronas.train.convolutions import linear

if TYPE_CHECKING:
    from micronas.nas.convert.layers import Layer

Part = slice | Tensor
"""Some channels: the first ones, or those at given positions."""


class SharedUnit(ABC):
    """A filter at its largest, and its bias or batch norm."""

    @abstractmethod
    def largest(self) -> Tensor:
        """Return the weights [out, in, height, width], or [out, in] in the order of the graph."""

    @abstractmethod
    def bias_of(self, out: Part) -> Tensor | None:
        """Return the bias of some output channels, if there is one."""

    @abstractmethod
    def normalise(self, y: Tensor, out: Part, *, running: bool) -> Tensor:
        """Apply batch norm, if there is one, to some output channels.

        The statistics are those of the batch: running statistics of one width do not hold for
        another, so a network is evaluated on one large batch, which is the recalibration that
        shared weights need. With `running`, the batch norm behaves like the user's own layer.
        """

    def run(self, op: Op, x: Tensor, weight: Tensor, out: Part, *, running: bool) -> Tensor:
        """Run an operator with the part of the weights that writes these channels."""
        return self.normalise(linear(op, x, weight, self.bias_of(out)), out, running=running)


class FreshUnit(nn.Module, SharedUnit):
    """A unit with its own weights.

    `shape` is [out, in, height, width] or [out, in]; with `norm` the output is normalised,
    otherwise a bias is added.
    """

    def __init__(self, shape: Sequence[int], *, norm: bool) -> None:
        super().__init__()
        width = shape[0]
        self.weight = nn.Parameter(torch.empty(*shape))
        # PyTorch's default scale: larger ones learn more slowly
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.scale = nn.Parameter(torch.ones(width)) if norm else None
        self.shift = nn.Parameter(torch.zeros(width)) if norm else None
        self.bias = None
        if not norm:
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))

    def largest(self) -> Tensor:
        return self.weight

    def cut(self, width: int, depth: int) -> None:
        """Keep the filters of the first `width` output channels, for `depth` input channels."""
        for name, parameter in [*self.named_parameters()]:
            kept = parameter[:width, :depth] if parameter.ndim > 1 else parameter[:width]
            setattr(self, name, nn.Parameter(kept.detach().clone()))

    def bias_of(self, out: Part) -> Tensor | None:
        return None if self.bias is None else self.bias[out]

    def offsets(self, out: Part) -> tuple[Tensor, ...]:
        """Return scale and shift of some output channels, or else their bias."""
        return tuple(each[out] for each in (self.scale, self.shift, self.bias) if each is not None)

    def normalise(self, y: Tensor, out: Part, *, running: bool) -> Tensor:
        if self.scale is None or self.shift is None:
            return y
        return F.batch_norm(y, None, None, self.scale[out], self.shift[out], training=True)


class LayerUnit(SharedUnit):
    """The weights of a user's layer, and of the batch norm after it, in place.

    The training or eval mode of `module`, which has the layer, applies.
    """

    def __init__(self, layer: "Layer", module: nn.Module) -> None:
        part = None if layer.path is None else module.get_submodule(layer.path)
        norm = None if layer.norm is None else module.get_submodule(layer.norm)
        assert part is None or isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear)
        assert norm is None or isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        self._layer, self._norm = part, norm
        self._shift = layer.shift
        self._is_map = layer.op.kind != "FULLY_CONNECTED"
        self._rows, self._columns = (_order(each) for each in (layer.rows, layer.columns))

    def largest(self) -> Tensor:
        if self._layer is None:
            assert self._norm is not None, "a layer or a batch norm gave the operator"
            example = self._norm.running_mean
            assert example is not None, "a trace takes running statistics only"
            return torch.ones(len(example), 1, 1, 1, device=example.device)
        weight: Tensor = self._layer.weight
        if self._is_map:  # a sequence is one of width 1, and rows are its pixels
            weight = weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim))
        weight = weight if self._rows is None else weight[self._rows]
        return weight if self._columns is None else weight[:, self._columns]

    def bias_of(self, out: Part) -> Tensor | None:
        return None if self._layer is None else self._stored(self._layer.bias, out)

    def normalise(self, y: Tensor, out: Part, *, running: bool) -> Tensor:
        y = self._normalised(y, out, running=running)
        return y + self._shift if self._shift else y

    def _normalised(self, y: Tensor, out: Part, *, running: bool) -> Tensor:
        norm = self._norm
        if norm is None:
            return y
        if running and norm.training and y.shape[1] == norm.num_features:
            y = y if self._rows is None else y[:, self._rows.argsort()]
            # sequences are maps [N, channels, length, 1] here
            is_sequence = isinstance(norm, nn.BatchNorm1d) and y.ndim == 4
            found: Tensor = norm(y.flatten(2) if is_sequence else y).view_as(y)
            return found if self._rows is None else found[:, self._rows]
        weight, bias, means, variances = (
            self._stored(each, out)
            for each in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        )
        if not running or norm.training:
            return F.batch_norm(y, None, None, weight, bias, training=True, eps=norm.eps)
        return F.batch_norm(y, means, variances, weight, bias, eps=norm.eps)

    def _stored(self, values: Tensor | None, out: Part) -> Tensor | None:
        """Return values of some output channels, in the order they are stored in."""
        if values is None:
            return None
        return values[out] if self._rows is None else values[self._rows][out]


def _order(places: Numbers | None) -> Tensor | None:
    """Return places as an index; None for channels in order."""
    if places is None or bool((places == np.arange(len(places))).all()):
        return None
    return torch.from_numpy(places)


def cut_kernel(weight: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Return the centre of a superkernel [out, in, height, width]."""
    rows, columns = ((weight.shape[2 + axis] - kernel[axis]) // 2 for axis in (0, 1))
    return weight[:, :, rows : rows + kernel[0], columns : columns + kernel[1]]


def part_of(channels: Channels, choice: Choice, device: torch.device, *, repeats: int = 1) -> Part:
    """Return the positions of the existing channels among `repeats` times all channels."""
    if channels.is_prefix and repeats == 1:
        return slice(0, channels.width(choice))
    kept = np.tile(channels.kept(choice), repeats)
    return torch.from_numpy(np.flatnonzero(kept)).to(device)
