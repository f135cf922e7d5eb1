"""The row of an operator: what every room that tells kinds apart reads of it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Scale = Literal["own", "shared", "identical", "fixed", "positions"]
"""Scale of an output: its ``own``; ``shared`` with the operands as far as TFLite compares them
(1e-6); ``identical`` to theirs, bit for bit; ``fixed`` by TFLM, see `Operator.fixed`; or that of
the operand with a zero point 128 higher, of int32 ``positions`` in a table."""
Measure = Literal["step", "product", "square", "slope", "inverse_root"]
"""Quantity that an output's step is compared with: the largest ``step`` among the operands, their
``product``, the largest's ``square``, the first times a ``slope`` of at least 1, or the
``inverse_root`` of one."""
Sign = Literal["any", "kept", "nonnegative"]
"""Sign of an output before its activation: ``any``; not negative where no operand is, ``kept``; or
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
    "new_shape",
    "beta",
    "axis",
    "plain_gather",
    "masks",
    "transposed",
    "recurrence",
]
"""Fields of TFLite's options that go together; `tflite.writer` and `tflite.reader` know each."""


class Field(NamedTuple):
    """A number of TFLite's options that an `Op` holds as it is."""

    option: str
    """Its name in the generated schema."""
    name: str
    """The field of `Op`; the type of its default is that of the value."""


@dataclass(frozen=True)
class Structures:
    """Sizes of what TFLM keeps of one operator, in bytes."""

    options: int = 0
    """The operator's parsed options."""
    alignment: int = 4
    """Alignment of the options."""
    data: int = 0
    """The kernel's own structure."""


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
    """Facts of an operator that all rooms share."""

    builtin: str | None = None
    """TFLite's name of it, where that stands for another kind too."""

    inputs: tuple[int, int] = (1, 1)
    """Fewest and most inputs: operands first, then weights, bias or other constants."""
    operands: int | None = 1
    """Inputs the operator computes with, as opposed to weights and tables; None if all are."""
    weights: Weights | None = None
    tables: int = 0
    """Number of trailing int32 constants, behind weights and bias."""
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
    stored: tuple[Option | Field, ...] = ()
    """Fields of that table, in the order they are written."""
    version: int
    """TFLite's version of the int8 operator."""
    register: str
    """Method of TFLM's MicroMutableOpResolver."""
    structures: Structures = Structures()
    """Sizes of TFLM's reference kernel on a 64-bit host."""
    cortex_m: Structures | None = None
    """Sizes of CMSIS-NN's kernel, or the reference kernel on 32 bits, where they differ."""
    keeps_sizes: bool = False
    """TFLM's kernel keeps a copy of the output's sizes."""
    moves: bool = False
    """Each value it writes is one that it read from its only operand, chosen by place alone."""
    proportional: bool = False
    """Writes channels multiplied by positive factors where it reads them so."""
    counted: bool = False
    """`graph.counts` carries its cost, so that a latency model of counts alone prices it."""

    @property
    def fuses(self) -> bool:
        """Whether it can clamp what it writes."""
        return "activation" in self.stored
