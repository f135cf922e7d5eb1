"""Work of kernels, beside what an emulated core counts."""

from pathlib import Path
from typing import Any

import pytest

from micronas.engine.generate import generate
from micronas.engine.layout import Layout
from micronas.engine.work import TAPS, work_of
from micronas.export.firmware.board import CORTEX_M4
from micronas.graph.ir import Graph
from testing.builder import Builder
from testing.engine import THUMB_1, build, check_on_host, examples, on_core, wanted
from testing.engine_costs import measured, predicted
from testing.graphs import quantize_randomly, random_op_graph
from testing.m4_cycles import cost_of, costs_by_function


def in_parts() -> Graph:
    """Filters of several channels, in groups, and between strides."""
    builder = Builder((7, 6, 3))
    value = builder.depthwise(builder.input, "a", (3, 2), multiplier=2, activation="RELU")
    value = builder.depthwise(value, "b", (1, 3), multiplier=3, stride=(2, 1))
    value = builder.conv(value, "c", 10, (3, 2), stride=(1, 2), groups=2, activation="RELU6")
    value = builder.conv(value, "d", 20, (2, 1), groups=10)
    value = builder.transposed(value, "e", 17, (3, 2), stride=(2, 2))
    value = builder.transposed(value, "f", 4, (2, 3), activation="RELU")
    return quantize_randomly(builder.finish(value), 1)


@pytest.mark.parametrize("most", [None, 0])
def test_groups_strides_and_several_filters_have_kernels(most: int | None, tmp_path: Path) -> None:
    graph = in_parts()
    assert generate(graph, most=most).references == ()
    check_on_host(graph, tmp_path, most=most)


@pytest.mark.firmware
def test_they_take_on_emulated_cores_what_is_predicted(tmp_path: Path) -> None:
    graph = in_parts()
    given, ours, theirs = examples(graph, 3), predicted(graph), measured(graph)
    assert ours["arena"] == theirs["arena"]
    for name in ("flash", "instructions", "cycles"):
        assert ours[name] == pytest.approx(theirs[name], rel=0.02), name
    for board in (CORTEX_M4, THUMB_1):
        ran = on_core(build(graph, tmp_path, board), given, graph, board)
        assert ran.outputs == wanted(graph, given)


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
