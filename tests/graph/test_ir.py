"""Values of the graph compare and hash by what a device would see."""

from dataclasses import replace

import numpy as np

from micronas.graph.ir import Op, Quantization
from testing.graphs import random_int8_graph


def test_quantizations_compare_by_every_scale() -> None:
    scales = np.array([0.1, 0.2], np.float32)
    one = Quantization(scales, 0, 3)
    assert one == Quantization(scales.copy(), 0, 3)
    assert hash(one) == hash(Quantization(scales.copy(), 0, 3))
    for other in (
        Quantization(np.array([0.1, 0.3], np.float32), 0, 3),
        Quantization(scales[:1], 0, 3),
        Quantization(scales, 1, 3),
        Quantization(scales, 0, 0),
        "scales",
    ):
        assert one != other


def test_graphs_with_scales_for_each_channel_compare() -> None:
    graph, again = random_int8_graph(3), random_int8_graph(3)
    assert graph == again
    name = graph.ops[0].inputs[1]
    quantization = graph.tensors[name].quantization
    assert len(quantization.scale) > 1
    wider = replace(quantization, scale=quantization.scale * np.float32(2))
    tensors = {**graph.tensors, name: replace(graph.tensors[name], quantization=wider)}
    assert replace(graph, tensors=tensors) != graph


def test_operands_are_what_an_operator_computes_with() -> None:
    names = ("a", "b", "c")
    assert Op("CONV_2D", "x", names, ("x",)).operands == ("a",)
    assert Op("ADD", "x", names[:2], ("x",)).operands == ("a", "b")
    assert Op("CONCATENATION", "x", names, ("x",)).operands == names
    assert Op("UNKNOWN", "SPLIT", names, ("x", "y")).operands == names
