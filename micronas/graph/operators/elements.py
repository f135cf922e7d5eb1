"""Operators of one or two operands that compute value by value."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

from micronas.graph.operators.row import Field, Operator, Structures

ElementKind = Literal[
    "ADD",
    "MUL",
    "SUB",
    "SQUARED_DIFFERENCE",
    "MAXIMUM",
    "MINIMUM",
    "PRELU",
    "LOGISTIC",
    "HARD_SWISH",
    "RELU",
    "RELU6",
    "LEAKY_RELU",
    "ELU",
    "TANH",
    "ABS",
    "RSQRT",
    "QUANTIZE",
    "POSITIONS",
    "TABLE",
]
_of_one = partial(Operator, by_channel=True, version=2)
_of_two = partial(Operator, inputs=(2, 2), operands=2, spreads=True, version=2)
_chosen = partial(
    _of_two,
    wide=True,
    scale="identical",
    on_grid=True,
    sign="kept",
    options="MaximumMinimumOptions",
)
ROWS: Mapping[str, Operator] = {
    "ADD": _of_two(
        wide=True,
        scale="own",
        sign="kept",
        options="AddOptions",
        stored=("activation",),
        counted=True,
        structures=Structures(8, data=60),
        cortex_m=Structures(2, 1, data=60),
    ),
    "MUL": _of_two(
        wide=True,
        scale="own",
        finest=1,
        measure="product",
        sign="kept",
        options="MulOptions",
        stored=("activation",),
        structures=Structures(4, data=36),
        cortex_m=Structures(1, 1, data=36),
    ),
    "SUB": _of_two(
        wide=True,
        scale="own",
        sign="any",
        options="SubOptions",
        stored=("activation",),
        structures=Structures(8, data=52),
        cortex_m=Structures(2, 1, data=52),
    ),
    "SQUARED_DIFFERENCE": _of_two(
        scale="own",
        finest=16,
        measure="square",
        sign="nonnegative",
        options="SquaredDifferenceOptions",
        structures=Structures(data=112),
    ),
    "MAXIMUM": _chosen(),
    "MINIMUM": _chosen(),
    "PRELU": Operator(
        inputs=(2, 2),
        operands=2,
        spreads=True,
        scale="own",
        measure="slope",
        sign="kept",
        version=1,
        structures=Structures(data=28),
    ),
    "LOGISTIC": _of_one(
        wide=True,
        scale="fixed",
        fixed=(1 / 256, -128),
        sign="nonnegative",
        structures=Structures(data=16),
    ),
    "HARD_SWISH": Operator(
        scale="own",
        finest=64,  # TFLM can write steps down to 1/127 of its input's
        sign="any",
        by_channel=True,
        options="HardSwishOptions",
        version=1,
        structures=Structures(data=20),
    ),
    "RELU": _of_one(
        wide=True,
        scale="own",
        sign="nonnegative",
        proportional=True,
        structures=Structures(data=28),
    ),
    "RELU6": _of_one(wide=True, scale="shared", sign="nonnegative", structures=Structures(data=2)),
    "LEAKY_RELU": Operator(
        wide=True,
        scale="own",
        sign="kept",
        by_channel=True,
        options="LeakyReluOptions",
        stored=(Field("alpha", ("Alpha",)),),
        version=1,
        structures=Structures(4, data=24),
    ),
    "ELU": Operator(
        scale="own", sign="kept", by_channel=True, version=1, structures=Structures(data=256)
    ),
    "TANH": _of_one(
        wide=True, scale="fixed", fixed=(1 / 128, 0), sign="any", structures=Structures(data=16)
    ),
    "ABS": _of_one(
        wide=True,
        scale="own",
        sign="nonnegative",
        options="AbsOptions",
        structures=Structures(data=28),
        cortex_m=Structures(data=20),
    ),
    "RSQRT": _of_one(
        scale="own",
        finest=2**16,  # 1 / sqrt of the smallest step is far above values that occur
        measure="inverse_root",
        sign="nonnegative",
        structures=Structures(data=28),
        cortex_m=Structures(data=20),
    ),
    "QUANTIZE": _of_one(
        wide=True,
        scale="own",
        sign="kept",
        options="QuantizeOptions",
        structures=Structures(data=32),
    ),
    "POSITIONS": Operator(
        builtin="QUANTIZE",
        scale="positions",
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="QuantizeOptions",
        version=2,
        structures=Structures(data=32),
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
        structures=Structures(8),
        keeps_sizes=True,
    ),
}
