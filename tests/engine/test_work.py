"""Work of kernels that go by where things lie, beside a walk through their loops."""

from itertools import product

import numpy as np
import pytest

from micronas.engine.layout import Layout
from micronas.engine.steps import Call
from micronas.engine.work import work_of
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from testing.graphs import quantize_randomly, random_op_graph


def only(graph: Graph) -> tuple[Call, dict[str, float]]:
    """Return the call of a network of one, and the work of its function."""
    ((call,),) = Layout(graph, None).calls
    written = graph.tensors[graph.outputs[0]].elements
    (done,) = (each for each in work_of(call, written) if each.function == call.function)
    return call, done.terms


@pytest.mark.parametrize("seed", range(8))
def test_a_transposed_convolution_takes_what_passes_each_test(seed: int) -> None:
    call, terms = only(random_op_graph("TRANSPOSE_CONV", seed))
    w, counts = call.fields["window"], np.zeros(4, int)
    sides = [range(w[name]) for name in ("out_height", "out_width", "height", "width")]
    for y, x, i, j in product(*sides):
        down, across = y + w["top"] - i, x + w["left"] - j
        passed = [down >= 0 and across >= 0]
        passed.append(passed[-1] and down % w["stride_y"] == 0)
        passed.append(passed[-1] and across % w["stride_x"] == 0)
        is_in = down // w["stride_y"] < w["in_height"] and across // w["stride_x"] < w["in_width"]
        counts += [*passed, passed[-1] and is_in]
    names = ("after", "whole_rows", "whole", "taken")
    maps, channels = call.maps, call.fields["channels"]
    assert [terms[name] for name in names] == (maps * channels * counts).tolist()
    assert terms["macs"] == terms["taken"] * w["depth"]


@pytest.mark.parametrize("groups", [2, 4])
def test_a_grouped_convolution_takes_taps_inside_and_outside(groups: int) -> None:
    builder = Builder((5, 4, 8))
    value = builder.conv(builder.input, "y", 8, (3, 2), stride=(2, 1), groups=groups)
    call, terms = only(quantize_randomly(builder.finish(value), 1))
    w = call.fields["window"]
    sides = [range(w[name]) for name in ("out_height", "out_width", "height", "width")]
    inside = below = 0
    for y, x, i, j in product(*sides):
        row, column = y * w["stride_y"] - w["top"] + i, x * w["stride_x"] - w["left"] + j
        below += 0 <= row < w["in_height"]
        inside += 0 <= row < w["in_height"] and 0 <= column < w["in_width"]
    products = 8 * 8 // groups
    assert (terms["below"], terms["inside"]) == (below * products, inside * products)
