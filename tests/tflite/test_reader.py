"""Reading .tflite files: our own back unchanged, other writers', and damaged ones."""

from collections.abc import Callable
from typing import Any, get_args

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.errors import ModelError
from micronas.graph import integer
from micronas.graph.ir import Graph, Kind
from micronas.tflite.reader import read, unpack_int4
from micronas.tflite.writer import pack_int4, to_flatbuffer
from testing.graphs import (
    ds_cnn,
    quantize_randomly,
    random_inputs,
    random_int8_graph,
    random_op_graph,
)
from tests.cases import seeds
from tests.lies import repacked, setting


def assert_same(left: Graph, right: Graph) -> None:
    assert (left.ops, left.inputs, left.outputs) == (right.ops, right.inputs, right.outputs)
    assert list(left.tensors) == list(right.tensors)
    for a, b in zip(left.tensors.values(), right.tensors.values(), strict=True):
        assert (a.shape, a.dtype, a.constant) == (b.shape, b.dtype, b.constant)
        assert (a.quantization is None) == (b.quantization is None)
        if a.quantization is not None and b.quantization is not None:
            assert a.quantization.scale.tobytes() == b.quantization.scale.tobytes()
            assert a.quantization.zero_point == b.quantization.zero_point
            assert a.quantization.axis == b.quantization.axis
        np.testing.assert_equal(a.data, b.data)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_networks_come_back_as_they_were_written(seed: int) -> None:
    graph = random_int8_graph(seed)
    assert_same(read(to_flatbuffer(graph)), graph)


@pytest.mark.parametrize("kind", get_args(Kind))
@seeds(range(15), range(1000, 1200))
def test_operators_come_back_as_they_were_written(kind: Kind, seeds: range) -> None:
    for seed in seeds:
        graph = random_op_graph(kind, seed)
        assert_same(read(to_flatbuffer(graph)), graph)


@given(st.lists(st.integers(-8, 7), max_size=33))
def test_int4_survives_packing(values: list[int]) -> None:
    packed = pack_int4(np.array(values, np.int8))
    assert len(packed) == (len(values) + 1) // 2
    assert unpack_int4(packed, len(values)).tolist() == values


# Other writers


def test_a_file_with_tensors_and_buffers_in_another_order() -> None:
    graph = random_int8_graph(4, family="mobilenet")
    inputs = random_inputs(graph, 3)

    def shuffle(tree: Any) -> None:
        part = tree.subgraphs[0]
        rng = np.random.default_rng(0)
        order = rng.permutation(len(part.tensors))
        place = {int(old): new for new, old in enumerate(order)}
        part.tensors = [part.tensors[old] for old in order]
        part.inputs = [place[i] for i in part.inputs]
        part.outputs = [place[i] for i in part.outputs]
        for op in part.operators:
            op.inputs = [place[i] for i in op.inputs]
            op.outputs = [place[i] for i in op.outputs]
        moved = rng.permutation(len(tree.buffers) - 1) + 1
        seat = {0: 0} | {int(old): new + 1 for new, old in enumerate(moved)}
        tree.buffers = [tree.buffers[0], *(tree.buffers[old] for old in moved)]
        for tensor in part.tensors:
            tensor.buffer = seat[tensor.buffer]

    other = read(repacked(to_flatbuffer(graph), shuffle))
    assert list(other.tensors) != list(graph.tensors)
    np.testing.assert_array_equal(integer.run(other, inputs), integer.run(graph, inputs))


def test_repeated_and_missing_names_are_made_unique() -> None:
    def rename(tree: Any) -> None:
        for tensor in tree.subgraphs[0].tensors[:5]:
            tensor.name = "same"
        tree.subgraphs[0].tensors[5].name = None
        tree.subgraphs[0].tensors[6].name = "same_1"

    graph = random_int8_graph(1)
    other = read(repacked(to_flatbuffer(graph), rename))
    assert list(other.tensors)[:5] == ["same", "same_1", "same_2", "same_3", "same_4"]
    assert len(other.tensors) == len(graph.tensors)
    inputs = random_inputs(graph, 2)
    np.testing.assert_array_equal(integer.run(other, inputs), integer.run(graph, inputs))


def test_an_operator_without_bias() -> None:
    def drop(tree: Any) -> None:
        tree.subgraphs[0].operators[0].inputs = [0, 1, -1]

    model = to_flatbuffer(quantize_randomly(ds_cnn(4, 1)))
    assert read(repacked(model, drop)).ops[0].inputs == ("input", "stem/weights")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda tree: setattr(tree.operatorCodes[0], "builtinCode", 108),
            r"op 0 is COS; change the network",
        ),
        (
            setting("tensors.0.type", schema.TensorType.FLOAT32),
            r"int8, int4 or int32 and dense, but 'input' is FLOAT32; .* int8 input and output",
        ),
        (
            setting("tensors.0.type", schema.TensorType.INT16),
            r"'input' is INT16; convert the model with int8 activations .* not as 16x8",
        ),
        (lambda tree: tree.subgraphs.append(tree.subgraphs[0]), r"1 subgraph, but this one has 2"),
        (
            setting("operators.0.builtinOptions.fusedActivationFunction", 4),
            r"cannot express every activation, and op 0 \(CONV_2D 'stem'\) has 4",
        ),
        (
            setting("tensors.1.quantization.zeroPoint", [0, 1, 0, 0]),
            r"all channels must share one zero point, but 'stem/weights' has several",
        ),
        (
            setting("tensors.1.quantization.zeroPoint", []),
            r"every tensor must be quantised, but 'stem/weights' is int8 without a scale",
        ),
        (lambda tree: setattr(tree.subgraphs[0], "inputs", [999]), r"damaged \(IndexError\)"),
        (lambda tree: setattr(tree.subgraphs[0], "inputs", [-5]), r"damaged \(IndexError\)"),
        (lambda tree: setattr(tree.subgraphs[0].tensors[1], "buffer", 999), r"damaged"),
        (
            setting("tensors.0.shape", [1, 49, 0, 1]),
            r"a tensor must have 1 to 67108864 elements, but 'input' has shape \(1, 49, 0, 1\)",
        ),
    ],
)
def test_what_a_graph_cannot_hold_is_named(edit: Callable[[Any], None], message: str) -> None:
    model = to_flatbuffer(quantize_randomly(ds_cnn(4, 1)))
    with pytest.raises(ModelError, match=message) as caught:
        read(repacked(model, edit))
    assert "\n" not in str(caught.value)


# Damage


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 100, b"GIF89a" * 10, b"\0\0\0\0TFL3"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="a model must"):
        read(data)


def test_vectors_longer_than_the_file_are_refused_at_once() -> None:
    model = bytearray(to_flatbuffer(random_op_graph("ADD", 0)))
    tensors = schema.Model.GetRootAs(bytes(model), 0).Subgraphs(0)
    table = tensors._tab
    start = table.Vector(table.Offset(4)) - 4  # the length of the vector of tensors
    model[start : start + 4] = (2**31).to_bytes(4, "little")
    with pytest.raises(ModelError, match="damaged"):
        read(bytes(model))
