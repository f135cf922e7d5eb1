"""ONNX for operators that only move codes, along axes counted as in the graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from micronas.export.onnx_writer import TO_NCHW, Writer
from micronas.graph import moves
from micronas.graph.ir import Op
from micronas.graph.kernels import places


def moved(writer: Writer, op: Op) -> None:
    """Write any operator that moves values, as GATHER from its input as one row."""
    source, output = writer.graph.input_of(op), writer.graph.output_of(op)
    table = places(writer.graph, op).reshape(-1)
    value = writer.reshaped(source, (1, source.elements), output.name)
    at = writer.constant(f"{output.name}:places", table)
    value = writer.node("Gather", [value, at], f"{output.name}:picked", axis=1)
    rows = writer.constant(f"{output.name}:out", np.array(writer.leading(output.shape)))
    writer.to_nchw(writer.node("Reshape", [value, rows], f"{output.name}:moved"), output)


def transposed(writer: Writer, op: Op) -> None:
    _moved(writer, op, "Transpose", perm=moves.integers(writer.graph, op))


def cut(writer: Writer, op: Op) -> None:
    """Write SLICE or STRIDED_SLICE without the axes that stay whole."""
    name, shape = op.outputs[0], writer.graph.input_of(op).shape
    taken = moves.pieces(writer.graph, op) or ()
    kept = [(axis, p) for axis, p in enumerate(taken) if p != range(shape[axis])]
    columns = {
        "starts": [piece.start for _, piece in kept],
        "ends": [piece.stop if piece.stop >= 0 else -(2**31) for _, piece in kept],
        "axes": [axis for axis, _ in kept],
        "steps": [piece.step for _, piece in kept],
    }
    tables = [
        writer.constant(f"{name}:{column}", np.array(values, np.int64))
        for column, values in columns.items()
    ]
    output = writer.graph.output_of(op)
    value = writer.in_graph_order(writer.graph.input_of(op), name)
    value = writer.node("Slice", [value, *tables], f"{name}:cut")
    rows = writer.constant(f"{name}:shape", np.array(writer.leading(output.shape)))
    writer.to_nchw(writer.node("Reshape", [value, rows], f"{name}:rows"), output)


def gathered(writer: Writer, op: Op) -> None:
    places = np.asarray(writer.graph.constant_of(op).data, np.int64)
    table = writer.constant(f"{op.outputs[0]}:places", places)
    _moved(writer, op, "Gather", [table], axis=op.axis)


def broadcast(writer: Writer, op: Op) -> None:
    output, source = writer.graph.output_of(op), writer.graph.input_of(op)
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


def padded(writer: Writer, op: Op) -> None:
    """Write PADV2."""
    value, amounts = (writer.graph.constant_of(op, place).data for place in (1, 2))
    assert value is not None  # checked by check_int8
    assert amounts is not None
    fill = writer.constant(f"{op.outputs[0]}:fill", value.astype(np.int8).reshape(()))
    table = writer.constant(f"{op.outputs[0]}:pads", amounts.astype(np.int64).T.reshape(-1))
    _moved(writer, op, "Pad", [table, fill])


def batch_matmul(writer: Writer, op: Op) -> None:
    output, values = writer.graph.output_of(op), []
    for side, name, swap in zip(("left", "right"), op.operands, op.transposed, strict=True):
        tensor, prefix = writer.graph.tensors[name], f"{output.name}:{side}"
        wide = (1,) * (len(output.shape) - len(tensor.shape)) + tensor.shape
        if tensor.data is None:
            codes = writer.reshaped(tensor, wide, prefix)
        else:
            codes = writer.constant(prefix, tensor.data.astype(np.int8).reshape(wide))
        if swap:
            order = [*range(len(wide) - 2), len(wide) - 1, len(wide) - 2]
            codes = writer.node("Transpose", [codes], f"{prefix}:turned", perm=order)
        assert tensor.quantization is not None  # checked by check_int8
        values.append(writer.dequantise(codes, f"{prefix}:real", tensor.quantization))
    if len(output.shape) == 4:
        product = writer.node("MatMul", values, f"{output.name}:product")
        writer.finish(op, "Transpose", [product], perm=list(TO_NCHW))
    else:
        writer.finish(op, "MatMul", values)
