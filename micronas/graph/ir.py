"""Network as a device runs it: operators in order, and their tensors, NHWC.

One representation has three uses: shapes only (costs of a candidate), float32 (a trained network
with batch norm folded) and int8 (contents of the flatbuffer).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from micronas.graph.operators import FOREIGN, OPERATORS, Operator
from micronas.graph.operators import Kind as Kind
from micronas.graph.padding import extent as extent
from micronas.graph.padding import same_output as same_output
from micronas.graph.padding import same_padding as same_padding

Unknown = Literal["UNKNOWN"]
"""Kind of a file's operators that a graph cannot express; they are kept for their tensors."""
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
"""Types of tensors. Executable graphs hold int8, int4 and int32, and int16 states; those of
`micronas.tflite.reader.read` with `wide` also int16 activations with int64 biases. Others appear
beside UNKNOWN operators."""
Padding = Literal["SAME", "VALID"]
Activation = Literal["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]
LIMITS: Mapping[Activation, tuple[int, int | None]] = {
    "RELU": (0, None),
    "RELU6": (0, 6),
    "RELU_N1_TO_1": (-1, 1),
}
"""Lowest and highest value of a fused activation."""

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = scale * (quantised - zero_point)."""

    scale: npt.NDArray[np.float32]
    """Scales, [1] per tensor or [channels] per channel; float32 as stored in the file."""
    zero_point: int = 0
    axis: int | None = None
    """Channel dimension of scales per channel."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantization):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        """Return a key with scales bit for bit, since they determine a device's integers."""
        return self.scale.astype(np.float32).tobytes(), self.zero_point, self.axis


@dataclass(frozen=True)
class Tensor:
    """A value of the graph; constants have `constant` set, and data once it is known.

    Layouts of constants are TFLite's: CONV_2D and TRANSPOSE_CONV filters [out, height, width, in],
    DEPTHWISE_CONV_2D filters [1, height, width, channels], FULLY_CONNECTED weights [out, in].
    """

    name: str
    shape: tuple[int, ...]
    dtype: DataType = "float32"
    constant: bool = False
    quantization: Quantization | None = None
    data: Array | None = field(default=None, repr=False, compare=False)
    """Values of a constant; int4 is unpacked, one value of -8..7 per int8."""
    variable: bool = False
    """Whether it is a state, kept from run to run: in a graph a constant without data."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def per_channel(self) -> bool:
        """Whether each channel has a scale of its own."""
        return self.quantization is not None and self.quantization.axis is not None


def table(name: str, numbers: npt.ArrayLike) -> Tensor:
    """Return a constant of int32, such as axes, sizes or paddings."""
    data = np.array(numbers, np.int32)
    return Tensor(name, data.shape, "int32", True, data=data)


@dataclass(frozen=True)
class Op:
    """One operator. `inputs` are activations first, then weights, bias and other constants."""

    kind: Kind | Unknown
    name: str
    """Unique name, or that of TFLite's operator where the kind is UNKNOWN."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stride: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    """Pooling window (height, width); that of a convolution is its filter's."""
    padding: Padding = "SAME"
    activation: Activation = "NONE"
    dilation: tuple[int, int] = (1, 1)
    """Pixels from one tap of a convolution's filter to the next, down and across."""
    reach: tuple[int, int] = (1, 1)
    """Rows and columns that a TRANSPOSE_CONV writes for its last pixel; an output side is
    (in - 1) x stride + reach. It is 1 to stride with SAME padding, and the filter's side or up to
    stride - 1 more with VALID.
    """
    align_corners: bool = False
    """Whether the centres of corner pixels stay in place when a map is resized."""
    half_pixel: bool = False
    """Whether positions of a resized map are those of pixels' centres, not of their corners."""
    block: int = 1
    """Side of the squares that SPACE_TO_DEPTH and DEPTH_TO_SPACE move into channels and back."""
    symmetric: bool = False
    """Whether MIRROR_PAD repeats the values at the edge; otherwise they are the mirror."""
    axis: int = 0
    """Dimension along which CONCATENATION joins and GATHER picks, counted from the first."""
    transposed: tuple[bool, bool] = (False, False)
    """Whether the last two dimensions of each BATCH_MATMUL operand are exchanged."""
    clip: float = 0.0
    """Largest value of a cell of UNIDIRECTIONAL_SEQUENCE_LSTM; 0 for any."""
    masks: tuple[int, int, int] = (0, 0, 0)
    """Masks of STRIDED_SLICE, a bit per axis: axes whose begin is ignored, axes whose end is
    ignored, and axes dropped from the output."""
    alpha: float = 0.0
    """Slope of LEAKY_RELU below zero, or the parameter of a TABLE's function."""
    function: str = ""
    """Function of a TABLE, a name in `train.functions`; empty in a graph read from a file."""

    @property
    def row(self) -> Operator:
        """Facts of its kind; those of no weights or other features where it is UNKNOWN."""
        return FOREIGN if self.kind == "UNKNOWN" else OPERATORS[self.kind]

    @property
    def learnt(self) -> tuple[str, ...]:
        """Weights, then the bias if there is one; () for an operator without weights."""
        learns = self.row.weights or self.row.recurrent
        return self.inputs[1 : len(self.inputs) - self.row.tables] if learns else ()

    @property
    def biases(self) -> tuple[str, ...]:
        """Learnt constants that are added; a recurrent operator has a bias per gate."""
        return self.learnt[8 if self.row.recurrent else 1 :]

    @property
    def operands(self) -> tuple[str, ...]:
        """Tensors an operator computes with: its inputs without weights and tables.

        Any of them may be a constant, float32 or with the scale and type of an activation.
        """
        return self.inputs[: self.row.operands]


@dataclass(frozen=True)
class Graph:
    """Operators in execution order, and tensors by name, in the file's order."""

    tensors: dict[str, Tensor]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    unused: int = 0
    """Number of further tensors in a file: intermediates of operators, for converters."""

    def input_of(self, op: Op) -> Tensor:
        """Return the first operand of an operator."""
        return self.tensors[op.inputs[0]]

    def output_of(self, op: Op) -> Tensor:
        return self.tensors[op.outputs[0]]

    def constant_of(self, op: Op, position: int = 1) -> Tensor:
        """Return an operator's weights (position 1), bias (position 2) or another input."""
        return self.tensors[op.inputs[position]]

    def readers(self) -> dict[str, list[Op]]:
        """Return the operators that read each tensor, those that read it twice two times."""
        found: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in op.inputs:
                found.setdefault(name, []).append(op)
        return found

    def groups_of(self, op: Op) -> int:
        """Return the groups of a CONV_2D, each of which reads as many channels as its filters."""
        return self.input_of(op).shape[3] // self.constant_of(op).shape[3]

    def takes_int4(self, op: Op) -> bool:
        """Return whether kernels take int4 weights for an operator.

        CMSIS-NN takes none in groups, and computes wrong results for a depthwise convolution that
        makes several channels of one, or is dilated with an odd number of channels.
        """
        if op.row.weights is None or op.row.weights.int4_version is None:
            return False
        if op.kind == "DEPTHWISE_CONV_2D":
            depth, channels = self.input_of(op).shape[3], self.constant_of(op).shape[3]
            return channels == depth and (op.dilation == (1, 1) or depth % 2 == 0)
        return op.kind != "CONV_2D" or self.groups_of(op) == 1
