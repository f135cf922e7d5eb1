"""Operators that only move values in ONNX: on codes, along axes counted as in the graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from micronas.export.onnx_writer import Writer
from micronas.graph import moves
from micronas.graph.ir import Op


def transposed(writer: Writer, op: Op) -> None:
    _moved(writer, op, "Transpose", perm=moves.integers(writer.graph, op))


def cut(writer: Writer, op: Op) -> None:
    """Write SLICE or STRIDED_SLICE; axes that stay whole are left out."""
    source, output = writer.graph.input_of(op), writer.graph.output_of(op)
    taken = moves.pieces(writer.graph, op) or ()
    cut = [(axis, p) for axis, p in enumerate(taken) if p != range(source.shape[axis])]
    columns = {
        "starts": [piece.start for _, piece in cut],
        "ends": [piece.stop if piece.stop >= 0 else -(2**31) for _, piece in cut],
        "axes": [axis for axis, _ in cut],
        "steps": [piece.step for _, piece in cut],
    }
    tables = [
        writer.constant(f"{output.name}:{column}", np.array(values, np.int64))
        for column, values in columns.items()
    ]
    value = writer.in_graph_order(source, output.name)
    value = writer.node("Slice", [value, *tables], f"{output.name}:cut")
    shape = writer.constant(f"{output.name}:shape", np.array(writer.leading(output.shape)))
    writer.to_nchw(writer.node("Reshape", [value, shape], f"{output.name}:rows"), output)


def gathered(writer: Writer, op: Op) -> None:
    places = np.asarray(writer.graph.constant_of(op).data, np.int64)
    table = writer.constant(f"{op.outputs[0]}:places", places)
    _moved(writer, op, "Gather", [table], axis=op.axis)


def repeated(writer: Writer, op: Op) -> None:
    """Write BROADCAST_TO, at the output's rank from the start."""
    source, output = writer.graph.input_of(op), writer.graph.output_of(op)
    widened = (1,) * (len(output.shape) - len(source.shape)) + source.shape
    value = writer.reshaped(source, widened, output.name)
    shape = writer.constant(f"{output.name}:target", np.array(output.shape, np.int64))
    writer.to_nchw(writer.node("Expand", [value, shape], f"{output.name}:wide"), output)


def _moved(
    writer: Writer, op: Op, kind: str, tables: Sequence[str] = (), **attributes: Any
) -> None:
    output = writer.graph.output_of(op)
    value = writer.in_graph_order(writer.graph.input_of(op), output.name)
    value = writer.node(kind, [value, *tables], f"{output.name}:moved", **attributes)
    writer.to_nchw(value, output)
