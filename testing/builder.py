"""A builder of operators that no search space has."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from micronas.graph import builder
from micronas.graph.ir import Activation, Op, Padding, Tensor


class Builder(builder.Builder):
    """Builder of any float32 graph."""

    def reduce(
        self,
        source: str,
        name: str,
        kind: Literal["MEAN", "SUM", "REDUCE_MAX"],
        axes: Sequence[int],
        *,
        keep: bool = False,
    ) -> str:
        """Append a reduction over axes, counted from 0, which are dropped or kept as 1."""
        table = self.constant(f"{name}/axes", np.array(axes, np.int32))
        sizes = enumerate(self.shape(source))
        out = tuple(1 if at in axes else size for at, size in sizes if keep or at not in axes)
        return self.append(Op(kind, name, (source, table), (name,)), out)

    def transposed(
        self,
        source: str,
        name: str,
        channels: int,
        kernel: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: Padding = "SAME",
        reach: tuple[int, int] | None = None,
        activation: Activation = "NONE",
    ) -> str:
        """Append a transposed convolution; with SAME padding, the map grows by the stride.

        `reach`, see `Op.reach`, gives another size of output.
        """
        _, height, width, depth = self.shape(source)
        down, across = reach or (stride if padding == "SAME" else kernel)
        out = (1, (height - 1) * stride[0] + down, (width - 1) * stride[1] + across, channels)
        constants = self._weights(name, (channels, *kernel, depth), channels)
        table = self.constant(f"{name}/shape", np.array(out, np.int32))
        op = Op(
            "TRANSPOSE_CONV",
            name,
            (source, *constants, table),
            (name,),
            stride,
            padding=padding,
            activation=activation,
            reach=(down, across),
        )
        return self.append(op, out)

    def resize(
        self,
        source: str,
        name: str,
        size: tuple[int, int],
        kind: Literal["RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"] = "RESIZE_NEAREST_NEIGHBOR",
        *,
        align_corners: bool = False,
        half_pixel: bool = False,
    ) -> str:
        """Append an operator that resizes a map to another height and width."""
        table = self.constant(f"{name}/size", np.array(size, np.int32))
        op = Op(
            kind, name, (source, table), (name,), align_corners=align_corners, half_pixel=half_pixel
        )
        return self.append(op, (1, *size, self.shape(source)[3]))

    def fold(self, source: str, name: str, block: int) -> str:
        """Append SPACE_TO_DEPTH: squares of pixels become channels, pixel by pixel."""
        _, height, width, depth = self.shape(source)
        out = (1, height // block, width // block, depth * block**2)
        return self.append(Op("SPACE_TO_DEPTH", name, (source,), (name,), block=block), out)

    def unfold(self, source: str, name: str, block: int) -> str:
        """Append DEPTH_TO_SPACE, the inverse of `fold`."""
        _, height, width, depth = self.shape(source)
        out = (1, height * block, width * block, depth // block**2)
        return self.append(Op("DEPTH_TO_SPACE", name, (source,), (name,), block=block), out)

    def softmax(self, source: str, name: str) -> str:
        return self.append(Op("SOFTMAX", name, (source,), (name,)), self.shape(source))

    def function(self, source: str, name: str, function: str, alpha: float = 0.0) -> str:
        """Append POSITIONS and TABLE: a function of one value, by its name in `train.functions`."""
        shape, places, table = self.shape(source), f"{name}/positions", f"{name}/table"
        self.append(Op("POSITIONS", places, (source,), (places,)), shape)
        self._tensors[places] = Tensor(places, shape, "int32")
        self._tensors[table] = Tensor(table, (256,), constant=True)
        op = Op("TABLE", name, (places, table), (name,), function=function, alpha=alpha)
        return self.append(op, shape)

    def another_input(self, name: str, shape: tuple[int, ...]) -> str:
        """Add an input; its shape includes the leading 1."""
        self._inputs.append(self.stand_in(name, shape))
        return name

    def learnt(self, tensor: Tensor) -> str:
        """Add a constant that is learnt, or a state; return its name."""
        self._tensors[tensor.name] = tensor
        return tensor.name
