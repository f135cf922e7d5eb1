"""What a kind of operator is: the fields of its row in `graph.operators`, and tables by kind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

Kind = Literal[
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "ADD",
    "MUL",
    "PAD",
    "PADV2",
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "MEAN",
    "SUM",
    "REDUCE_MAX",
    "TRANSPOSE_CONV",
    "RESIZE_NEAREST_NEIGHBOR",
    "RESIZE_BILINEAR",
    "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE",
    "RESHAPE",
    "SOFTMAX",
    "CONCATENATION",
    "TRANSPOSE",
    "SLICE",
    "STRIDED_SLICE",
    "GATHER",
    "BROADCAST_TO",
    "BATCH_MATMUL",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "LOGISTIC",
    "HARD_SWISH",
    "RELU",
    "RELU6",
    "SUB",
    "SQUARED_DIFFERENCE",
    "MAXIMUM",
    "MINIMUM",
    "PRELU",
    "LEAKY_RELU",
    "ELU",
    "TANH",
    "ABS",
    "RSQRT",
    "QUANTIZE",
    "LOG_SOFTMAX",
    "L2_NORMALIZATION",
    "POSITIONS",
    "TABLE",
]
"""Operators that can be executed and exported; named as in TFLite, but for two.

A function of one value without a kernel is POSITIONS, QUANTIZE from codes to int32 positions, and
TABLE, GATHER from a constant table of 256 codes.
"""
Scale = Literal["own", "shared", "identical", "fixed", "positions"]
"""Of an output: its ``own``; ``shared`` with the operands as far as TFLite compares them (1e-6);
``identical`` to theirs, bit for bit; ``fixed`` by TFLM, see `Operator.fixed`; or that of the
operand with a zero point 128 higher, of int32 ``positions`` in a table."""
Measure = Literal["step", "product", "square", "slope", "inverse_root"]
"""What an output's step is compared with: the largest ``step`` among the operands, their
``product``, the largest's ``square``, the first times a ``slope`` of at least 1, or the
``inverse_root`` of one."""
Sign = Literal["any", "kept", "nonnegative"]
"""Of an output before its activation: ``any``; not negative where no operand is, ``kept``; or
never negative."""
Option = Literal[
    "sweep",
    "multiplier",
    "window",
    "dilation",
    "format",
    "activation",
    "unclamped",
    "keep_dims",
    "corners",
    "half_pixel",
    "block",
    "new_shape",
    "beta",
    "axis",
    "alpha",
    "plain_gather",
    "masks",
    "transposed",
    "recurrence",
]
"""Fields of TFLite's options that go together; `tflite.writer` and `tflite.reader` know each."""
_Entry = TypeVar("_Entry")


@dataclass(frozen=True)
class Weights:
    """Weights of an operator: its second input, followed by an optional bias."""

    rank: int
    axis: int
    """Dimension of the output channels."""
    per_channel: bool
    """Quantised with one scale for each output channel, otherwise one in all."""
    int4_version: int | None
    """TFLite's version of the operator with int4 weights; None where TFLM takes none."""
    per_channel_version: int | None = None
    """With several scales, where that is a version of its own."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What all rooms know of a kind."""

    builtin: str | None = None
    """TFLite's name of it, where that stands for another kind too."""

    inputs: tuple[int, int] = (1, 1)
    """Fewest and most inputs: operands first, then weights, bias or other constants."""
    operands: int | None = 1
    """Inputs the operator computes with, as opposed to weights and tables; None if all are."""
    weights: Weights | None = None
    tables: int = 0
    """Of the inputs the last ones, int32 constants that stand behind weights and bias."""
    recurrent: bool = False
    """Keeps states from step to step; weights of gates, then biases stand behind the operand."""
    windowed: bool = False
    """Moves a window with strides and padding over a map [N, height, width, channels]."""
    scale: Scale
    compares: bool = False
    """TFLM refuses other scales than those that `scale` asks for. Where it does not, the kernel
    computes with codes whatever they stand for."""
    fixed: tuple[float, int] | None = None
    """Scale and zero point of the output where they are fixed."""
    finest: int = 256
    """Steps of the output that one of `measure` is worth dividing in."""
    measure: Measure = "step"
    on_grid: bool = False
    """Writes no value it did not read, except zero."""
    sign: Sign
    spreads: bool = False
    """Computes element by element, its two operands spread over each other."""
    by_channel: bool = False
    """Treats channels alike, one by one, as long as it writes as many as it reads."""
    options: str | None
    """The table of TFLite's schema that holds its options."""
    stored: tuple[Option, ...] = ()
    """What that table holds, in the order it is written."""
    version: int
    """TFLite's version of the int8 operator."""
    register: str
    """Method of TFLM's MicroMutableOpResolver."""
    counted: bool = False
    """`graph.counts` carries its cost, so that a latency model of counts alone prices it."""

    @property
    def fuses(self) -> bool:
        """Whether it can clamp what it writes."""
        return "activation" in self.stored


def each_kind(
    room: str, table: Mapping[Kind, _Entry], kinds: Iterable[Kind] = get_args(Kind)
) -> Mapping[Kind, _Entry]:
    """Return a room's table, checked to have an entry for each of `kinds` and no other.

    Raises
    ------
    LookupError
        Naming the kinds that are missing or too many.
    """
    wrong = sorted(set(kinds) ^ table.keys())
    if wrong:
        raise LookupError(
            f"{room} must have an entry for every operator and no other, but that is not so for "
            f"{', '.join(wrong)}; add what is missing to its table"
        )
    return table
