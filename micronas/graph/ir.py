"""The device's view of a network: operators and tensors in the order they run, NHWC.

One representation serves three uses: shapes only (costs of a candidate), float32 (a trained
network with batch norm folded) and int8 (what the flatbuffer holds).
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from micronas.graph.operators import OPERATORS
from micronas.graph.operators import Kind as Kind
from micronas.graph.padding import same_output as same_output
from micronas.graph.padding import same_padding as same_padding

Unknown = Literal["UNKNOWN"]
"""An operator of a file that a graph cannot express, kept for its tensors alone."""
DataType = Literal[
    "float32",
    "int8",
    "int4",
    "int32",
    "uint8",
    "int16",
    "int64",
    "bool",
    "float16",
    "float64",
    "uint16",
    "uint32",
    "uint64",
]
"""Executable graphs hold int8, int4 and int32 alone; the others appear beside UNKNOWN operators."""
Padding = Literal["SAME", "VALID"]
Activation = Literal["NONE", "RELU", "RELU6"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = scale * (quantised - zero_point)."""

    scale: npt.NDArray[np.float32]
    """[1] per tensor, or [channels] per channel; float32 as stored in the file."""
    zero_point: int = 0
    axis: int | None = None
    """The channel dimension when per channel."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantization):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        """Scales bit for bit: they decide the integers a device computes with."""
        return self.scale.astype(np.float32).tobytes(), self.zero_point, self.axis


@dataclass(frozen=True)
class Tensor:
    """A value of the graph; constants have `constant` set, and data once they are known.

    Layouts of constants are TFLite's: CONV_2D filters [out, height, width, in],
    DEPTHWISE_CONV_2D filters [1, height, width, channels], FULLY_CONNECTED weights [out, in].
    """

    name: str
    shape: tuple[int, ...]
    dtype: DataType = "float32"
    constant: bool = False
    quantization: Quantization | None = None
    data: Array | None = field(default=None, repr=False, compare=False)
    """int4 data is held unpacked, one value of -8..7 an int8."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Op:
    """One operator. `inputs` are activation first, then weights, bias or other constants."""

    kind: Kind | Unknown
    name: str
    """The TFLite operator's where the kind is UNKNOWN."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stride: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    """Pooling window (height, width); for convolutions the filter's own shape says it."""
    padding: Padding = "SAME"
    activation: Activation = "NONE"
    axis: int = 0
    """The dimension along which CONCATENATION joins, counted from the first."""

    @property
    def operands(self) -> tuple[str, ...]:
        """The tensors an operator computes with: its inputs without weights and tables."""
        if self.kind == "UNKNOWN":
            return self.inputs
        return self.inputs[: OPERATORS[self.kind].operands]


@dataclass(frozen=True)
class Graph:
    """Operators in execution order; tensors by name, in the order the file lists them."""

    tensors: dict[str, Tensor]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def input_of(self, op: Op) -> Tensor:
        """The activation an operator reads first."""
        return self.tensors[op.inputs[0]]

    def output_of(self, op: Op) -> Tensor:
        return self.tensors[op.outputs[0]]

    def constant_of(self, op: Op, position: int = 1) -> Tensor:
        """The operator's weights (position 1) or bias (position 2)."""
        return self.tensors[op.inputs[position]]
