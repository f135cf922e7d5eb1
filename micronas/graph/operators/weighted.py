"""Operators with weights."""

from collections.abc import Mapping
from typing import Literal

from micronas.graph.operators.row import DILATION, Operator, Structures, Weights

WeightedKind = Literal[
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
]
ROWS: Mapping[str, Operator] = {
    "CONV_2D": Operator(
        inputs=(2, 3),
        weights=Weights(rank=4, axis=0, per_channel=True, int4_version=7),
        windowed=True,
        wide=True,
        scale="own",
        sign="any",
        options="Conv2DOptions",
        stored=("sweep", DILATION, "activation"),
        version=3,
        counted=True,
        structures=Structures(28, data=80),
        cortex_m=Structures(28, data=60),
    ),
    "DEPTHWISE_CONV_2D": Operator(
        inputs=(2, 3),
        weights=Weights(rank=4, axis=3, per_channel=True, int4_version=7),
        windowed=True,
        wide=True,
        scale="own",
        sign="any",
        by_channel=True,
        options="DepthwiseConv2DOptions",
        stored=("sweep", "multiplier", DILATION, "activation"),
        version=3,
        counted=True,
        structures=Structures(28, data=80),
        cortex_m=Structures(28, data=60),
    ),
    "FULLY_CONNECTED": Operator(
        inputs=(2, 3),
        weights=Weights(2, axis=0, per_channel=False, int4_version=10, per_channel_version=12),
        wide=True,
        scale="own",
        sign="any",
        options="FullyConnectedOptions",
        stored=("format", "activation"),
        version=4,
        counted=True,
        structures=Structures(32, 8, data=72),
        cortex_m=Structures(5, 1, data=80),
    ),
    "TRANSPOSE_CONV": Operator(
        inputs=(3, 4),
        weights=Weights(rank=4, axis=0, per_channel=True, int4_version=None),
        tables=1,
        windowed=True,
        wide=True,
        scale="own",
        sign="any",
        options="TransposeConvOptions",
        stored=("sweep", "activation"),
        version=4,
        structures=Structures(20, data=88),
        cortex_m=Structures(16, data=76),
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Operator(
        inputs=(15, 15),
        recurrent=True,
        tables=2,
        scale="own",
        finest=2**16,  # the output, from -1 to 1, does not depend on the input's scale
        sign="any",
        options="UnidirectionalSequenceLSTMOptions",
        stored=("recurrence",),
        version=1,
        register="AddUnidirectionalSequenceLSTM",
        structures=Structures(16, data=688),
        cortex_m=Structures(16, data=912),
    ),
}
