"""The operators micronas knows: one row each, which every room that tells kinds apart reads.

What must be code for each kind (rules, integer and float execution, ONNX, prices) is a table in its
own room, checked at import by `each_kind`: a kind without an entry there is an error, never a
default.
"""

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


OPERATORS: Mapping[Kind, Operator] = {
    "CONV_2D": Operator(
        inputs=(2, 3),
        weights=Weights(rank=4, axis=0, per_channel=True, int4_version=7),
        windowed=True,
        scale="own",
        sign="any",
        options="Conv2DOptions",
        stored=("sweep", "dilation", "activation"),
        version=3,
        register="AddConv2D",
        counted=True,
    ),
    "DEPTHWISE_CONV_2D": Operator(
        inputs=(2, 3),
        weights=Weights(rank=4, axis=3, per_channel=True, int4_version=7),
        windowed=True,
        scale="own",
        sign="any",
        by_channel=True,
        options="DepthwiseConv2DOptions",
        stored=("sweep", "multiplier", "dilation", "activation"),
        version=3,
        register="AddDepthwiseConv2D",
        counted=True,
    ),
    "FULLY_CONNECTED": Operator(
        inputs=(2, 3),
        weights=Weights(2, axis=0, per_channel=False, int4_version=10, per_channel_version=12),
        scale="own",
        sign="any",
        options="FullyConnectedOptions",
        stored=("format", "activation"),
        version=4,
        register="AddFullyConnected",
        counted=True,
    ),
    "ADD": Operator(
        inputs=(2, 2),
        operands=2,
        spreads=True,
        scale="own",
        sign="kept",
        options="AddOptions",
        stored=("activation",),
        version=2,
        register="AddAdd",
        counted=True,
    ),
    "MUL": Operator(
        inputs=(2, 2),
        operands=2,
        spreads=True,
        scale="own",
        finest=1,
        measure="product",
        sign="kept",
        options="MulOptions",
        stored=("activation",),
        version=2,
        register="AddMul",
    ),
    "PAD": Operator(
        inputs=(2, 2),
        scale="shared",
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="PadOptions",
        version=2,
        register="AddPad",
    ),
    "PADV2": Operator(
        inputs=(3, 3),
        operands=2,
        tables=1,
        scale="identical",
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="PadV2Options",
        version=2,
        register="AddPadV2",
    ),
    "AVERAGE_POOL_2D": Operator(
        windowed=True,
        scale="shared",
        sign="kept",
        by_channel=True,
        options="Pool2DOptions",
        stored=("sweep", "window", "activation"),
        version=2,
        register="AddAveragePool2D",
        counted=True,
    ),
    "MAX_POOL_2D": Operator(
        windowed=True,
        scale="shared",
        sign="kept",
        by_channel=True,
        options="Pool2DOptions",
        stored=("sweep", "window", "activation"),
        version=2,
        register="AddMaxPool2D",
    ),
    "MEAN": Operator(
        inputs=(2, 2),
        scale="own",
        sign="kept",
        by_channel=True,
        options="ReducerOptions",
        stored=("keep_dims",),
        version=2,
        register="AddMean",
    ),
    "SUM": Operator(
        inputs=(2, 2),
        scale="own",
        finest=1,  # sums are whole steps
        sign="kept",
        by_channel=True,
        options="ReducerOptions",
        stored=("keep_dims",),
        version=2,
        register="AddSum",
    ),
    "REDUCE_MAX": Operator(
        inputs=(2, 2),
        scale="identical",
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="ReducerOptions",
        stored=("keep_dims",),
        version=2,
        register="AddReduceMax",
    ),
    "TRANSPOSE_CONV": Operator(
        inputs=(3, 4),
        weights=Weights(rank=4, axis=0, per_channel=True, int4_version=None),
        tables=1,
        windowed=True,
        scale="own",
        sign="any",
        options="TransposeConvOptions",
        stored=("sweep", "activation"),
        version=4,
        register="AddTransposeConv",
    ),
    "RESIZE_NEAREST_NEIGHBOR": Operator(
        inputs=(2, 2),
        scale="shared",
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="ResizeNearestNeighborOptions",
        stored=("corners", "half_pixel"),
        version=3,
        register="AddResizeNearestNeighbor",
    ),
    "RESIZE_BILINEAR": Operator(
        inputs=(2, 2),
        scale="shared",
        sign="kept",
        by_channel=True,
        options="ResizeBilinearOptions",
        stored=("corners", "half_pixel"),
        version=3,
        register="AddResizeBilinear",
    ),
    "SPACE_TO_DEPTH": Operator(
        scale="shared",
        on_grid=True,
        sign="kept",
        options="SpaceToDepthOptions",
        stored=("block",),
        version=2,
        register="AddSpaceToDepth",
    ),
    "DEPTH_TO_SPACE": Operator(
        scale="shared",
        on_grid=True,
        sign="kept",
        options="DepthToSpaceOptions",
        stored=("block",),
        version=1,
        register="AddDepthToSpace",
    ),
    "RESHAPE": Operator(
        inputs=(1, 2),
        scale="shared",
        on_grid=True,
        sign="kept",
        options="ReshapeOptions",
        stored=("new_shape",),
        version=1,
        register="AddReshape",
        counted=True,
    ),
    "SOFTMAX": Operator(
        scale="fixed",
        fixed=(1 / 256, -128),
        sign="nonnegative",
        options="SoftmaxOptions",
        stored=("beta",),
        version=2,
        register="AddSoftmax",
    ),
    "CONCATENATION": Operator(
        inputs=(1, 10),  # TFLM takes no more
        operands=None,
        scale="identical",
        on_grid=True,
        sign="kept",
        options="ConcatenationOptions",
        stored=("axis", "unclamped"),
        version=2,
        register="AddConcatenation",
    ),
    "TRANSPOSE": Operator(
        inputs=(2, 2),
        scale="shared",
        on_grid=True,
        sign="kept",
        options="TransposeOptions",
        version=2,
        register="AddTranspose",
    ),
    "SLICE": Operator(
        inputs=(3, 3),
        scale="shared",
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="SliceOptions",
        version=2,
        register="AddSlice",
    ),
    "STRIDED_SLICE": Operator(
        inputs=(4, 4),
        scale="shared",
        on_grid=True,
        sign="kept",
        options="StridedSliceOptions",
        stored=("masks",),
        version=2,
        register="AddStridedSlice",
    ),
    "GATHER": Operator(
        inputs=(2, 2),
        scale="shared",
        on_grid=True,
        sign="kept",
        options="GatherOptions",
        stored=("axis", "plain_gather"),
        version=2,
        register="AddGather",
    ),
    "BROADCAST_TO": Operator(
        inputs=(2, 2),
        scale="shared",
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="BroadcastToOptions",
        version=2,
        register="AddBroadcastTo",
    ),
    "BATCH_MATMUL": Operator(
        inputs=(2, 2),
        operands=2,
        scale="own",
        finest=1,
        measure="product",
        sign="kept",
        options="BatchMatMulOptions",
        stored=("transposed",),
        version=2,
        register="AddBatchMatMul",
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Operator(
        inputs=(15, 15),
        recurrent=True,
        tables=2,
        scale="own",
        finest=2**16,  # what it reads has no say in what it writes, from -1 to 1
        sign="any",
        options="UnidirectionalSequenceLSTMOptions",
        stored=("recurrence",),
        version=1,
        register="AddUnidirectionalSequenceLSTM",
    ),
    "LOGISTIC": Operator(
        scale="fixed",
        fixed=(1 / 256, -128),
        sign="nonnegative",
        by_channel=True,
        options=None,
        version=2,
        register="AddLogistic",
    ),
    "HARD_SWISH": Operator(
        scale="own",
        finest=64,  # TFLM can write steps down to 1/127 of those it reads
        sign="any",
        by_channel=True,
        options="HardSwishOptions",
        version=1,
        register="AddHardSwish",
    ),
    "RELU": Operator(
        scale="own",
        sign="nonnegative",
        by_channel=True,
        options=None,
        version=2,
        register="AddRelu",
    ),
    "RELU6": Operator(
        scale="shared",
        sign="nonnegative",
        by_channel=True,
        options=None,
        version=2,
        register="AddRelu6",
    ),
    "SUB": Operator(
        inputs=(2, 2),
        operands=2,
        spreads=True,
        scale="own",
        sign="any",
        options="SubOptions",
        stored=("activation",),
        version=2,
        register="AddSub",
    ),
    "SQUARED_DIFFERENCE": Operator(
        inputs=(2, 2),
        operands=2,
        spreads=True,
        scale="own",
        finest=16,
        measure="square",
        sign="nonnegative",
        options="SquaredDifferenceOptions",
        version=2,
        register="AddSquaredDifference",
    ),
    "MAXIMUM": Operator(
        inputs=(2, 2),
        operands=2,
        spreads=True,
        scale="identical",
        on_grid=True,
        sign="kept",
        options="MaximumMinimumOptions",
        version=2,
        register="AddMaximum",
    ),
    "MINIMUM": Operator(
        inputs=(2, 2),
        operands=2,
        spreads=True,
        scale="identical",
        on_grid=True,
        sign="kept",
        options="MaximumMinimumOptions",
        version=2,
        register="AddMinimum",
    ),
    "PRELU": Operator(
        inputs=(2, 2),
        operands=2,
        spreads=True,
        scale="own",
        measure="slope",
        sign="kept",
        options=None,
        version=1,
        register="AddPrelu",
    ),
    "LEAKY_RELU": Operator(
        scale="own",
        sign="kept",
        by_channel=True,
        options="LeakyReluOptions",
        stored=("alpha",),
        version=1,
        register="AddLeakyRelu",
    ),
    "ELU": Operator(
        scale="own",
        sign="kept",
        by_channel=True,
        options=None,
        version=1,
        register="AddElu",
    ),
    "TANH": Operator(
        scale="fixed",
        fixed=(1 / 128, 0),
        sign="any",
        by_channel=True,
        options=None,
        version=2,
        register="AddTanh",
    ),
    "ABS": Operator(
        scale="own",
        sign="nonnegative",
        by_channel=True,
        options="AbsOptions",
        version=2,
        register="AddAbs",
    ),
    "RSQRT": Operator(
        scale="own",
        finest=2**16,  # 1 / sqrt of the smallest step is far above what occurs
        measure="inverse_root",
        sign="nonnegative",
        by_channel=True,
        options=None,
        version=2,
        register="AddRsqrt",
    ),
    "QUANTIZE": Operator(
        scale="own",
        sign="kept",
        by_channel=True,
        options="QuantizeOptions",
        version=2,
        register="AddQuantize",
    ),
    "LOG_SOFTMAX": Operator(
        scale="fixed",
        fixed=(1 / 16, 127),
        sign="any",
        options="LogSoftmaxOptions",
        version=2,
        register="AddLogSoftmax",
    ),
    "POSITIONS": Operator(
        builtin="QUANTIZE",
        scale="positions",
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="QuantizeOptions",
        version=2,
        register="AddQuantize",
    ),
    "TABLE": Operator(
        builtin="GATHER",
        inputs=(2, 2),
        scale="own",
        finest=2**16,  # a table can hold any scale
        sign="any",
        by_channel=True,
        options="GatherOptions",
        stored=("axis", "plain_gather"),
        version=2,
        register="AddGather",
    ),
    "L2_NORMALIZATION": Operator(
        scale="fixed",
        fixed=(1 / 128, 0),
        sign="any",
        options="L2NormOptions",
        stored=("unclamped",),
        version=2,
        register="AddL2Normalization",
    ),
}


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


each_kind("graph.operators", OPERATORS)
WEIGHTED: tuple[Kind, ...] = tuple(kind for kind, row in OPERATORS.items() if row.weights)
"""Kinds that have weights."""
LEARNING: tuple[Kind, ...] = (
    *WEIGHTED,
    *(kind for kind, row in OPERATORS.items() if row.recurrent),
)
"""Kinds whose constants are trained."""
MAKES: tuple[Kind, ...] = tuple(kind for kind in WEIGHTED if not OPERATORS[kind].by_channel)
"""Kinds whose output channels are new, each made of all that are read."""
