"""Build a graph operator by operator, with the shapes of outputs."""

from typing import Literal

import numpy as np

from micronas.graph.ir import (
    Activation,
    Array,
    DataType,
    Graph,
    Op,
    Padding,
    Tensor,
    extent,
    same_output,
)

Bits = Literal[8, 4]
"""Bits of a weight in the file; activations always have 8."""


class Builder:
    """Builder of a float32 graph of shapes, which are enough to count costs. Input shapes are
    height, width, channels.
    """

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._ops: list[Op] = []
        self._taken = 0
        self.input = self.stand_in("input", (1, *input_shape))
        self._inputs = [self.input]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def conv(
        self,
        source: str,
        name: str,
        channels: int,
        kernel: tuple[int, int] = (1, 1),
        *,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        activation: Activation = "NONE",
        bits: Bits = 8,
    ) -> str:
        """Append a convolution with SAME padding.

        Weights of 4 bits are marked int4 from the start, whatever data they hold: costs and
        rounding depend on that mark.
        """
        _, height, width, depth = self.shape(source)
        constants = self._weights(name, (channels, *kernel, depth // groups), channels, bits)
        out = (1, same_output(height, stride[0]), same_output(width, stride[1]), channels)
        op = Op(
            "CONV_2D",
            name,
            (source, *constants),
            (name,),
            stride,
            activation=activation,
            dilation=dilation,
        )
        return self.append(op, out)

    def depthwise(
        self,
        source: str,
        name: str,
        kernel: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        multiplier: int = 1,
        padding: Padding = "SAME",
        activation: Activation = "NONE",
    ) -> str:
        """Append a depthwise convolution; each channel gives `multiplier` channels."""
        _, height, width, depth = self.shape(source)
        channels = depth * multiplier
        constants = self._weights(name, (1, *kernel, channels), channels)
        if padding == "VALID":
            height -= extent(kernel[0], dilation[0]) - 1
            width -= extent(kernel[1], dilation[1]) - 1
        out = (1, same_output(height, stride[0]), same_output(width, stride[1]), channels)
        op = Op(
            "DEPTHWISE_CONV_2D",
            name,
            (source, *constants),
            (name,),
            stride,
            padding=padding,
            activation=activation,
            dilation=dilation,
        )
        return self.append(op, out)

    def dense(
        self, source: str, name: str, features: int, *, activation: Activation = "NONE"
    ) -> str:
        """Append a fully connected layer on the flattened source, which needs no RESHAPE."""
        depth = int(np.prod(self.shape(source)))
        constants = self._weights(name, (features, depth), features)
        inputs = (source, *constants)
        op = Op("FULLY_CONNECTED", name, inputs, (name,), activation=activation)
        return self.append(op, (1, features))

    def global_average(self, source: str, name: str) -> str:
        """Append AVERAGE_POOL_2D over the whole map: 20 times cheaper on Cortex-M than MEAN."""
        _, height, width, _ = self.shape(source)
        whole = height, width
        return self.pool(source, name, "AVERAGE_POOL_2D", whole, stride=whole, padding="VALID")

    def add(self, left: str, right: str, name: str, *, activation: Activation = "NONE") -> str:
        """Append an elementwise sum; the narrower tensor is padded with channels of zeros.

        The published MicroNet files do the same (PAD, then ADD).
        """
        width = max(self.shape(left)[-1], self.shape(right)[-1])
        left, right = (self._pad_channels(side, f"{name}/pad", width) for side in (left, right))
        op = Op("ADD", name, (left, right), (name,), activation=activation)
        return self.append(op, self.shape(left))

    def mul(self, left: str, right: str, name: str) -> str:
        """Append an elementwise product; the right operand may be one factor per channel."""
        return self.append(Op("MUL", name, (left, right), (name,)), self.shape(left))

    def logistic(self, source: str, name: str) -> str:
        return self.append(Op("LOGISTIC", name, (source,), (name,)), self.shape(source))

    def reshape(self, source: str, name: str, shape: tuple[int, ...]) -> str:
        target = self.constant(f"{name}/shape", np.array(shape, np.int32))
        return self.append(Op("RESHAPE", name, (source, target), (name,)), shape)

    def mean(self, source: str, name: str) -> str:
        """Append MEAN over the whole map, [1, channels], the form of Keras' global average."""
        axes = self.constant(f"{name}/axes", np.array((1, 2), np.int32))
        return self.append(Op("MEAN", name, (source, axes), (name,)), (1, self.shape(source)[3]))

    def pool(
        self,
        source: str,
        name: str,
        kind: Literal["AVERAGE_POOL_2D", "MAX_POOL_2D"],
        window: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: Padding = "SAME",
    ) -> str:
        """Append a pool; with SAME padding only pixels inside the map count."""
        _, *area, depth = self.shape(source)
        sides = zip(area, window, stride, strict=True)
        if padding == "VALID":
            sizes = [(size - taps) // step + 1 for size, taps, step in sides]
        else:
            sizes = [same_output(size, step) for size, _, step in sides]
        op = Op(kind, name, (source,), (name,), stride, window, padding)
        return self.append(op, (1, *sizes, depth))

    def append(self, op: Op, shape: tuple[int, ...]) -> str:
        """Append an operator on existing inputs, and its output; return the output's name."""
        self._ops.append(op)
        return self.stand_in(op.outputs[0], shape)

    def stand_in(self, name: str, shape: tuple[int, ...]) -> str:
        """Add an activation that no operator writes yet: one of several tensors, chosen later."""
        self._tensors[name] = Tensor(name, shape)
        return name

    def taken(self) -> list[Op]:
        """Return the operators appended since the last call."""
        start, self._taken = self._taken, len(self._ops)
        return self._ops[start:]

    def finish(self, *outputs: str) -> Graph:
        return Graph(self._tensors, tuple(self._ops), tuple(self._inputs), outputs)

    def _pad_channels(self, source: str, name: str, width: int) -> str:
        shape = self.shape(source)
        if shape[-1] == width:
            return source
        amounts = np.array([[0, 0], [0, 0], [0, 0], [0, width - shape[-1]]], np.int32)
        table = self.constant(f"{name}/amounts", amounts)
        return self.append(Op("PAD", name, (source, table), (name,)), (*shape[:-1], width))

    def constant(self, name: str, data: Array) -> str:
        """Add a constant, float32 for data of floats and int32 for others; return its name."""
        dtype: DataType = "float32" if data.dtype.kind == "f" else "int32"
        self._tensors[name] = Tensor(name, data.shape, dtype, True, data=data)
        return name

    def _weights(
        self, name: str, shape: tuple[int, ...], channels: int, bits: Bits = 8
    ) -> tuple[str, str]:
        names = f"{name}/weights", f"{name}/bias"
        dtype: DataType = "int4" if bits == 4 else "float32"
        self._tensors[names[0]] = Tensor(names[0], shape, dtype, True)
        self._tensors[names[1]] = Tensor(names[1], (channels,), constant=True)
        return names
