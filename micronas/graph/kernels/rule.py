"""The rule of an operator: shapes and scales that TFLM takes, and its kernel in integers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from micronas.arrays import Shape
from micronas.graph.ir import LIMITS, Graph, Op
from micronas.graph.kernels.codes import Kernel
from micronas.graph.padding import extent, same_output

LARGEST_RANK = 6
"""Dimensions a tensor may have in TFLM's kernels."""


@dataclass(frozen=True)
class Rule:
    """Effect of an operator on shapes, scales and codes."""

    shape: Callable[[Graph, Op], Shape | str | None]
    """The output's shape; None if the operands do not fit together, or the rule they break."""
    kernel: Callable[[Graph, Op], Kernel]
    """Prepares the kernel of one operator of a graph that `check_int8` has seen."""
    scales: Callable[[Sequence[float], float], str | None] | None = None
    """Given the scales of operands and output, the rule of TFLM's that they break, or None.

    The rule names the operator as ``{kind}``. An operator without one takes any.
    """
    scratch: Callable[[Graph, Op], tuple[int, ...]] | None = None
    """Bytes of each scratch buffer of TFLM's reference kernel, which takes none without it."""
    mixes_examples: Callable[[Graph, Op], bool] | None = None
    """Whether it moves, merges or leaves out dimension 0, along which examples lie."""


def same_shape(graph: Graph, op: Op) -> Shape | None:
    """Shape of the first operand."""
    return graph.input_of(op).shape


def window_shape(graph: Graph, op: Op, window: Sequence[int], channels: int) -> Shape | None:
    """Shape of a window moved over a map."""
    batch, *area, _ = graph.input_of(op).shape
    sizes = []
    for size, step, taps, apart in zip(area, op.stride, window, op.dilation, strict=True):
        reach = extent(taps, apart)
        if op.padding == "VALID" and reach > size:
            return None
        valid = (size - reach) // step + 1
        sizes.append(valid if op.padding == "VALID" else same_output(size, step))
    return (batch, *sizes, channels)


def rescaled_scales(sources: Sequence[float], output: float) -> str | None:
    """Scales of RELU, QUANTIZE and others that rescale codes."""
    holds = sources[0] < output * 2**22
    return None if holds else "{kind} must write a scale above 2**-22 of that it reads"


def product_scales(sources: Sequence[float], output: float) -> str | None:
    """Rule of operators that rescale a product, with weights or an average among the factors."""
    holds = math.prod(sources) < output * 2**30
    return None if holds else "it must write a scale above 2**-30 of the product of those it reads"


def fused_scale(op: Op, output: float) -> str | None:
    """Limits of a fused activation must be codes of int32."""
    low, high = LIMITS.get(op.activation, (0, None))
    farthest = max(-low, high or 0)
    if farthest / output < 2**30:
        return None
    return f"{op.kind} with {op.activation} must write a scale above {farthest} * 2**-30"
