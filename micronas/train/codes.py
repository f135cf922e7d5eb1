"""Codes of values: the inputs of an integer graph for inputs in float32."""

import numpy as np
from torch import Tensor

from micronas.errors import ExportError
from micronas.graph import ir
from micronas.graph.interface import Given, by_name
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import Values, limits, stored
from micronas.train.operators import nhwc


def quantize_inputs(graph: Graph, x: Tensor) -> Values:
    """Return codes [N, height, width, channels] for float32 [N, channels, height, width].

    Inputs of other ranks keep their order. See `quantize_all_inputs` for a graph of several inputs.
    Raises ExportError if the graph's input is not quantised, DataError if it takes several.
    """
    (codes,) = quantize_all_inputs(graph, x).values()
    return codes


def quantize_all_inputs(graph: Graph, x: Given[Tensor]) -> dict[str, Values]:
    """Quantise all inputs of a graph like `quantize_inputs`, and return them by name."""
    found = {}
    for name, value in by_name(graph, x).items():
        tensor = graph.tensors[name]
        if tensor.quantization is None:
            raise ExportError(
                "inputs can be quantised only for an int8 graph, but this one is float32; "
                "quantise the network first"
            )
        found[name] = codes_of(nhwc(value).numpy(), tensor)
    return found


def codes_of(values: ir.Array, tensor: ir.Tensor) -> Values:
    """Return codes of values in the type and at the scale of a quantised tensor."""
    quantization = tensor.quantization
    assert quantization is not None, tensor
    with np.errstate(over="ignore"):  # infinity is clipped to the last code
        steps = np.rint(values.astype(np.float32) / quantization.scale)
    return stored(np.clip(steps + quantization.zero_point, *limits(tensor)), tensor)
