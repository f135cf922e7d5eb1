"""Operators on maps in ONNX: reductions, transposed convolutions, resizing, blocks of pixels."""

from typing import Any

import numpy as np

from micronas.export.onnx_writer import TO_NCHW, TO_NHWC, Writer
from micronas.graph import resizing
from micronas.graph.ir import Op
from micronas.graph.kernels.codes import data
from micronas.graph.kernels.maps import reduced_axes
from micronas.graph.transposing import before


def reduced(writer: Writer, op: Op, kind: str) -> None:
    """Write MEAN, SUM or REDUCE_MAX, whose axes are those of NHWC."""
    source, output = writer.graph.input_of(op), writer.graph.output_of(op)
    rank, axes = len(source.shape), reduced_axes(writer.graph, op)
    kept = len(output.shape) == rank
    value = writer.real(source.name)
    if rank == 4 and (kept or axes == [1, 2]):
        axes = sorted(TO_NCHW.index(axis) for axis in axes)
    elif rank == 4:  # remaining axes are stored in NHWC's order
        value = writer.node("Transpose", [value], f"{output.name}:nhwc", perm=list(TO_NHWC))
    attributes: dict[str, Any] = {"keepdims": int(kept)}
    operands = [value]
    if kind == "ReduceSum":
        operands.append(writer.constant(f"{output.name}:axes", np.array(axes, np.int64)))
    else:
        attributes["axes"] = axes
    if not kept and len(axes) == rank:  # a scalar where TFLite has one element
        value = writer.node(kind, operands, f"{output.name}:number", **attributes)
        one = writer.constant(f"{output.name}:one", np.array([1], np.int64))
        writer.finish(op, "Reshape", [value, one])
    else:
        writer.finish(op, kind, operands, **attributes)


def transposed(writer: Writer, op: Op) -> None:
    """Write TRANSPOSE_CONV; `output_padding` enlarges a map beyond the filters' reach."""
    source, output = writer.graph.input_of(op), writer.graph.output_of(op)
    weights = writer.graph.constant_of(op)
    kernel = np.transpose(data(weights), (3, 0, 1, 2))  # [in, out, height, width]
    pads, more = [], []
    for side in (1, 2):
        whole = (source.shape[side] - 1) * op.stride[side - 1] + weights.shape[side]
        first = before(weights.shape[side], op.reach[side - 1])
        after = whole - output.shape[side] - first
        pads.append((first, max(after, 0)))
        more.append(max(-after, 0))
    (top, bottom), (left, right) = pads
    writer.finish(
        op,
        "ConvTranspose",
        [writer.real(source.name), *writer.parameters(op, kernel, axis=1)],
        kernel_shape=list(weights.shape[1:3]),
        strides=list(op.stride),
        pads=[top, left, bottom, right],
        output_padding=more,
    )


def resized_nearest(writer: Writer, op: Op) -> None:
    """Write RESIZE_NEAREST_NEIGHBOR as a gather of rows, then of columns."""
    source, output = writer.graph.input_of(op), writer.graph.output_of(op)
    rows, columns = (
        writer.constant(
            f"{output.name}:{'rows' if side == 1 else 'columns'}",
            resizing.nearest(source.shape[side], output.shape[side], op),
        )
        for side in (1, 2)
    )
    codes = writer.node("Gather", [f"{source.name}:int8", rows], f"{output.name}:tall", axis=2)
    writer.node("Gather", [codes, columns], f"{output.name}:int8", axis=3)


def resized_bilinear(writer: Writer, op: Op) -> None:
    """Write RESIZE_BILINEAR as products with the pixels' weights in TFLM's fixed point."""
    source, output = writer.graph.input_of(op), writer.graph.output_of(op)
    matrices = []
    for side in (1, 2):
        size, out = source.shape[side], output.shape[side]
        first, second, share = resizing.between(size, out, op)
        matrix = np.zeros((out, size), np.float32)
        np.add.at(matrix, (np.arange(out), first), (1024 - share) / 1024)
        np.add.at(matrix, (np.arange(out), second), share / 1024)
        matrices.append(matrix)
    down = writer.constant(f"{output.name}:down", matrices[0])
    across = writer.constant(f"{output.name}:across", np.ascontiguousarray(matrices[1].T))
    tall = writer.node("MatMul", [down, writer.real(source.name)], f"{output.name}:tall")
    writer.finish(op, "MatMul", [tall, across])


def in_blocks(writer: Writer, op: Op) -> None:
    """Write SPACE_TO_DEPTH or DEPTH_TO_SPACE, whose channels are in ONNX's order DCR."""
    if op.kind == "SPACE_TO_DEPTH":
        writer.simple(op, "SpaceToDepth", blocksize=op.block)
    else:
        writer.simple(op, "DepthToSpace", blocksize=op.block, mode="DCR")
