"""Work of kernels, beside a walk through their loops and what an emulated core counts."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from micronas.engine.layout import Layout
from micronas.engine.steps import Call
from micronas.engine.work import TAPS, work_of
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from testing.engine import build, examples, on_core, wanted
from testing.graphs import quantize_randomly, random_op_graph
from testing.m4_cycles import cost_of, costs_by_function


def only(graph: Graph) -> tuple[Call, dict[str, float]]:
    """Return the call of a network of one, and the work of its function."""
    ((call,),) = Layout(graph, None).calls
    written = graph.tensors[graph.outputs[0]].elements
    (done,) = (each for each in work_of(call, written) if each.function == call.function)
    return call, done.terms


@pytest.mark.parametrize("seed", range(8))
def test_a_transposed_convolution_takes_the_taps_its_strides_lead_to(seed: int) -> None:
    call, terms = only(random_op_graph("TRANSPOSE_CONV", seed))
    w = call.fields["window"]
    names = ("with_rows", "rows", "rows_inside", "with_taps", "taps", "taken")
    met: dict[str, set[tuple[int, ...]]] = {name: set() for name in names}
    sides = [range(w[name]) for name in ("out_height", "out_width", "height", "width")]
    for y, x, i, j in product(*sides):
        row, no_row = divmod(y + w["top"] - i, w["stride_y"])
        column, no_column = divmod(x + w["left"] - j, w["stride_x"])
        is_in = not no_row and 0 <= row < w["in_height"]
        is_tap = is_in and not no_column
        for name, is_met, place in (
            ("with_rows", not no_row, (y, x)),
            ("rows", not no_row, (y, x, i)),
            ("rows_inside", is_in, (y, x, i)),
            ("with_taps", is_tap, (y, x, i)),
            ("taps", is_tap, (y, x, i, j)),
            ("taken", is_tap and 0 <= column < w["in_width"], (y, x, i, j)),
        ):
            met[name] |= {place} if is_met else set()
    times = call.maps * call.fields["channels"]
    assert {name: terms[name] for name in names} == {n: times * len(met[n]) for n in names}
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
    assert (terms["below"], terms["within"]) == (below * 8, inside * 8)
    assert terms["inside"] == inside * products
    assert terms["macs"] == w["out_height"] * w["out_width"] * 6 * products


_VALUED = ("SOFTMAX", "LOG_SOFTMAX", "PRELU", "L2_NORMALIZATION", "UNIDIRECTIONAL_SEQUENCE_LSTM")


@pytest.mark.firmware
@pytest.mark.parametrize("kind", [*_VALUED, "ADD", "SUM", "REDUCE_MAX", "RESIZE_BILINEAR", "SUB"])
def test_instructions_do_not_depend_on_values(kind: Any, tmp_path: Path) -> None:
    graph = random_op_graph(kind, 3)
    program, counts = build(graph, tmp_path), set()
    for seed in range(3):
        on_core(program, {name: e[2:] for name, e in examples(graph, 3, seed).items()}, graph)
        counts.add(cost_of(program, "net_invoke", [tmp_path / "examples"]).instructions)
    assert len(counts) == 1


@pytest.mark.firmware
@pytest.mark.parametrize("filters", ["int8", "int4"])
@pytest.mark.parametrize(
    ("taps", "stride", "dilation"),
    [
        ((3, 4), (2, 2), (1, 1)),
        ((1, 5), (1, 1), (1, 2)),
        ((5, 1), (1, 1), (2, 1)),
        ((4, 3), (1, 3), (1, 1)),
    ],
)
def test_a_window_takes_the_instructions_that_are_written(
    taps: Any, stride: Any, dilation: Any, filters: Any, tmp_path: Path
) -> None:
    builder = Builder((9, 11, 3))
    value = builder.depthwise(builder.input, "y", taps, stride=stride, dilation=dilation)
    graph = quantize_randomly(builder.finish(value), 1, filters=filters)
    ((call,),) = Layout(graph, None).calls
    (done,) = (each for each in work_of(call, 1) if each.function == TAPS)
    program, given = build(graph, tmp_path), examples(graph, 1)
    assert on_core(program, given, graph).outputs == wanted(graph, given)
    costs = costs_by_function(program, "net_invoke", [tmp_path / "examples"])
    assert costs[call.fields["taps"]].instructions == done.terms["instructions"]
