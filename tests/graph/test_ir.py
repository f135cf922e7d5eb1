"""Values of the graph compare by what a device would see; the table of operators is complete."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from micronas.graph.ir import Op, Quantization
from micronas.graph.operators import OPERATORS, Kind, each_kind
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


def test_a_table_without_a_kind_is_an_error_that_names_it() -> None:
    complete = dict.fromkeys(get_args(Kind), 0)
    assert each_kind("room", complete) == complete
    del complete["HARD_SWISH"]
    with pytest.raises(LookupError, match=r"room must have .* HARD_SWISH; add what is missing"):
        each_kind("room", complete)


def test_weights_come_after_the_operands() -> None:
    for kind, row in OPERATORS.items():
        fewest, most = row.inputs
        own = 2 + row.tables, 3 + row.tables
        assert (fewest, most) == own if row.weights else fewest <= most, kind
        assert (row.operands or most) <= most, kind
