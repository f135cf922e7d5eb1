"""Operators on maps: pooling, reductions, resizing."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

from micronas.graph.operators.row import WINDOW, Field, Operator, Structures

MapKind = Literal[
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "MEAN",
    "SUM",
    "REDUCE_MAX",
    "RESIZE_NEAREST_NEIGHBOR",
    "RESIZE_BILINEAR",
]
_on_channels = partial(Operator, sign="kept", by_channel=True, proportional=True)
_pool = partial(
    _on_channels,
    windowed=True,
    wide=True,
    scale="shared",
    compares=True,
    options="Pool2DOptions",
    stored=("sweep", WINDOW, "activation"),
    version=2,
    structures=Structures(40, data=32),
    cortex_m=Structures(40, data=36),
)
_reduction = partial(
    _on_channels,
    inputs=(2, 2),
    options="ReducerOptions",
    stored=("keep_dims",),
    version=2,
    structures=Structures(1, 1, data=44),
)
_resize = partial(
    _on_channels,
    inputs=(2, 2),
    scale="shared",
    stored=(Field("align_corners", ("AlignCorners",)), Field("half_pixel", ("HalfPixelCenters",))),
    version=3,
    structures=Structures(2, 1),
)
ROWS: Mapping[str, Operator] = {
    "AVERAGE_POOL_2D": _pool(counted=True),
    "MAX_POOL_2D": _pool(),
    "MEAN": _reduction(wide=True, scale="own"),
    "SUM": _reduction(
        wide=True,
        scale="own",
        finest=1,  # sums are whole steps
    ),
    "REDUCE_MAX": _reduction(scale="identical", compares=True, on_grid=True),
    "RESIZE_NEAREST_NEIGHBOR": _resize(
        wide=True, on_grid=True, options="ResizeNearestNeighborOptions", moves=True
    ),
    "RESIZE_BILINEAR": _resize(options="ResizeBilinearOptions"),
}
