"""Appends operators to a growing graph and works out their output shapes."""

from collections.abc import Callable
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
"""Of a weight in the file; activations always have 8."""

Parameters = Callable[[str], tuple[Array, Array]]
"""Given an operator's name, its float32 weights (TFLite layout) and bias."""


class Builder:
    """Builds a float32 graph of one input.

    Parameters
    ----------
    input_shape
        Height, width, channels.
    parameters
        Source of weights and biases; without it the graph has shapes only, which is enough to
        count costs.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], parameters: Parameters | None = None
    ) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._ops: list[Op] = []
        self._taken = 0
        self._parameters = parameters
        self.input = self.stand_in("input", (1, *input_shape))

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
        """Convolution with SAME padding.

        Weights that shall have 4 bits are marked int4 from the start, whatever data they hold:
        costs are counted, and rounding is chosen, by that mark.
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
        """Depthwise convolution; each channel gives `multiplier` channels."""
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

    def dense(self, source: str, name: str, features: int) -> str:
        """Fully connected layer on the flattened source; TFLite needs no RESHAPE before it."""
        depth = int(np.prod(self.shape(source)))
        constants = self._weights(name, (features, depth), features)
        op = Op("FULLY_CONNECTED", name, (source, *constants), (name,))
        return self.append(op, (1, features))

    def global_average(self, source: str, name: str) -> str:
        """AVERAGE_POOL_2D over the whole map: 20 times cheaper on Cortex-M than MEAN."""
        _, height, width, depth = self.shape(source)
        padding: Padding = "VALID"
        op = Op(
            "AVERAGE_POOL_2D",
            name,
            (source,),
            (name,),
            (height, width),
            (height, width),
            padding,
        )
        return self.append(op, (1, 1, 1, depth))

    def add(self, left: str, right: str, name: str) -> str:
        """Elementwise sum; where widths differ the narrower tensor is padded with zero channels.

        This is what the published MicroNet files do (PAD, then ADD).
        """
        width = max(self.shape(left)[-1], self.shape(right)[-1])
        left, right = (self._pad_channels(side, f"{name}/pad", width) for side in (left, right))
        return self.append(Op("ADD", name, (left, right), (name,)), self.shape(left))

    def reshape(self, source: str, name: str, shape: tuple[int, ...]) -> str:
        target = self.constant(f"{name}/shape", np.array(shape, np.int32))
        return self.append(Op("RESHAPE", name, (source, target), (name,)), shape)

    def mean(self, source: str, name: str) -> str:
        """MEAN over the whole map, [1, channels]: what Keras' global average converts to."""
        axes = self.constant(f"{name}/axes", np.array([1, 2], np.int32))
        return self.append(Op("MEAN", name, (source, axes), (name,)), (1, self.shape(source)[-1]))

    def softmax(self, source: str, name: str) -> str:
        return self.append(Op("SOFTMAX", name, (source,), (name,)), self.shape(source))

    def append(self, op: Op, shape: tuple[int, ...]) -> str:
        """Append an operator whose inputs are there, and its output; return the output's name."""
        self._ops.append(op)
        return self.stand_in(op.outputs[0], shape)

    def stand_in(self, name: str, shape: tuple[int, ...]) -> str:
        """Add an activation that no operator writes: one of several tensors, chosen later."""
        self._tensors[name] = Tensor(name, shape)
        return name

    def taken(self) -> list[Op]:
        """Return the operators appended since the last call."""
        start, self._taken = self._taken, len(self._ops)
        return self._ops[start:]

    def finish(self, output: str) -> Graph:
        return Graph(self._tensors, tuple(self._ops), (self.input,), (output,))

    def _pad_channels(self, source: str, name: str, width: int) -> str:
        shape = self.shape(source)
        if shape[-1] == width:
            return source
        amounts = np.array([[0, 0], [0, 0], [0, 0], [0, width - shape[-1]]], np.int32)
        table = self.constant(f"{name}/amounts", amounts)
        return self.append(Op("PAD", name, (source, table), (name,)), (*shape[:-1], width))

    def constant(self, name: str, data: Array) -> str:
        """Add a constant, int32 or float32 as its data are; return its name."""
        dtype: DataType = "float32" if data.dtype.kind == "f" else "int32"
        self._tensors[name] = Tensor(name, data.shape, dtype, True, data=data)
        return name

    def _weights(
        self, name: str, shape: tuple[int, ...], channels: int, bits: Bits = 8
    ) -> tuple[str, str]:
        weights, bias = self._parameters(name) if self._parameters else (None, None)
        names = f"{name}/weights", f"{name}/bias"
        dtype: DataType = "int4" if bits == 4 else "float32"
        self._tensors[names[0]] = Tensor(names[0], shape, dtype, True, data=weights)
        self._tensors[names[1]] = Tensor(names[1], (channels,), constant=True, data=bias)
        return names
