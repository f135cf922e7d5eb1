"""The runtimes: what they compute, what they use, and how they say no."""

import os
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from micronas.errors import ExportError, ModelError
from micronas.export.verify import (
    Arena,
    Tflm,
    Verification,
    compare,
    litert_outputs,
    tflm_arena,
    tflm_run,
    verify,
)
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Kind, Quantization
from micronas.graph.operators import OPERATORS
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import (
    ds_cnn,
    quantize_randomly,
    random_inputs,
    random_int8_graph,
    random_op_graph,
)


def one_convolution(channels: int = 8, side: int = 10) -> Graph:
    builder = Builder((side, side, channels))
    return quantize_randomly(builder.finish(builder.conv(builder.input, "conv", channels)))


@pytest.mark.parametrize("seed", range(10))
def test_no_byte_differs(seed: int) -> None:
    graph = random_int8_graph(seed)
    inputs = random_inputs(graph, 8)
    classes = graph.tensors[graph.outputs[0]].elements
    assert verify(to_flatbuffer(graph), inputs) == Verification(8, 8 * classes, 0, 0)


def rescaled(kind: Kind, seed: int) -> Graph:
    """An operator whose output has a scale of its own, and sometimes a zero point."""
    graph = random_op_graph(kind, seed)
    output = graph.tensors["output"]
    scale = output.quantization.scale * np.float32(1.7)
    zero_point = output.quantization.zero_point if seed % 2 else 11 * seed
    other = replace(output, quantization=Quantization(scale, zero_point))
    return replace(graph, tensors={**graph.tensors, "output": other})


SHARING = [kind for kind, row in OPERATORS.items() if row.scale in ("shared", "identical")]


@pytest.mark.parametrize("kind", [kind for kind in SHARING if not OPERATORS[kind].compares])
def test_codes_are_computed_with_whatever_they_stand_for_as_on_tflm(kind: Kind) -> None:
    for seed in range(4):
        graph = rescaled(kind, seed)
        assert verify(to_flatbuffer(graph), random_inputs(graph, 3)).mismatches == 0


@pytest.mark.parametrize("kind", [kind for kind in SHARING if OPERATORS[kind].compares])
def test_where_tflm_compares_scales_both_refuse_others(kind: Kind) -> None:
    graph = rescaled(kind, 1)
    model, inputs = to_flatbuffer(graph), random_inputs(graph, 1)
    with pytest.raises(ModelError, match="must share one scale"):
        verify(model, inputs)
    with pytest.raises((ExportError, RuntimeError)):
        tflm_run(model, inputs)


def test_differences_are_counted() -> None:
    ours = np.array([[1, 2, -128], [4, 5, 6]], np.int8)
    theirs = np.array([[1, 3, 127], [4, 5, 6]], np.int8)
    assert compare(ours, theirs) == Verification(2, 6, 2, 255)


def test_batches_are_runs_of_single_examples() -> None:
    graph = random_int8_graph(3)
    model, inputs = to_flatbuffer(graph), random_inputs(graph, 5)
    for run in (lambda model, inputs: Tflm(model).outputs(inputs), litert_outputs):
        (whole,) = run(model, inputs)
        assert whole.shape == (5, graph.tensors[graph.outputs[0]].elements)
        assert whole.dtype == np.int8
        np.testing.assert_array_equal([whole[3:4]], run(model, inputs[3:4]))


def test_the_arena_head_holds_input_and_output() -> None:
    arena = tflm_arena(to_flatbuffer(one_convolution()))
    assert arena.head == 2 * 10 * 10 * 8
    assert 500 < arena.tail < 5000
    assert arena.total == arena.head + arena.tail


def test_networks_larger_than_the_first_arena() -> None:
    graph = one_convolution(24, 1200)
    assert tflm_arena(to_flatbuffer(graph)).head == 2 * 24 * 1200 * 1200


def test_arenas_are_measured_one_thread_at_a_time() -> None:
    models = [to_flatbuffer(one_convolution(channels)) for channels in range(2, 10)]
    alone = [tflm_arena(model) for model in models]
    together: dict[int, Arena] = {}
    threads = [
        threading.Thread(target=lambda i=i: together.update({i: tflm_arena(models[i])}))
        for i in range(len(models))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[i] for i in range(len(models))] == alone


def test_stderr_is_put_back() -> None:
    before = os.fstat(2)
    tflm_arena(to_flatbuffer(one_convolution()))
    graph = per_channel_int4()
    with pytest.raises(ExportError):
        tflm_run(to_flatbuffer(graph), random_inputs(graph, 1))
    after = os.fstat(2)
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)


def per_channel_int4() -> Graph:
    """A network TFLM refuses: int4 FULLY_CONNECTED with a scale for each channel."""
    graph = quantize_randomly(ds_cnn(6, 1, 5), filters="int4")
    weights = graph.tensors["classifier/weights"]
    broken = replace(weights, quantization=Quantization(np.full(5, 0.1, np.float32), 0, 0))
    return replace(graph, tensors={**graph.tensors, weights.name: broken})


def test_a_refusal_says_what_tflm_says() -> None:
    graph = per_channel_int4()
    with pytest.raises(ExportError, match=r"TFLM must be able to load .*kTfLiteInt4") as caught:
        verify(to_flatbuffer(graph), random_inputs(graph, 2))
    assert "\n" not in str(caught.value)


def test_without_the_wheel_the_error_says_where_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    model = to_flatbuffer(one_convolution())
    with pytest.raises(ExportError, match=r"exists for Linux on x86-64 and CPython 3\.10 to 3\.13"):
        tflm_arena(model)


@pytest.mark.parametrize("run", [tflm_run, litert_outputs, verify])
def test_inputs_that_do_not_match_are_refused(run: object) -> None:
    model = to_flatbuffer(one_convolution())
    for inputs in (
        np.zeros((2, 10, 10, 7), np.int8),
        np.zeros((2, 10, 10, 8), np.uint8),
        np.zeros((0, 10, 10, 8), np.int8),
    ):
        with pytest.raises(ModelError, match="inputs must"):
            run(model, inputs)  # type: ignore[operator]


def test_damaged_models_never_reach_the_runtime() -> None:
    model = to_flatbuffer(one_convolution())
    with pytest.raises(ModelError, match="damaged"):
        verify(model[:400], np.zeros((1, 10, 10, 8), np.int8))
