"""Scales at which all versions of TFLM compute the same codes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from micronas.graph.fixed_point import rescales_alike
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.elements import BY_VERSION, same_in_all_versions
from micronas.train.fake_quantize import Range

_STEP = 2.0**-18
"""Tolerance of a scale's logarithm: 2.6 millionths of the scale."""
_MOST_STEPS = 20
_MOST_SMALL_STEPS = 4096
"""Most steps from one float32 to the next in a scale's logarithm; about one in a hundred works."""


@torch.no_grad()
def agree_on_scales(
    graph: Graph, is_free: Callable[[str], bool], range_of: Callable[[str], Range]
) -> None:
    """Move ranges by millionths until host and device agree with any version of TFLM.

    Ranges of products' operands come first, then those of outputs of operators that divide scales.
    Of the graph shapes are enough; `is_free` says whether a tensor may have another scale, and
    `range_of` quantises it.
    """
    for op in graph.ops:
        operand = next((name for name in op.operands if is_free(name)), None)
        if op.kind == "BATCH_MATMUL" and operand is not None:
            _agree_on_product(op, range_of(operand), range_of)
    ops = [
        op
        for op in graph.ops
        if op.kind in BY_VERSION
        and is_free(op.outputs[0])
        and graph.output_of(op).dtype != "int16"  # where a step of difference is one of 65,536
    ]
    for _ in range(_MOST_STEPS):
        wrong = [op for op in ops if not same_in_all_versions(_quantized(graph, op, range_of), op)]
        if not wrong:
            return
        for moved in {range_of(op.outputs[0]) for op in wrong}:
            moved.log2_scale.add_(_STEP)


def _agree_on_product(op: Op, moved: Range, range_of: Callable[[str], Range]) -> None:
    """Widen an operand of BATCH_MATMUL until the product of scales is the same in float32."""
    left, right, output = (range_of(name) for name in (*op.operands, *op.outputs))
    for _ in range(_MOST_SMALL_STEPS):
        scales = [np.float32(each.scale.item()) for each in (left, right, output)]
        if rescales_alike(np.array(scales[:1]), *scales[1:])[0]:
            return
        moved.log2_scale.copy_(moved.log2_scale.nextafter(torch.tensor(torch.inf)))


def _quantized(graph: Graph, op: Op, range_of: Callable[[str], Range]) -> Graph:
    names = (*op.operands, *op.outputs)
    tensors = {
        name: replace(graph.tensors[name], quantization=range_of(name).quantization())
        for name in names
    }
    return Graph(tensors, (op,), op.operands, op.outputs)
