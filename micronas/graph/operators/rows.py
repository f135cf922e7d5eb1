"""Operators on rows, the last dimension, and products of matrices."""

from collections.abc import Mapping
from typing import Literal

from micronas.graph.operators.row import Field, Operator, Structures

RowKind = Literal["SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", "BATCH_MATMUL"]
ROWS: Mapping[str, Operator] = {
    "SOFTMAX": Operator(
        wide=True,
        scale="fixed",
        fixed=(1 / 256, -128),
        sign="nonnegative",
        options="SoftmaxOptions",
        stored=("beta",),
        version=2,
        structures=Structures(4, data=80),
        cortex_m=Structures(4, data=60),
    ),
    "LOG_SOFTMAX": Operator(
        scale="fixed",
        fixed=(1 / 16, 127),
        sign="any",
        options="LogSoftmaxOptions",
        version=2,
        structures=Structures(data=40),
        cortex_m=Structures(data=28),
    ),
    "L2_NORMALIZATION": Operator(
        scale="fixed",
        fixed=(1 / 128, 0),
        sign="any",
        options="L2NormOptions",
        stored=("unclamped",),
        version=2,
        structures=Structures(4, data=4),
        cortex_m=Structures(1, 1, data=4),
    ),
    "BATCH_MATMUL": Operator(
        inputs=(2, 2),
        operands=2,
        wide=True,
        scale="own",
        finest=1,
        measure="product",
        sign="kept",
        options="BatchMatMulOptions",
        stored=(Field("transposed", ("AdjX", "AdjY")),),
        version=2,
        register="AddBatchMatMul",
        structures=Structures(3, 1, data=32),
        cortex_m=Structures(3, 1, data=36),
    ),
}
