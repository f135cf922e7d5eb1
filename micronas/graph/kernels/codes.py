"""Parts that kernels share: windows over maps, and the numbers behind int8 codes."""

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import LIMITS, Array, Op, Tensor, extent, same_padding

Values = npt.NDArray[np.int8]
"""Batch of whole tensors, [N, *tensor.shape], the leading 1 of NHWC included; int16 where a tensor
is."""
Accumulators = npt.NDArray[np.int32]
Kernel = Callable[..., Values]
"""Function from an operator's operands to its output."""


def codes_of(tensor: Tensor) -> npt.NDArray[np.int64]:
    """Return every code of an activation's type, the lowest first."""
    low, high = limits(tensor)
    return np.arange(low, high + 1)


def limits(tensor: Tensor) -> tuple[int, int]:
    """Return the lowest and highest code of an activation's type."""
    return (-(2**15), 2**15 - 1) if tensor.dtype == "int16" else (-128, 127)


def stored(codes: npt.NDArray[np.integer], tensor: Tensor) -> Values:
    """Return codes in the type of an activation that can hold them."""
    return cast(Values, codes.astype(np.int16 if tensor.dtype == "int16" else np.int8))


def activation_range(op: Op, output: Tensor) -> tuple[int, int]:
    """Return the smallest and largest code of an operator's fused activation."""
    lowest, highest = limits(output)
    if op.activation == "NONE":
        return lowest, highest

    def code(limit: int) -> int:
        steps = float(np.float32(abs(limit)) / np.float32(scale(output)))  # in float32, as in TFLM
        return zero_point(output) + int(math.copysign(math.floor(steps + 0.5), limit))

    low, high = LIMITS[op.activation]
    return max(lowest, code(low)), highest if high is None else min(highest, code(high))


def windows(x: Values, op: Op, window: tuple[int, int], fill: int) -> Array:
    """Return a view of every pool or filter window: [N, out height, out width, C, *window]."""
    reach = (extent(window[0], op.dilation[0]), extent(window[1], op.dilation[1]))
    views = np.lib.stride_tricks.sliding_window_view(
        padded(x, op, window, fill), reach, axis=(1, 2)
    )
    views = views[:, :: op.stride[0], :: op.stride[1]]
    return views[..., :: op.dilation[0], :: op.dilation[1]]


def padded(x: Values, op: Op, window: tuple[int, int], fill: int) -> Values:
    """Merge the batch with NHWC's N, and add the operator's padding to the maps."""
    merged = x.reshape(-1, *x.shape[2:])
    if op.padding == "VALID":
        return merged
    reach = map(extent, window, op.dilation)
    rows, cols = map(same_padding, merged.shape[1:3], reach, op.stride)
    if not any((*rows, *cols)):
        return merged
    return np.pad(merged, ((0, 0), rows, cols, (0, 0)), constant_values=fill)


def data(tensor: Tensor) -> npt.NDArray[np.signedinteger[Any]]:
    """Return a constant's integers, whose presence check_int8 has checked."""
    return cast(npt.NDArray[np.signedinteger[Any]], tensor.data)


def scales(tensor: Tensor) -> npt.NDArray[np.float64]:
    assert tensor.quantization is not None
    return tensor.quantization.scale.astype(np.float64)


def scale(tensor: Tensor) -> np.float64:
    return cast(np.float64, scales(tensor)[0])


def zero_point(tensor: Tensor) -> int:
    assert tensor.quantization is not None
    return tensor.quantization.zero_point
