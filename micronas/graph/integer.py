"""Runs an int8 graph in NumPy with the very bits TensorFlow Lite Micro computes.

Every kernel (`graph.kernels`) repeats the arithmetic of TFLM's reference kernel (double rounding),
not its loops: dot products go through floating-point BLAS where each partial sum is an integer the
type holds exactly, so their order cannot matter.
"""

from collections.abc import Iterator

import numpy as np

from micronas.errors import ModelError
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.kernels import KERNELS
from micronas.graph.kernels.codes import Kernel, Values

_WORKSPACE_BYTES = 32 * 2**20


def run(graph: Graph, inputs: Values) -> Values:
    """Compute the output of an int8 graph.

    Parameters
    ----------
    graph
        One input, one output, both int8.
    inputs
        int8 [N, height, width, channels] (or [N, ...] for an input of another rank).

    Returns
    -------
    int8 [N, ...], equal to TFLM's reference kernels bit for bit.

    Raises
    ------
    ModelError
        If the graph is not a complete int8 graph, or `inputs` do not match its input.
    """
    parts = [values[graph.outputs[0]] for values in _chunks(graph, inputs)]
    return _unbatched(np.concatenate(parts), graph.tensors[graph.outputs[0]])


def run_all(graph: Graph, inputs: Values) -> dict[str, Values]:
    """Compute every activation by name, as `run` does its output; the input is included."""
    parts = list(_chunks(graph, inputs))
    names = [*graph.inputs, *(name for op in graph.ops for name in op.outputs)]
    return {
        name: _unbatched(np.concatenate([part[name] for part in parts]), graph.tensors[name])
        for name in names
    }


def _unbatched(values: Values, tensor: Tensor) -> Values:
    """Let N take the place of a leading 1."""
    one = len(tensor.shape) > 1 and tensor.shape[0] == 1
    return values.reshape(len(values), *tensor.shape[1:]) if one else values


def _chunks(graph: Graph, inputs: Values) -> Iterator[dict[str, Values]]:
    """Run the graph on as many examples at a time as bounded memory allows."""
    check_int8(graph)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(
            "integer execution takes graphs of one input and one output, but this one has "
            f"{len(graph.inputs)} and {len(graph.outputs)}; split the model"
        )
    source = graph.tensors[graph.inputs[0]]
    expected = source.shape[1:] if source.shape[0] == 1 else source.shape
    if inputs.dtype != np.int8 or inputs.shape[1:] != expected or len(inputs) == 0:
        raise ModelError(
            f"inputs must be int8 [N, {', '.join(map(str, expected))}] with N >= 1, but got "
            f"{inputs.dtype} {list(inputs.shape)}; quantise and batch them first"
        )
    constants = {
        tensor.name: tensor.data.astype(np.int8)[None]
        for tensor in graph.tensors.values()
        if tensor.data is not None and tensor.dtype == "int8"
    }
    steps = [(op, _kernel(graph, op)) for op in graph.ops]
    size = max(1, _WORKSPACE_BYTES // max([_workspace(graph, op) for op in graph.ops], default=1))
    for start in range(0, len(inputs), size):
        batch = inputs[start : start + size]
        values = {**constants, source.name: batch.reshape(len(batch), *source.shape)}
        for op, kernel in steps:
            values[op.outputs[0]] = kernel(*(values[name] for name in op.operands))
        # what depends on constants alone was computed once for all examples
        yield {
            name: np.broadcast_to(each, (len(batch), *each.shape[1:]))
            for name, each in values.items()
        }


def _workspace(graph: Graph, op: Op) -> int:
    """Bytes an operator needs for one example: float patches, and accumulators of 8 bytes."""
    outputs, inputs = graph.output_of(op).elements, graph.input_of(op).elements
    if op.kind == "CONV_2D":
        filters = graph.constant_of(op)
        inputs = outputs * filters.elements // filters.shape[0] ** 2
    return 4 * inputs + 24 * outputs


def _kernel(graph: Graph, op: Op) -> Kernel:
    assert op.kind != "UNKNOWN", op  # check_int8 refuses it
    return KERNELS[op.kind](graph, op)
