"""Valid flatbuffers that lie: how to make those that once did harm."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np

from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Quantization
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly, random_int8_graph, random_op_graph


def packed(tree: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def repacked(model: bytes, edit: Callable[[Any], None]) -> bytes:
    """Change a file through the generated object API: a writer that is not ours."""
    tree = schema.ModelT.InitFromPackedBuf(model)
    edit(tree)
    return packed(tree)


def setting(field: str, value: Any) -> Callable[[Any], None]:
    """Return an edit of a field by its place in the first subgraph, as "tensors.0.type"."""

    def edit(tree: Any) -> None:
        *places, name = field.split(".")
        found = tree.subgraphs[0]
        for place in places:
            found = found[int(place)] if place.isdecimal() else getattr(found, place)
        setattr(found, name, value)

    return edit


def ds_cnn() -> Graph:
    return random_int8_graph(0, family="ds_cnn")


def full_buffer_0(size: int) -> bytes:
    """TFLM takes buffer 0 for what activations are in."""

    def fill(tree: Any) -> None:
        tree.buffers[0].data = np.full(size, 65, np.uint8)

    return repacked(to_flatbuffer(ds_cnn()), fill)


def sums(count: int, operands: Callable[[int], list[int]]) -> bytes:
    """A file of `count` additions; operation n writes tensor n + 1 and reads `operands(n)`."""
    builder = Builder((4, 4, 4))
    graph = quantize_randomly(builder.finish(builder.add(builder.input, builder.input, "sum")))
    written, tensors = (
        graph.tensors["sum"],
        {"t0": replace(graph.tensors[builder.input], name="t0")},
    )
    ops = []
    for number in range(count):
        name = f"t{number + 1}"
        tensors[name] = replace(written, name=name)
        inputs = tuple(f"t{index}" for index in operands(number))
        ops.append(replace(graph.ops[0], name=name, inputs=inputs, outputs=(name,)))
    return to_flatbuffer(
        replace(graph, tensors=tensors, ops=tuple(ops), inputs=("t0",), outputs=(f"t{count}",))
    )


def shared_scales(tensors: int, scales: int) -> bytes:
    """A file whose tensors all point to one table with so many scales."""

    def edit(tree: Any) -> None:
        part = tree.subgraphs[0]
        large = copy.copy(part.tensors[0])
        large.quantization = copy.copy(large.quantization)
        large.quantization.scale = np.ones(scales, np.float32)
        large.quantization.zeroPoint = np.zeros(scales, np.int64)
        part.tensors = [large, *(copy.copy(part.tensors[0]) for _ in range(tensors))]
        part.operators, part.inputs, part.outputs = [], [0], [0]

    model = bytearray(repacked(to_flatbuffer(ds_cnn()), edit))
    part = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    target = part.Tensors(0).Quantization()._tab.Pos
    for number in range(1, tensors + 1):
        table = part.Tensors(number)._tab
        field = table.Pos + table.Offset(12)  # its quantisation
        model[field : field + 4] = (target - field).to_bytes(4, "little")
    return bytes(model)


def scaled(source: float, weights: float, output: float, activation: Any = "NONE") -> Graph:
    """One convolution of these scales."""
    builder = Builder((4, 4, 3))
    name = builder.conv(builder.input, "conv", 5, activation=activation)
    graph = quantize_randomly(builder.finish(name))
    for tensor, scale in ((graph.inputs[0], source), ("conv/weights", weights), (name, output)):
        old = graph.tensors[tensor]
        scales = np.full_like(old.quantization.scale, scale)
        graph.tensors[tensor] = replace(old, quantization=replace(old.quantization, scale=scales))
    return graph


def constant_output() -> Graph:
    """Nothing reads the input."""
    builder = Builder((2, 2, 3))
    graph = quantize_randomly(builder.finish(builder.add(builder.input, builder.input, "sum")))
    data = np.arange(12, dtype=np.int8).reshape(1, 2, 2, 3)
    graph.tensors["sum"] = replace(graph.tensors["sum"], constant=True, data=data)
    return replace(graph, ops=())


def depth_multiplier() -> bytes:
    """TFLM believes the option whatever the filters' shape, and reads beyond them."""

    def edit(tree: Any) -> None:
        operators = tree.subgraphs[0].operators
        kind = schema.DepthwiseConv2DOptionsT
        options = [each.builtinOptions for each in operators]
        next(each for each in options if isinstance(each, kind)).depthMultiplier = 7

    return repacked(to_flatbuffer(ds_cnn()), edit)


def scaled_gates(place: int, scale: float) -> bytes:
    """An LSTM one of whose weights (places 1 to 8) or whose output (0) has this scale."""
    graph = random_op_graph("UNIDIRECTIONAL_SEQUENCE_LSTM", 0)
    op = next(op for op in graph.ops if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM")
    for name in (op.inputs[place],) if place else (op.inputs[13], op.outputs[0]):
        old = graph.tensors[name]
        assert old.quantization is not None
        scaled = replace(old.quantization, scale=np.array([scale], np.float32))
        graph.tensors[name] = replace(old, quantization=scaled)
    return to_flatbuffer(graph)


def leaky(source: float, output: float, alpha: float) -> bytes:
    """One LEAKY_RELU of these scales."""
    graph = random_op_graph("LEAKY_RELU", 0, plain=True)
    (op,) = graph.ops
    for name, scale in ((op.inputs[0], source), (op.outputs[0], output)):
        quantization = Quantization(np.array([scale], np.float32), 0)
        graph.tensors[name] = replace(graph.tensors[name], quantization=quantization)
    return to_flatbuffer(replace(graph, ops=(replace(op, alpha=alpha),)))


def joined_along(axis: int) -> bytes:
    """A CONCATENATION of tensors of rank 4; TFLM takes axes from -4 to 3."""

    def edit(tree: Any) -> None:
        tree.subgraphs[0].operators[0].builtinOptions.axis = axis

    return repacked(to_flatbuffer(random_op_graph("CONCATENATION", 0)), edit)


def dilation(step: int) -> bytes:
    """A window that spans more than any map."""

    def edit(tree: Any) -> None:
        options = [each.builtinOptions for each in tree.subgraphs[0].operators]
        kind = schema.Conv2DOptionsT
        next(each for each in options if isinstance(each, kind)).dilationWFactor = step

    return repacked(to_flatbuffer(ds_cnn()), edit)
