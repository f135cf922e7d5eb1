"""The profile of any model: attribution, what is left out, boards, int4 and metadata."""

import json
import math
from dataclasses import replace
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest
import torch

from micronas import to_tflite
from micronas.errors import ExportError, ModelError
from micronas.export.verify import tflm_arena
from micronas.graph.averages import Average, with_averages
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from micronas.hardware.board import Board, available
from micronas.hardware.latency import CONSTANT
from micronas.hardware.profile import on_boards, profile
from micronas.hardware.table import profile_table
from micronas.hardware.targets import CMSIS_NN, HELIUM, MICRONAS
from micronas.tflite.metadata import describe, entries, placeholder, read_metadata
from micronas.tflite.reader import read
from micronas.tflite.writer import flatbuffer_bytes, to_flatbuffer
from micronas.train.network import Network
from testing.graphs import ds_cnn, quantize_randomly, random_int8_graph, random_shapes
from testing.published import GRAPHS
from tests.boards import shipped
from tests.lies import repacked

BOARD = Board.load("stm32f446re")
CLASSES = [f"word {number}" for number in range(12)]


def with_cos(graph: Graph) -> bytes:
    """Write a graph whose RELU operators are COS, which a graph cannot express."""

    def replaced(tree: Any) -> None:
        for code in tree.operatorCodes:
            if code.builtinCode == schema.BuiltinOperator.RELU:
                code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.COS

    return repacked(to_flatbuffer(graph), replaced)


def relu_after_each_convolution(graph: Graph) -> Graph:
    """Give every CONV_2D a RELU operator behind it."""
    tensors, ops = {}, []
    for op in graph.ops:
        if op.kind != "CONV_2D":
            ops.append(op)
            continue
        inner = replace(graph.output_of(op), name=f"{op.name}/before")
        tensors[inner.name] = inner
        ops.append(replace(op, outputs=(inner.name,)))
        ops.append(replace(op, kind="RELU", inputs=(inner.name,), stride=(1, 1), activation="NONE"))
    return replace(graph, tensors={**graph.tensors, **tensors}, ops=tuple(ops))


@pytest.mark.parametrize("name", available())
def test_the_time_of_layers_and_the_constant_make_up_the_whole(name: str) -> None:
    board = shipped(name)
    described = profile(ds_cnn(), board, kind="kws")
    constant = board.latency_model("kws").coefficients.get(CONSTANT, 0.0)
    shares = sum(layer["latency_share"] for layer in described["layers"])
    assert shares * described["latency_ms"] + constant == pytest.approx(described["latency_ms"])


def test_a_layer_says_its_kernel_stride_type_and_part() -> None:
    stem, depthwise, *_ = profile(ds_cnn(), BOARD)["layers"]
    assert (stem["kernel"], stem["stride"], stem["weights_dtype"]) == ([10, 4], [2, 2], "int8")
    assert (stem["macs"], stem["weights_bytes"]) == (25 * 5 * 64 * 40, 64 * 40 + 4 * 64)
    assert depthwise["kernel"] == [3, 3]
    board = BOARD.using("terms")
    terms = board.latency_model().coefficients
    copied = {"im2col_bytes": 125 * 40, "im2col_taps": 125 * 40}
    alone = {"conv_macs": 320_000, "conv_outputs": 8000, **copied}
    expected = sum(terms[term] * alone.get(term, 0) for term in terms)
    described = profile(ds_cnn(), board)
    assert described["layers"][0]["latency_share"] * described["latency_ms"] == pytest.approx(
        expected
    )


def test_instructions_of_layers_add_up_and_make_the_latency() -> None:
    described = profile(ds_cnn(), BOARD)
    assert described["latency_form"] == "instructions"
    layers = [layer["instructions"] for layer in described["layers"]]
    assert sum(layers) == pytest.approx(described["instructions"], abs=len(layers))
    rate = BOARD.latency_model().coefficients["instructions"]
    assert described["latency_ms"] == pytest.approx(rate * described["instructions"], rel=1e-5)
    assert "instructions" not in profile(ds_cnn(), Board.load("esp32"))


