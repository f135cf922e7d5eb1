"""Files a graph cannot express: kept as far as they can be counted and planned, or refused."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest

from micronas.errors import ExportError, ModelError
from micronas.export.verify import tflm_arena, tflm_run
from micronas.graph import integer
from micronas.graph.check import check_structure
from micronas.graph.counts import count, per_op
from micronas.graph.ir import Graph, Kind, Op, Quantization, Tensor
from micronas.hardware.targets import HOST, plan
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import ds_cnn, quantize_randomly, random_int8_graph, random_op_graph
from testing.networks import random_network
from tests.cases import seeds
from tests.lies import repacked, setting

MODES: tuple[Literal["refuse", "keep"], ...] = ("refuse", "keep")


def append_op(tree: Any, code: int, inputs: list[int], outputs: list[int]) -> Any:
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
    tree.operatorCodes.append(entry)
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = len(tree.operatorCodes) - 1, inputs, outputs
    return op


def float_copy(tree: Any, index: int) -> int:
    """Add a float32 tensor of the shape of another and return its index."""
    tensors = tree.subgraphs[0].tensors
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer = tensors[index].shape, schema.TensorType.FLOAT32, 0
    tensor.name = f"float{len(tensors)}"
    tensors.append(tensor)
    return len(tensors) - 1


def float_ends(tree: Any) -> None:
    """Give a network a float32 input and output, as converters do unless told otherwise."""
    part = tree.subgraphs[0]
    first, last = int(part.inputs[0]), int(part.outputs[0])
    source, target = float_copy(tree, first), float_copy(tree, last)
    quantize = append_op(tree, schema.BuiltinOperator.QUANTIZE, [source], [first])
    dequantize = append_op(tree, schema.BuiltinOperator.DEQUANTIZE, [last], [target])
    part.operators = [quantize, *part.operators, dequantize]
    part.inputs, part.outputs = [source], [target]


def hyperbolic_tangent(tree: Any) -> None:
    """Make the first operator one that no graph has."""
    op = append_op(tree, schema.BuiltinOperator.TANH, [], [])
    tree.subgraphs[0].operators[0].opcodeIndex = op.opcodeIndex


@pytest.mark.parametrize("seed", range(20))
def test_float_ends_are_kept_and_planned(seed: int) -> None:
    graph = random_int8_graph(seed)
    model = repacked(to_flatbuffer(graph), float_ends)
    with pytest.raises(ModelError, match="tensors must be int8, int4 or int32 and dense"):
        read(model)
    kept = read(model, unknown="keep")
    assert [(op.kind, op.name) for op in (kept.ops[0], kept.ops[-1])] == [
        ("UNKNOWN", "QUANTIZE"),
        ("UNKNOWN", "DEQUANTIZE"),
    ]
    assert kept.ops[1:-1] == graph.ops
    assert kept.tensors[kept.inputs[0]].dtype == "float32"
    assert count(kept) == count(graph)
    assert [row.macs for row in per_op(kept)[1:-1]] == [row.macs for row in per_op(graph)]
    predicted, measured = plan(kept, HOST), tflm_arena(model)
    assert predicted.head == measured.head
    assert predicted.tail < measured.tail  # what QUANTIZE's kernel keeps is not known
    assert (predicted.complete, plan(graph).complete) == (False, True)


@pytest.mark.parametrize("seed", range(10))
def test_what_a_graph_expresses_is_kept_as_it_is(seed: int) -> None:
    model = to_flatbuffer(random_network(seed))
    assert read(model, unknown="keep") == read(model)


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (hyperbolic_tangent, "TANH"),
        (setting("operators.0.builtinOptions.fusedActivationFunction", 4), "CONV_2D"),
        (setting("tensors.1.quantization.zeroPoint", [0, 1, 0, 0]), "CONV_2D"),
        (setting("tensors.1.quantization.scale", [1, np.nan, 1, 1]), "CONV_2D"),
        (setting("tensors.0.type", schema.TensorType.INT16), "CONV_2D"),
        (setting("operators.0.inputs", [0, -1, 1, 2]), "CONV_2D"),
    ],
)
def test_an_operator_that_cannot_be_expressed_is_kept_unknown(
    edit: Callable[[Any], None], name: str
) -> None:
    graph = quantize_randomly(ds_cnn(4, 1))
    kept = read(repacked(to_flatbuffer(graph), edit), unknown="keep")
    first, *others = kept.ops
    assert (first.kind, first.name, first.inputs[0], first.outputs) == (
        "UNKNOWN",
        name,
        "input",
        ("stem",),
    )
    assert tuple(others) == graph.ops[1:]
    stem = per_op(graph)[0].macs
    assert count(kept).macs == count(graph).macs - stem
    wide = 2 if kept.tensors["input"].dtype == "int16" else 1
    assert plan(kept).buffers[0].size == 16 * -(-49 * 10 * wide // 16)


def test_custom_operators_have_their_authors_name_and_any_number_of_tensors() -> None:
    def edit(tree: Any) -> None:
        part = tree.subgraphs[0]
        extra = [float_copy(tree, int(part.outputs[0])) for _ in range(3)]
        op = append_op(tree, schema.BuiltinOperator.CUSTOM, [], extra[:2])
        tree.operatorCodes[-1].customCode = "Ethos"
        sink = append_op(tree, schema.BuiltinOperator.ASSIGN_VARIABLE, [extra[2], extra[0]], [])
        part.tensors[extra[2]].isVariable = True
        part.operators = [*part.operators, op, sink]

    graph = quantize_randomly(ds_cnn(4, 1))
    kept = read(repacked(to_flatbuffer(graph), edit), unknown="keep")
    custom, sink = kept.ops[-2:]
    assert (custom.name, custom.inputs, len(custom.outputs)) == ("Ethos", (), 2)
    assert (sink.name, sink.outputs) == ("ASSIGN_VARIABLE", ())
    assert per_op(kept)[-2].input_shape == per_op(kept)[-1].output_shape == ()
    names = {buffer.name for buffer in plan(kept).buffers}
    assert set(custom.outputs) <= names
    assert sink.inputs[0] not in names  # a variable lives in the tail
    assert kept.tensors[sink.inputs[0]].constant


def test_control_flow_and_text_are_refused_in_both_modes() -> None:
    model = to_flatbuffer(quantize_randomly(ds_cnn(4, 1)))
    twice = repacked(model, lambda tree: tree.subgraphs.append(tree.subgraphs[0]))
    with pytest.raises(ModelError, match="1 subgraph, but this one has 2"):
        read(twice, unknown="keep")
    text = repacked(
        model, lambda tree: setattr(tree.subgraphs[0].tensors[0], "type", schema.TensorType.STRING)
    )
    with pytest.raises(ModelError, match="tensors must be numbers, but 'input' is STRING"):
        read(text, unknown="keep")


def test_unknown_operators_are_not_exported() -> None:
    graph = random_op_graph("RELU", 0)
    op = replace(graph.ops[0], kind="UNKNOWN", name="TANH")
    with pytest.raises(ExportError, match="a graph can express, but 'output' comes from TANH"):
        to_flatbuffer(replace(graph, ops=(op,)))


# Damage


@seeds(range(2000), range(10_000, 30_000))
def test_damaged_files_are_refused_or_read(seeds: range) -> None:
    """In both modes."""
    models = [to_flatbuffer(random_op_graph(kind, 3)) for kind in get_args(Kind)]
    models += [to_flatbuffer(random_network(seed)) for seed in range(5)]
    models += [repacked(to_flatbuffer(random_int8_graph(6)), float_ends)]
    refused: list[str] = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        damaged = bytearray(models[seed % len(models)])
        if rng.random() < 0.3:
            del damaged[int(rng.integers(0, len(damaged))) :]
        for _ in range(int(rng.integers(1, 12)) if len(damaged) else 0):
            value = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
            damaged[int(rng.integers(0, min(len(damaged), 2000)))] = value
        for mode in MODES:
            start = time.process_time()
            try:
                check_kept(read(bytes(damaged), unknown=mode))
            except ModelError as error:
                refused.append(str(error))
            assert time.process_time() - start < 2
    assert not any("\n" in message for message in refused)
    assert len(seeds) / 2 < len(refused) < 1.95 * len(seeds)


def check_kept(graph: Graph) -> None:
    """A graph that was read can be counted and planned."""
    check_structure(graph)
    assert len(per_op(graph)) == len(graph.ops)
    assert count(graph).macs >= 0
    assert plan(graph).required >= plan(graph).total


@pytest.mark.parametrize(
    ("kind", "source", "output", "axis"),
    [("SQUEEZE", (1, 4, 1, 3), (1, 4, 3), None), ("EXPAND_DIMS", (1, 4, 3), (1, 4, 1, 3), 2)],
)
def test_dimensions_of_one_come_and_go(
    kind: str, source: tuple[int, ...], output: tuple[int, ...], axis: int | None
) -> None:
    """Written as RESHAPE, then renamed in the file."""
    scale = Quantization(np.array([0.1], np.float32), 5)
    tensors = {
        "x": Tensor("x", source, "int8", quantization=scale),
        "axis": Tensor("axis", (1,), "int32", True, data=np.array([axis or 0], np.int32)),
        "y": Tensor("y", output, "int8", quantization=scale),
    }
    inputs = ("x", "axis") if axis is not None else ("x",)
    graph = Graph(tensors, (Op("RESHAPE", "y", inputs, ("y",)),), ("x",), ("y",))

    def rename(tree: Any) -> None:
        entry = tree.operatorCodes[0]
        entry.builtinCode = entry.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        name = {"SQUEEZE": "SqueezeOptions", "EXPAND_DIMS": "ExpandDimsOptions"}[kind]
        op = tree.subgraphs[0].operators[0]
        op.builtinOptions = getattr(schema, f"{name}T")()
        if kind == "SQUEEZE":
            op.builtinOptions.squeezeDims = [2]
        op.builtinOptionsType = getattr(schema.BuiltinOptions, name)

    data = repacked(to_flatbuffer(graph), rename)
    found = read(data)
    assert [op.kind for op in found.ops] == ["RESHAPE"]
    codes = np.arange(12, dtype=np.int8).reshape(source)
    theirs = tflm_run(data, codes)
    np.testing.assert_array_equal(integer.run(found, codes), theirs)
    assert theirs.shape == output
    assert abs(plan(found, HOST).total - tflm_arena(data).total) <= 32
