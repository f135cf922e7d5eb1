"""Float graphs whose activations are marked int16, for networks that lose too much in int8."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from micronas.errors import ExportError
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.kernels.rule import grouped
from micronas.graph.requantize import owners


def widened(graph: Graph) -> Graph:
    """Return a float32 graph with the same results and its activations marked int16.

    HARD_SWISH, for which TFLM has no kernel of int16, becomes x * relu6(x + 3) / 6; layers without
    a bias, which its kernels of int16 read, get one of zeros. Raises ExportError if TFLM or
    CMSIS-NN has no kernel of int16 for an operator; the error names all.
    """
    tensors = dict(graph.tensors)
    ops = tuple(new for op in graph.ops for new in _rewritten(graph, op, tensors))
    graph = replace(graph, tensors=tensors, ops=ops)
    refused: dict[str, list[str]] = {}
    for op in ops:
        if not op.row.wide or grouped(graph, op):
            kind = op.function or f"{op.kind}{' in groups' * grouped(graph, op)}"
            refused.setdefault(kind, []).append(op.name)
    if refused:
        listed = (
            f"{kind} ({names[0]}{f' and {len(names) - 1} more' * (len(names) > 1)})"
            for kind, names in refused.items()
        )
        raise ExportError(
            "every operator must have a kernel for activations of 16 bits in TFLite Micro, but "
            f"none is there for {', '.join(listed)}; replace these, or export with activations=8"
        )
    marked = {name: replace(tensors[name], dtype="int16") for name in owners(graph)}
    return replace(graph, tensors={**tensors, **marked})


def _rewritten(graph: Graph, op: Op, tensors: dict[str, Tensor]) -> Iterator[Op]:
    weights = op.row.weights
    if op.kind == "HARD_SWISH":
        yield from _hard_swish(graph, op, tensors)
    elif op.kind == "POSITIONS":
        return  # named by its TABLE
    elif weights and not op.biases:
        channels = graph.constant_of(op).shape[weights.axis]
        bias = _constant(tensors, f"{op.name}/bias", np.zeros(channels, np.float32))
        yield replace(op, inputs=(*op.inputs[:2], bias, *op.inputs[2:]))
    else:
        yield op


def _hard_swish(graph: Graph, op: Op, tensors: dict[str, Tensor]) -> Iterator[Op]:
    (source,), (out,) = op.inputs, op.outputs
    ones = (1,) * len(graph.output_of(op).shape)
    gate, product = f"{op.name}/gate", f"{op.name}/product"
    for name in (gate, product):
        tensors[name] = replace(graph.tensors[out], name=name)
    three = _constant(tensors, f"{op.name}/three", np.full(ones, 3, np.float32))
    sixth = _constant(tensors, f"{op.name}/sixth", np.full(ones, 1 / 6, np.float32))
    yield Op("ADD", gate, (source, three), (gate,), activation="RELU6")
    yield Op("MUL", product, (source, gate), (product,))
    yield Op("MUL", op.name, (product, sixth), (out,))


def _constant(tensors: dict[str, Tensor], name: str, data: np.ndarray) -> str:
    tensors[name] = Tensor(name, data.shape, constant=True, data=data)
    return name
