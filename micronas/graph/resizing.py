"""Source pixels of a resized map along one side, at the positions TFLM computes.

Source: TFLM kernels/internal/reference/resize_nearest_neighbor.h and resize_bilinear.h.
"""

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import Op

_Indices = npt.NDArray[np.int64]

_ONE = 1 << 10
"""One pixel in the fixed point of int8 interpolation."""


def nearest(size: int, out: int, op: Op) -> _Indices:
    """Return the pixel [out] that each pixel of the result repeats, in float32 as in TFLM."""
    aligned = op.align_corners and out > 1
    spans = (size - 1, out - 1) if aligned else (size, out)
    scale = np.float32(spans[0]) / np.float32(spans[1])
    offset = np.float32(0.5 if op.half_pixel else 0)
    at = ((np.arange(out, dtype=np.float32) + offset) * scale).astype(np.float64)
    found = np.floor(at + 0.5) if op.align_corners else np.floor(at)
    pixels: _Indices = np.minimum(found.astype(np.int64), size - 1)
    return pixels


def between(size: int, out: int, op: Op) -> tuple[_Indices, _Indices, _Indices]:
    """Return the two pixels [out] next to each pixel, and the second one's weight in 1/1024.

    Near an edge both may be the same pixel. A pixel of `size` or more lies beyond the map: TFLM
    reads it.
    """
    if op.align_corners and out > 1:
        step = (_ONE * (size - 1) + (out - 1) // 2) // (out - 1)
    else:
        step = (_ONE * size + out // 2) // out
    at = np.arange(out, dtype=np.int64) * step
    if op.half_pixel:
        at += step // 2 - _ONE // 2
    first = np.maximum(at // _ONE, 0)
    second = np.minimum((at + _ONE - 1) // _ONE, size - 1)
    return first, second, at - _ONE * first


def between_coarsely(
    size: int, out: int, op: Op
) -> tuple[_Indices, _Indices, npt.NDArray[np.float64]]:
    """Return the result of `between` with weights as real numbers."""
    first, second, share = between(size, out, op)
    return first, second, share / _ONE


def between_exactly(
    size: int, out: int, op: Op
) -> tuple[_Indices, _Indices, npt.NDArray[np.float64]]:
    """Return pixels and real weights at exact positions, which fixed point approximates."""
    aligned = op.align_corners and out > 1
    at = np.arange(out) * ((size - 1) / (out - 1) if aligned else size / out)
    if op.half_pixel:
        at = np.maximum((np.arange(out) + 0.5) * size / out - 0.5, 0)
    first = np.minimum(np.floor(at).astype(np.int64), size - 1)
    return first, np.minimum(first + 1, size - 1), at - first
