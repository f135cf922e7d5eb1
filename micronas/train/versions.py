"""Scales at which all versions of TFLM compute the same codes."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.elements import BY_VERSION, same_in_all_versions
from micronas.train.fake_quantize import Range

_STEP = 2.0**-18
"""Of a scale's logarithm: 2.6 millionths of the scale."""
_MOST_STEPS = 20


@torch.no_grad()
def agree_on_scales(graph: Graph, ops: Iterable[Op], range_of: Callable[[str], Range]) -> None:
    """Move the outputs' ranges by millionths, until host and device agree, whatever their TFLM.

    Parameters
    ----------
    graph
        Of shapes; its tensors are quantised by `range_of`.
    ops
        Those whose output may have another scale.
    """
    ops = [op for op in ops if op.kind in BY_VERSION]
    for _ in range(_MOST_STEPS):
        wrong = [op for op in ops if not same_in_all_versions(_quantized(graph, op, range_of), op)]
        if not wrong:
            return
        for moved in {range_of(op.outputs[0]) for op in wrong}:
            moved.log2_scale.add_(_STEP)


def _quantized(graph: Graph, op: Op, range_of: Callable[[str], Range]) -> Graph:
    names = (*op.operands, *op.outputs)
    tensors = {
        name: replace(graph.tensors[name], quantization=range_of(name).quantization())
        for name in names
    }
    return Graph(tensors, (op,), op.operands, op.outputs)
