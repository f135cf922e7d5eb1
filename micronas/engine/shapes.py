"""Quantisation for graphs without data: enough to choose kernels and to place buffers."""

from dataclasses import replace

import numpy as np

from micronas.graph.ir import Graph, Quantization, Tensor

_ACTIVATION = 2.0**-6
"""Scale with which ReLU6 uses all codes, a typical result of training."""
_WEIGHTS = 2.0**-8
_CELL = 2.0**-11


def described(graph: Graph) -> Graph:
    """Return the graph with quantisation where it has none, similar to a trained one's.

    Scales of neighbouring activations differ, so that savings of equal scales are not counted; a
    fused ReLU's zero is the lowest code.
    """
    if all(graph.tensors[name].quantization is not None for name in graph.inputs):
        return graph
    clipped = {op.outputs[0] for op in graph.ops if op.activation in ("RELU", "RELU6")}
    return replace(
        graph,
        tensors={
            name: _described(tensor, place, zero_point=-128 if name in clipped else 0)
            for place, (name, tensor) in enumerate(graph.tensors.items())
        },
    )


def _described(tensor: Tensor, place: int, *, zero_point: int) -> Tensor:
    if tensor.quantization is not None:
        return tensor
    scale = _ACTIVATION * (1 + place % 7 / 16)
    if tensor.constant or tensor.variable:
        scale = _CELL if tensor.dtype == "int16" else _WEIGHTS
    scales = np.array([scale], np.float32)
    return replace(tensor, quantization=Quantization(scales, zero_point))
