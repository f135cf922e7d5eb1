"""int8 codes of values: the inputs of an int8 graph for inputs in float32."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from micronas.errors import ExportError
from micronas.graph import ir
from micronas.graph.interface import Given, by_name
from micronas.graph.ir import Graph
from micronas.train.fake_quantize import HIGHEST, LOWEST
from micronas.train.operators import nhwc

_Codes = npt.NDArray[np.int8]


def quantize_inputs(graph: Graph, x: Tensor) -> _Codes:
    """Return int8 input [N, height, width, channels] for float32 [N, channels, height, width].

    Inputs of other ranks keep their order. See `quantize_all_inputs` for a graph of several inputs.

    Raises
    ------
    ExportError
        If the graph's input is not quantised.
    DataError
        If the graph takes several inputs.
    """
    (codes,) = quantize_all_inputs(graph, x).values()
    return codes


def quantize_all_inputs(graph: Graph, x: Given[Tensor]) -> dict[str, _Codes]:
    """Quantise all inputs of a graph like `quantize_inputs`, and return them by name."""
    return {
        name: _input_codes(graph.tensors[name], value) for name, value in by_name(graph, x).items()
    }


def _input_codes(tensor: ir.Tensor, x: Tensor) -> _Codes:
    if tensor.quantization is None:
        raise ExportError(
            "inputs can be quantised only for an int8 graph, but this one is float32; "
            "quantise the network first"
        )
    return codes_of(nhwc(x).numpy(), tensor.quantization)


def codes_of(values: ir.Array, quantization: ir.Quantization) -> _Codes:
    with np.errstate(over="ignore"):  # infinity is clipped to the last code
        steps = np.rint(values.astype(np.float32) / quantization.scale)
    codes: _Codes = np.clip(steps + quantization.zero_point, LOWEST, HIGHEST).astype(np.int8)
    return codes
