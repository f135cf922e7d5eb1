"""Run a graph of int8, or int16 activations, in NumPy, bit for bit as TensorFlow Lite Micro does.

Every kernel (`graph.kernels`) repeats the arithmetic of TFLM's reference kernel (double rounding),
not its loops: dot products use floating-point BLAS, in a type that holds each partial sum exactly,
so that their order does not matter.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from micronas.errors import ModelError
from micronas.graph.check import check_int8
from micronas.graph.interface import Given, by_name, only_output
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.kernels import kernel_of
from micronas.graph.kernels.codes import Values, data, stored

_WORKSPACE_BYTES = 32 * 2**20


def run(graph: Graph, inputs: Given[Values]) -> Values:
    """Compute the output of an int8 graph of one output.

    Raises ModelError if the graph is not a complete int8 graph, or `inputs` do not match its
    inputs; DataError if there are not as many inputs as the graph takes, or several outputs.

    Parameters
    ----------
    inputs
        int8 [N, height, width, channels] (or [N, ...] for an input of another rank); for several
        inputs a tuple in the graph's order, or a mapping by name.

    Returns
    -------
    int8 [N, ...], equal to TFLM's reference kernels bit for bit.
    """
    return run_outputs(graph, inputs)[only_output(graph)]


def run_outputs(graph: Graph, inputs: Given[Values]) -> dict[str, Values]:
    """Compute the outputs of an int8 graph by name, in its order, as `run` does."""
    return _joined(graph, inputs, graph.outputs)


def run_all(graph: Graph, inputs: Given[Values]) -> dict[str, Values]:
    """Compute every activation by name, as `run` does its output; inputs are included."""
    written = (name for op in graph.ops for name in op.outputs)
    return _joined(graph, inputs, (*graph.inputs, *written))


def _joined(graph: Graph, inputs: Given[Values], names: Sequence[str]) -> dict[str, Values]:
    parts = [[values[name] for name in names] for values in _chunks(graph, inputs)]
    return {
        name: _unbatched(np.concatenate(pieces), graph.tensors[name])
        for name, *pieces in zip(names, *parts, strict=True)
    }


def _unbatched(values: Values, tensor: Tensor) -> Values:
    """Replace a leading 1 by N."""
    one = len(tensor.shape) > 1 and tensor.shape[0] == 1
    return values.reshape(len(values), *tensor.shape[1:]) if one else values


def _chunks(graph: Graph, inputs: Given[Values]) -> Iterator[dict[str, Values]]:
    """Run the graph on as many examples at a time as bounded memory allows."""
    check_int8(graph, wide=True)
    given = by_name(graph, inputs)
    count = _examples(graph, given)
    constants = {
        tensor.name: stored(data(tensor), tensor)[None]
        for tensor in graph.tensors.values()
        if tensor.data is not None and tensor.dtype in ("int8", "int16")
    }
    steps = [(op, kernel_of(graph, op)) for op in graph.ops]
    size = max(1, _WORKSPACE_BYTES // max([_workspace(graph, op) for op in graph.ops], default=1))
    for start in range(0, count, size):
        values = dict(constants)
        for name, examples in given.items():
            batch = examples[start : start + size]
            values[name] = batch.reshape(len(batch), *graph.tensors[name].shape)
        for op, kernel in steps:
            values[op.outputs[0]] = kernel(*(values[name] for name in op.operands))
        # values that depend on constants alone were computed once for all examples
        yield {
            name: np.broadcast_to(each, (len(batch), *each.shape[1:]))
            for name, each in values.items()
        }


def _examples(graph: Graph, given: Mapping[str, Values]) -> int:
    """Check inputs and return their number of examples."""
    count = len(next(iter(given.values())))
    for name, values in given.items():
        shape = graph.tensors[name].shape
        expected = shape[1:] if shape[0] == 1 else shape
        kind = graph.tensors[name].dtype
        if values.dtype != np.dtype(kind) or values.shape[1:] != expected or len(values) == 0:
            which = f" {name!r}" if len(given) > 1 else ""
            raise ModelError(
                f"inputs{which} must be {kind} [N, {', '.join(map(str, expected))}] with N >= 1, "
                f"but got {values.dtype} {list(values.shape)}; quantise and batch them first"
            )
        if len(values) != count:
            raise ModelError(
                f"all inputs must have as many examples, but {next(iter(given))!r} has {count} and "
                f"{name!r} {len(values)}; cut them to one length"
            )
    return count


def _workspace(graph: Graph, op: Op) -> int:
    """Return the bytes an operator needs for one example: float patches, 8-byte accumulators."""
    outputs, inputs = graph.output_of(op).elements, graph.input_of(op).elements
    if op.kind in ("RESIZE_BILINEAR", "TRANSPOSE_CONV"):
        inputs = 12 * outputs  # four pixels as int64, or rows of the map under its filters
    if op.kind == "CONV_2D":
        filters = graph.constant_of(op)
        inputs = outputs * filters.elements * graph.groups_of(op) // filters.shape[0] ** 2
    return 4 * inputs + 24 * outputs
