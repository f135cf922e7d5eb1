"""The flatbuffer: layout, size, determinism, and that both runtimes take it."""

import random
from dataclasses import replace
from typing import Any, get_args

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.errors import ExportError
from micronas.export.runtimes import compare_runtimes
from micronas.export.verify import litert_outputs, tflm_arena, tflm_run, verify
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Kind
from micronas.hardware.targets import HOST, plan
from micronas.space.space import Space
from micronas.tflite.reader import read
from micronas.tflite.writer import flatbuffer_bytes, pack_int4, to_flatbuffer
from testing.graphs import (
    ds_cnn,
    quantize_randomly,
    random_inputs,
    random_int8_graph,
    random_op_graph,
    random_shapes,
)
from testing.published import GRAPHS
from tests.cases import seeds


def parsed(model: bytes) -> Any:
    return schema.Model.GetRootAs(model, 0)


@pytest.mark.parametrize("seed", range(6))
def test_every_buffer_starts_at_a_multiple_of_16(seed: int) -> None:
    model = to_flatbuffer(random_int8_graph(seed), metadata={"note": b"odd"})
    tree = parsed(model)
    starts = []
    for index in range(tree.BuffersLength()):
        table = tree.Buffers(index)._tab
        if table.Offset(4):
            starts.append(table.Vector(table.Offset(4)))
    assert len(starts) > 5
    assert {start % 16 for start in starts} == {0}


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["ds_cnn", "mobilenet"]))
def test_the_size_is_known_before_training(seed: int, family: str) -> None:
    shapes = random_shapes(seed, family=family)
    trained = to_flatbuffer(quantize_randomly(shapes, seed))
    again = to_flatbuffer(quantize_randomly(shapes, seed + 1))
    assert flatbuffer_bytes(shapes) == len(trained) == len(again)
    assert flatbuffer_bytes(quantize_randomly(shapes, seed)) == len(trained)


def test_the_file_is_no_larger_than_the_converters() -> None:
    # TensorFlow 2.21's converter writes 44,232 bytes for this network (with MEAN and SOFTMAX).
    assert flatbuffer_bytes(ds_cnn()) < 44_232
    payload = 64 * 40 + 4 * (64 * 9 + 64 * 64) + 12 * 64 + 4 * (9 * 64 + 12)
    assert payload < flatbuffer_bytes(ds_cnn())


def test_the_size_of_a_network_of_mixed_bits_is_known() -> None:
    space = Space.load("kws_mixed")
    graph = space.resolve(space.random(random.Random(0)))
    quantised = quantize_randomly(graph)
    assert "int4" in {tensor.dtype for tensor in quantised.tensors.values()}
    assert len(to_flatbuffer(quantised)) == flatbuffer_bytes(graph)


KEYWORDS = GRAPHS["MicroNet-KWS-M"]


def with_int4(kinds: tuple[str, ...]) -> Graph:
    """KWS-M with int4 weights for some kinds of operators."""
    packed = quantize_randomly(KEYWORDS, filters="int4")
    tensors = dict(quantize_randomly(KEYWORDS).tensors)
    for op in packed.ops:
        if op.kind in kinds:
            tensors[op.inputs[1]] = packed.tensors[op.inputs[1]]
    return replace(packed, tensors=tensors)


@pytest.mark.parametrize(
    ("kinds", "most"),
    [
        (("CONV_2D",), 0.65),
        (("DEPTHWISE_CONV_2D",), 0.99),
        (("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), 0.61),
    ],
)
def test_int4_keyword_networks_are_smaller_and_exact(kinds: tuple[str, ...], most: float) -> None:
    graph = with_int4(kinds)
    model, int8 = to_flatbuffer(graph), to_flatbuffer(quantize_randomly(KEYWORDS))
    assert len(model) < most * len(int8)
    assert verify(model, random_inputs(graph, 2)).mismatches == 0
    predicted, arena = plan(graph, HOST), tflm_arena(model)
    assert (predicted.head, predicted.tail) == (arena.head, arena.tail)
    # On the board kernels unpack as they go; a depthwise one needs a patch of int16 at most.
    grown = plan(graph).head - plan(KEYWORDS).head
    assert 0 <= grown <= 2 * 9 * 140 + 16


def test_int4_goes_low_half_first() -> None:
    assert pack_int4(np.array([1, 2, -1, -8, 7], np.int8)) == bytes([0x21, 0x8F, 0x07])


def test_shape_tables_that_repeat_are_stored_once() -> None:
    builder = Builder((4, 4, 3))
    value = builder.input
    for index in range(4):
        wide = builder.conv(value, f"conv{index}", 5)
        value = builder.conv(builder.add(value, wide, f"add{index}"), f"back{index}", 3)
    graph = quantize_randomly(builder.finish(value))
    tables = [name for name in graph.tensors if name.endswith("amounts")]
    part = parsed(to_flatbuffer(graph)).Subgraphs(0)
    buffers = {part.Tensors(i).Buffer() for i, name in enumerate(graph.tensors) if name in tables}
    assert (len(tables), len(buffers)) == (4, 1)


def test_litert_wants_to_be_told_more_of_an_lstm_than_tflm() -> None:
    model = to_flatbuffer(random_op_graph("UNIDIRECTIONAL_SEQUENCE_LSTM", 0))
    with pytest.raises(ExportError, match="num_intermediate_tensors == 5 was not true"):
        litert_outputs(model, np.zeros((1, 1, 1), np.int8))
    graph = read(model)
    found = compare_runtimes(model, random_inputs(graph, 3))
    assert (found["tflm_mismatches"], found["litert_mismatches"]) == (0, None)
    assert "LiteRT must be able to load" in found["litert_refusal"]


NOT_IN_LITERT = {"ELU", "POSITIONS", "TABLE", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
"""No reference kernel, QUANTIZE to int32, which TFLM alone has, and LSTMs that say too little."""


@pytest.mark.parametrize("kind", sorted({*get_args(Kind)} - NOT_IN_LITERT))
@seeds(range(12), range(1000, 1200))
def test_litert_takes_every_operator(kind: Kind, seeds: range) -> None:
    for seed in seeds:
        graph = random_op_graph(kind, seed, plain=True)
        inputs = random_inputs(graph, 3, seed)
        model = to_flatbuffer(graph)
        theirs = litert_outputs(model, inputs)[0].astype(int)
        if kind == "SUM":  # LiteRT's reference kernel writes -1 where scales differ
            continue
        assert np.abs(theirs - tflm_run(model, inputs)).max() <= (kind == "FULLY_CONNECTED")


def test_per_channel_fully_connected_runs() -> None:
    graph = quantize_randomly(ds_cnn(6, 1, 5), by_output=True)
    assert graph.tensors["classifier/weights"].per_channel
    model, inputs = to_flatbuffer(graph), random_inputs(graph, 10)
    assert verify(model, inputs).mismatches == 0
    difference = litert_outputs(model, inputs)[0].astype(int) - tflm_run(model, inputs)
    assert np.abs(difference).max() <= 1


def test_float_graphs_are_refused() -> None:
    with pytest.raises(ExportError, match="export takes tensors quantised to int8, but 'input' is"):
        to_flatbuffer(ds_cnn())


def test_constants_without_data_are_refused() -> None:
    graph = quantize_randomly(ds_cnn(4, 1))
    object.__setattr__(graph.tensors["stem/bias"], "data", None)
    with pytest.raises(ExportError, match="must have data of its shape, but 'stem/bias'"):
        to_flatbuffer(graph)
