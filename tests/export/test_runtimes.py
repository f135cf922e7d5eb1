"""Runtimes side by side, where one of them lacks an operator."""

from micronas.export.runtimes import compare_runtimes
from micronas.tflite.writer import to_flatbuffer
from testing.builder import Builder
from testing.graphs import ds_cnn, quantize_randomly, random_inputs


def test_what_litert_refuses_is_compared_with_tflm_all_the_same() -> None:
    builder = Builder((3, 3, 4))
    graph = quantize_randomly(builder.finish(builder.function(builder.input, "y", "gelu")))
    found = compare_runtimes(to_flatbuffer(graph), random_inputs(graph, 5))
    assert (found["tflm_mismatches"], found["bytes_compared"]) == (0, 5 * 36)
    assert (found["litert_mismatches"], found["litert_max_difference"]) == (None, None)
    assert "LiteRT must be able to load the model" in found["litert_refusal"]


def test_what_both_take_has_no_refusal() -> None:
    graph = quantize_randomly(ds_cnn(4, 1))
    found = compare_runtimes(to_flatbuffer(graph), random_inputs(graph, 3))
    assert found["tflm_mismatches"] == 0
    assert found["litert_max_difference"] <= 1
    assert "litert_refusal" not in found
