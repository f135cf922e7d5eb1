"""Row of an operator: facts on its kind for all rooms."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Scale = Literal["own", "shared", "identical", "fixed", "positions"]
"""Scale of an output: its ``own``; ``shared`` with the operands within TFLite's tolerance (1e-6);
``identical`` to theirs, bit for bit; ``fixed`` by TFLM, see `Operator.fixed`; or that of the
operand with a zero point 128 higher, for int32 ``positions`` in a table."""
Measure = Literal["step", "product", "square", "slope", "inverse_root"]
"""Quantity with which an output's step is compared: the largest ``step`` among the operands, their
``product``, the ``square`` of the largest, the first times a ``slope`` of at least 1, or the
``inverse_root`` of one."""
Sign = Literal["any", "kept", "nonnegative"]
"""Sign of an output before its activation: ``any``; ``kept``, not negative where no operand is; or
``nonnegative``."""
Option = Literal[
    "sweep",
    "multiplier",
    "format",
    "activation",
    "unclamped",
    "keep_dims",
    "new_shape",
    "beta",
    "axis",
    "plain_gather",
    "masks",
    "recurrence",
]
"""Groups of fields of TFLite's options, handled by `tflite.writer` and `tflite.options`."""


class Field(NamedTuple):
    """Numbers of TFLite's options that an `Op` holds unchanged."""

    name: str
    """Field of `Op`, whose default has the type of the value."""
    options: tuple[str, ...]
    """Name in the generated schema; several where the value is a tuple."""


WINDOW = Field("window", ("FilterHeight", "FilterWidth"))
DILATION = Field("dilation", ("DilationHFactor", "DilationWFactor"))


@dataclass(frozen=True)
class Structures:
    """Sizes in bytes of TFLM's structures for one operator."""

    options: int = 0
    """Size of the parsed options."""
    alignment: int = 4
    """Alignment of the options."""
    data: int = 0
    """Size of the kernel's own structure."""


@dataclass(frozen=True)
class Weights:
    """Weights of an operator: its second input, followed by an optional bias."""

    rank: int
    axis: int
    """Dimension of the output channels."""
    per_channel: bool
    """Whether each output channel has a scale, otherwise one scale in all."""
    int4_version: int | None
    """TFLite's version of the operator with int4 weights; None where TFLM takes none."""
    per_channel_version: int | None = None
    """TFLite's version with several scales, where that is another."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Facts of an operator that all rooms share."""

    builtin: str | None = None
    """TFLite's name, where another kind has it too."""

    inputs: tuple[int, int] = (1, 1)
    """Fewest and most inputs: operands first, then weights, bias or other constants."""
    operands: int | None = 1
    """Number of inputs that are operands, not weights or tables; None if all are."""
    weights: Weights | None = None
    tables: int = 0
    """Number of trailing constants or states, behind weights and bias."""
    recurrent: bool = False
    """Whether it keeps states from step to step; gates' weights, then biases follow the operand."""
    wide: bool = False
    """Whether integer execution takes int16 activations, of zero point 0."""
    windowed: bool = False
    """Whether a window moves with strides and padding over a map [N, height, width, channels]."""
    scale: Scale
    compares: bool = False
    """Whether TFLM refuses scales that break `scale`; otherwise its kernel computes with the codes
    regardless."""
    fixed: tuple[float, int] | None = None
    """Scale and zero point of the output of int8 where they are fixed; see `fixed_in`."""
    finest: int = 256
    """Number of output steps per `measure` beyond which finer ones gain nothing."""
    measure: Measure = "step"
    on_grid: bool = False
    """Whether it writes only values that it read, and zero."""
    sign: Sign
    spreads: bool = False
    """Whether it computes element by element, its two operands broadcast to each other."""
    by_channel: bool = False
    """Whether it treats channels alike, one by one, as long as it writes as many as it reads."""
    options: str | None = None
    """Table of TFLite's schema that holds its options."""
    stored: tuple[Option | Field, ...] = ()
    """Fields of that table, in the order they are written."""
    version: int
    """TFLite's version of the int8 operator."""
    register: str = ""
    """Method of TFLM's MicroMutableOpResolver; by default by the operator's name."""
    structures: Structures = Structures()
    """Sizes of TFLM's reference kernel on a 64-bit host."""
    cortex_m: Structures | None = None
    """Sizes of CMSIS-NN's kernel, or the reference kernel on 32 bits, where they differ."""
    keeps_sizes: bool = False
    """Whether TFLM's kernel keeps a copy of the output's sizes."""
    moves: bool = False
    """Whether it only copies values of its single operand, chosen by place alone."""
    proportional: bool = False
    """Whether positive factors of input channels become factors of output channels."""
    counted: bool = False
    """Whether `graph.counts` covers its cost, so that a latency model of counts alone prices it."""

    def fixed_in(self, dtype: str) -> tuple[float, int] | None:
        """Return scale and zero point of an output of int8 or int16 where they are fixed."""
        return (2.0**-15, 0) if self.fixed and dtype == "int16" else self.fixed

    @property
    def fuses(self) -> bool:
        """Whether it can have a fused activation."""
        return "activation" in self.stored
