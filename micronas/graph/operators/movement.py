"""Operators that move values without computing with them."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

from micronas.graph.operators.row import Field, Operator, Structures

MovementKind = Literal[
    "PAD",
    "PADV2",
    "MIRROR_PAD",
    "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE",
    "RESHAPE",
    "CONCATENATION",
    "TRANSPOSE",
    "SLICE",
    "STRIDED_SLICE",
    "GATHER",
    "BROADCAST_TO",
]
_moving = partial(Operator, scale="shared", on_grid=True, sign="kept", version=2, moves=True)
ROWS: Mapping[str, Operator] = {
    "PAD": Operator(
        inputs=(2, 2),
        wide=True,
        scale="shared",
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="PadOptions",
        version=2,
        proportional=True,
        structures=Structures(data=56),
    ),
    "PADV2": Operator(
        inputs=(3, 3),
        operands=2,
        tables=1,
        wide=True,
        scale="identical",
        compares=True,
        on_grid=True,
        sign="kept",
        by_channel=True,
        options="PadV2Options",
        version=2,
        register="AddPadV2",
        structures=Structures(data=56),
    ),
    "MIRROR_PAD": _moving(
        inputs=(2, 2),
        by_channel=True,
        options="MirrorPadOptions",
        stored=(Field("symmetric", ("Mode",)),),
        structures=Structures(4, data=20),
        proportional=True,
    ),
    "SPACE_TO_DEPTH": _moving(
        options="SpaceToDepthOptions",
        stored=(Field("block", ("BlockSize",)),),
        structures=Structures(4),
        keeps_sizes=True,
    ),
    "DEPTH_TO_SPACE": _moving(
        options="DepthToSpaceOptions",
        stored=(Field("block", ("BlockSize",)),),
        version=1,
        structures=Structures(4),
        keeps_sizes=True,
    ),
    "RESHAPE": _moving(
        inputs=(1, 2),
        wide=True,
        options="ReshapeOptions",
        stored=("new_shape",),
        version=1,
        counted=True,
        proportional=True,
        structures=Structures(36),
    ),
    "CONCATENATION": Operator(
        inputs=(1, 10),  # TFLM's limit
        operands=None,
        wide=True,
        scale="identical",
        compares=True,
        on_grid=True,
        sign="kept",
        options="ConcatenationOptions",
        stored=("axis", "unclamped"),
        version=2,
        structures=Structures(8, data=80),
        cortex_m=Structures(8, data=24),
    ),
    "TRANSPOSE": _moving(inputs=(2, 2), wide=True, options="TransposeOptions"),
    "SLICE": _moving(inputs=(3, 3), wide=True, by_channel=True, options="SliceOptions"),
    "STRIDED_SLICE": _moving(
        inputs=(4, 4),
        wide=True,
        options="StridedSliceOptions",
        stored=("masks",),
        structures=Structures(24, data=84),
    ),
    "GATHER": _moving(
        inputs=(2, 2),
        options="GatherOptions",
        stored=("axis", "plain_gather"),
        structures=Structures(8),
        keeps_sizes=True,
    ),
    "BROADCAST_TO": _moving(
        inputs=(2, 2), wide=True, by_channel=True, options="BroadcastToOptions"
    ),
}