def test_pooling_says_what_mean_would_take() -> None:
    """130 instructions an input element against 6, counted on a simulated core."""
    described = profile(ds_cnn(), BOARD)
    (pool,) = described["pooling"]
    assert pool["op"] == "AVERAGE_POOL_2D"
    inputs = 25 * 5 * 64
    assert pool["mean_instructions"] == pytest.approx(130.4 * inputs, rel=0.01)
    assert pool["average_pool_instructions"] == pytest.approx(6.1 * inputs, rel=0.1)
    saved = pool["mean_instructions"] - pool["average_pool_instructions"]
    rate = BOARD.latency_model().coefficients["instructions"]
    assert pool["difference_ms"] == pytest.approx(saved * rate, rel=1e-4)
    assert "AVERAGE_POOL_2D takes" in profile_table(described)
    with_mean = profile(GRAPHS["ds_64x4"], BOARD, flash_bytes=50_000)
    (mean,) = with_mean["pooling"]
    assert mean["op"] == "MEAN"
    assert mean["mean_instructions"] == pool["mean_instructions"]
    assert "AVERAGE_POOL_2D of 5x1, then MEAN, would take" in profile_table(with_mean)


@pytest.mark.parametrize("how", ["pool", "parts"])
@pytest.mark.parametrize("size", [(3, 3), (7, 7), (8, 8), (25, 5), (98, 1)])
def test_the_exporters_choice_is_advised_and_nothing_against_it(
    size: tuple[int, int], how: Average
) -> None:
    def profiled(how: Average) -> dict[str, Any]:
        builder = Builder((*size, 40))
        pooled = builder.global_average(builder.input, "pool")
        graph = builder.finish(builder.dense(pooled, "classes", 4))
        return profile(with_averages(graph, how), BOARD)

    assert all(each["op"] != "MEAN" for each in profiled(how)["pooling"])
    advised, ours = profiled("mean")["pooling"], profiled("parts")
    layers = {layer["name"]: layer["instructions"] for layer in ours["layers"]}
    if not advised:
        assert "pool/parts" not in layers
    for each in advised:
        own = layers["pool"] + layers.get("pool/parts", 0)
        assert each["average_pool_instructions"] == pytest.approx(own, abs=2)


def test_what_a_form_was_not_fitted_to_is_priced_and_flagged() -> None:
    """MEAN and SOFTMAX were counted, but no count of the whole network stands for them."""
    graph = GRAPHS["ds_64x4"]
    by_kernel, by_terms = (
        profile(graph, BOARD.using(form), flash_bytes=50_000) for form in ("instructions", "terms")
    )
    for described, flagged in ((by_kernel, set()), (by_terms, {"MEAN", "SOFTMAX"})):
        found = {each["op"] for each in described["layers"] if "extrapolated" in each["flags"]}
        assert found == flagged
        assert ("priced from above" in profile_table(described)) == bool(flagged)
        assert described["latency_excludes"] == []
    share = {layer["op"]: layer["latency_share"] for layer in by_terms["layers"]}
    assert share["MEAN"] > 0.05
    alone = {"coefficients": {"conv_macs": 1e-5}}
    models = tuple(model.model_copy(update=alone) for model in BOARD.latency)
    plain = BOARD.model_copy(update={"latency": models})
    described = profile(graph, plain, flash_bytes=50_000)
    assert described["latency_excludes"] == ["MEAN", "SOFTMAX"]
    assert "at least" in profile_table(described)


def test_a_prior_is_called_one() -> None:
    prior = Board.load("nucleo_u575zi")
    assert "prior, not validated" in profile_table(profile(ds_cnn(), prior))
    assert "prior" not in profile_table(profile(ds_cnn(), BOARD))


def test_unknown_operators_are_listed_and_bounds_marked() -> None:
    graph = relu_after_each_convolution(random_int8_graph(1, family="ds_cnn"))
    count = sum(op.kind == "RELU" for op in graph.ops)
    known = profile(graph, BOARD)
    data = with_cos(graph)
    described = profile(read(data, unknown="keep"), BOARD, flash_bytes=len(data))
    assert described["unknown_ops"] == {"COS": count}
    assert described["latency_excludes"] == ["COS"]
    assert described["fits"] is None
    assert described["macs"] == known["macs"]
    assert described["flash_bytes"] == len(data)
    assert described["arena_head_bytes"] == known["arena_head_bytes"]
    assert known["unknown_ops"] == {}
    assert known["latency_excludes"] == []
    assert known["fits"] is True
    table = profile_table(described)
    assert f"not counted: COS x{count}" in table
    assert "at least" in table
    assert "at least" not in profile_table(known)
    unknown = [layer for layer in described["layers"] if layer["op"] == "COS"]
    assert all(layer["latency_share"] == 0 and "unknown" in layer["flags"] for layer in unknown)


