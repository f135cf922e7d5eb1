"""Finest steps of a tensor's codes that TFLM's kernels read and write."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from micronas.graph.ir import Op
from micronas.graph.kernels import RULES
from micronas.graph.kernels.rule import wide_room
from micronas.graph.operators.row import Measure

_AT_COMMON_SCALE = ("ADD", "SUB", "SQUARED_DIFFERENCE")
_FARTHEST = 2.0**-29
"""Smallest scale of an operand of these kinds, relative to the other's."""
_READ = {
    "SOFTMAX": 1.001 * 2.0**-26,
    "LOG_SOFTMAX": 1.001 * 2.0**-25,
    **dict.fromkeys(("LOGISTIC", "TANH", "RELU6"), 1.001 * 2.0**-27),
    "HARD_SWISH": 1.001 * 2.0**-21,
}
_CLAMPED = 6 * 2.0**-30
"""Finer steps put 6 beyond int32, and TFLM refuses the file; untrained networks reach that."""
_MEASURES: Mapping[Measure, Callable[[Tensor], Tensor]] = {
    "step": lambda steps: steps.max(),
    "product": lambda steps: steps.prod(),
    "square": lambda steps: steps.max() ** 2,
    "slope": lambda steps: steps[0] * steps[1].clamp(min=1),
    "inverse_root": lambda steps: steps[0].rsqrt(),
}


def finest_read(op: Op, scales: Tensor) -> Tensor | None:
    """Return the finest step of operands, given their scales [operands]; None where any will do.

    Operands of sums need scales near each other.
    """
    if op.kind in _READ:
        return torch.tensor(_READ[op.kind])
    return scales.max() * _FARTHEST if op.kind in _AT_COMMON_SCALE else None


def finest_written(
    op: Op, scales: Tensor, weights: Tensor | None, *, is_wide: bool = False
) -> Tensor:
    """Return the finest useful step of an output; a finer one could overflow TFLM's multiplier.

    `scales` are those of the operands [operands], `weights` those of the weights, if any. Codes of
    int16 (`is_wide`) leave sums and products less room in int32.
    """
    if weights is not None:
        step = scales[0] * weights.max()
    else:
        step = _MEASURES[op.row.measure](scales) / op.row.finest
        rule = RULES[op.kind].scales if is_wide else None  # type: ignore[index]
        room = wide_room(len(scales))
        while rule and rule(scales.tolist(), step.item() * room):
            step = 2 * step
    return step if op.activation in ("NONE", "RELU") else step.clamp(min=_CLAMPED)
