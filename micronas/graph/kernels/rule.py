"""Rule of an operator: shapes and scales that TFLM takes, and its kernel in integers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from micronas.arrays import Shape
from micronas.graph.ir import LIMITS, Graph, Op
from micronas.graph.kernels.codes import Kernel
from micronas.graph.padding import extent, same_output

LARGEST_RANK = 6
"""Most dimensions of a tensor in TFLM's kernels."""


@dataclass(frozen=True)
class Rule:
    """Effect of an operator on shapes, scales and codes."""

    shape: Callable[[Graph, Op], Shape | str | None]
    """Function to the output's shape, None if operands do not fit together, or a broken rule."""
    kernel: Callable[[Graph, Op], Kernel]
    """Function to the kernel of one operator of a graph that passed `check_int8`."""
    scales: Callable[[Sequence[float], float], str | None] | None = None
    """Function from the scales of operands and output to TFLM's rule that they break, or None.

    The rule names the operator as ``{kind}``. An operator without one takes all scales.
    """
    scratch: Callable[[Graph, Op], tuple[int, ...]] | None = None
    """Function to the bytes of each scratch buffer of TFLM's reference kernel, if it has any."""
    mixes_examples: Callable[[Graph, Op], bool] | None = None
    """Function to whether it moves, merges or drops dimension 0, along which examples lie."""


def same_shape(graph: Graph, op: Op) -> Shape | None:
    """Return the shape of the first operand."""
    return graph.input_of(op).shape


def grouped(graph: Graph, op: Op) -> bool:
    """Return whether an operator is a convolution in groups, which CMSIS-NN lacks in int16."""
    return op.kind == "CONV_2D" and graph.groups_of(op) > 1


def is_wide(graph: Graph, op: Op) -> bool:
    """Return whether an operator of known kind writes activations of int16."""
    return op.kind != "UNKNOWN" and graph.output_of(op).dtype == "int16"


def wide_room(operands: int) -> float:
    """Return the factor on an output's scale with which rules for int8 hold for int16: each
    operand of int16 has 8 bits more."""
    return 2.0 ** (-8 * operands)


def fine_shape(below: float, graph: Graph, op: Op) -> Shape | str:
    """Return the first operand's shape, or the rule that its scale in int16 is `below` a limit."""
    source = graph.input_of(op)
    quantization = source.quantization
    if source.dtype == "int16" and quantization is not None and quantization.scale[0] >= below:
        return f"{op.kind} must read a scale below {below} in int16"
    return source.shape


def window_shape(graph: Graph, op: Op, window: Sequence[int], channels: int) -> Shape | None:
    """Return the output shape of a window moved over a map."""
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
    """Return the rule of RELU, QUANTIZE and others that rescale codes, if broken."""
    holds = sources[0] < output * 2**22
    return None if holds else "{kind} must write a scale above 2**-22 of that it reads"


def product_scales(sources: Sequence[float], output: float) -> str | None:
    """Return the rule of operators that rescale a product (of weights, or a mean), if broken."""
    holds = math.prod(sources) < output * 2**30
    return None if holds else "it must write a scale above 2**-30 of the product of those it reads"


def fused_scale(op: Op, output: float) -> str | None:
    """Return the rule, if broken, that limits of a fused activation must fit in int32."""
    low, high = LIMITS.get(op.activation, (0, None))
    farthest = max(-low, high or 0)
    if farthest / output < 2**30:
        return None
    return f"{op.kind} with {op.activation} must write a scale above {farthest} * 2**-30"