def test_a_file_of_int16_has_its_arena_and_no_prices_of_int8() -> None:
    shapes = random_shapes(3, family="ds_cnn")
    module, source = Network(shapes).eval(), shapes.tensors["input"].shape
    x = torch.randn(2, source[3], *source[1:3])
    narrow, wide = (to_tflite(module, x, calibration=x, activations=bits) for bits in (8, 16))
    graph = read(wide, unknown="keep", wide=True)
    first, second = profile(read(narrow), BOARD), profile(graph, BOARD, flash_bytes=len(wide))
    assert second["macs"] == first["macs"]
    assert second["host_arena_bytes"] == tflm_arena(wide).total
    assert not second["arena_is_lower_bound"]
    assert second["unknown_ops"] == {}
    assert {"ADD", "FULLY_CONNECTED"} & {*second["latency_excludes"]}
    assert "not counted: " + second["latency_excludes"][0] in profile_table(second)
    # CMSIS-NN's convolutions of int16 copy two patches, on Helium four of whole vectors
    op = next(op for op in graph.ops if op.kind == "CONV_2D")
    patch = graph.constant_of(op).elements // graph.output_of(op).shape[3]
    assert CMSIS_NN.scratch(graph, op) == (4 * patch,)
    assert HELIUM.scratch(graph, op) == (64 * math.ceil(patch / 8),)
    with pytest.raises(ModelError, match="of int16"):
        MICRONAS.plan(graph)


def test_int4_is_judged_on_the_board_alone() -> None:
    shapes = ds_cnn(276, 9)
    wide, packed = (quantize_randomly(shapes, filters=kind) for kind in ("int8", "int4"))
    first, second = profile(wide, BOARD), profile(packed, BOARD)
    assert second["flash_bytes"] < 0.8 * first["flash_bytes"]
    assert second["host_arena_bytes"] > first["host_arena_bytes"]
    assert second["host_arena_head_bytes"] == tflm_arena(to_flatbuffer(packed)).head
    between = (second["arena_required_bytes"] + second["host_arena_bytes"]) // 2
    reserved = BOARD.reserved.model_copy(update={"flash_bytes": 0})
    board = BOARD.model_copy(
        update=dict(sram_bytes=between + reserved.sram_bytes, flash_bytes=2**21, reserved=reserved)
    )
    assert profile(packed, board)["fits"] is True
    assert "SRAM is judged on the board" in profile_table(second)
    assert "SRAM is judged on the board" not in profile_table(first)


def test_boards_differ_in_what_fits() -> None:
    graph = ds_cnn(276, 9)
    boards = [shipped(name) for name in available()]
    rows = on_boards(graph, boards, kind="kws")
    assert [row["board"] for row in rows] == available()
    for row, board in zip(rows, boards, strict=True):
        described = profile(graph, board, kind="kws")
        arena = max(described["arena_required_bytes"], described["host_arena_bytes"])
        fits = arena <= board.arena_bytes and described["flash_bytes"] <= board.model_bytes
        assert row["fits"] == fits
        assert row["latency_ms"] == described["latency_ms"]
    assert {row["fits"] for row in rows} == {False, True}


def test_metadata_comes_back_and_its_size_is_known_before() -> None:
    shapes = ds_cnn(16, 2)
    graph = quantize_randomly(shapes)
    described = describe(classes=CLASSES, meaning={"features": "mfcc", "window_ms": 40})
    data = to_flatbuffer(graph, metadata=described)
    assert len(data) == flatbuffer_bytes(shapes, metadata=placeholder(12))
    found = read_metadata(data)
    assert found["labels"] == CLASSES
    assert found["input"] == {"features": "mfcc", "window_ms": 40}
    assert entries(data) == described
    assert read_metadata(to_flatbuffer(graph)) == {}
    assert tflm_arena(data) == tflm_arena(to_flatbuffer(graph))
    np.testing.assert_array_equal(
        read(data).tensors["stem/weights"].data, graph.tensors["stem/weights"].data
    )


def test_metadata_that_cannot_be_kept_or_read_is_refused() -> None:
    with pytest.raises(ExportError, match="shorten the labels"):
        describe(classes=["a" * 400], meaning={})
    graph = quantize_randomly(ds_cnn(16, 2))
    for blob in (b"{", b"[]", b"\xff\xfe", json.dumps({"labels": 3}).encode()):
        with pytest.raises(ModelError, match="metadata must be as micronas writes it"):
            read_metadata(to_flatbuffer(graph, metadata={"micronas": blob}))
