"""The predicted arena against TFLM on this host and against arenas measured on a Cortex-M4."""

import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_micro.python.tflite_micro import runtime

from micronas.export.verify import tflm_arena
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.memory import ArenaPlan, Buffer, Request, place
from micronas.hardware.targets import CMSIS_NN, HOST, MICRONAS, Target, plan
from micronas.tflite.writer import to_flatbuffer
from testing import census
from testing.builder import Builder
from testing.graphs import quantize_randomly, random_int8_graph, random_op_graph
from testing.interfaces import beside
from testing.published import GRAPHS

# the planner


def lowest_fit(requests: list[Request]) -> list[int]:
    """Search every offset at which a placed buffer ends, instead of walking the gaps."""
    placed: dict[int, int] = {}
    for index in sorted(range(len(requests)), key=lambda i: (requests[i][0], i), reverse=True):
        size, first, last = requests[index]
        busy = [
            (offset, offset + requests[other][0])
            for other, offset in placed.items()
            if requests[other][1] <= last and first <= requests[other][2]
        ]
        placed[index] = min(
            start
            for start in [0, *(end for _, end in busy)]
            if all(start + size <= low or high <= start for low, high in busy)
        )
    return [placed[index] for index in range(len(requests))]


lifetimes = st.tuples(st.integers(1, 9), st.integers(0, 12), st.integers(0, 5)).map(
    lambda drawn: (16 * drawn[0], drawn[1], drawn[1] + drawn[2])
)


@settings(max_examples=300)
@given(st.lists(lifetimes, max_size=25))
def test_place_equals_an_exhaustive_lowest_fit(requests: list[Request]) -> None:
    assert place(requests) == lowest_fit(requests)


# the host


def check_host(graph: Graph) -> None:
    predicted, measured = plan(graph, HOST), tflm_arena(to_flatbuffer(graph))
    assert (predicted.head, predicted.tail) == (measured.head, measured.tail)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_single_operators_equal_tflm(kind: Kind) -> None:
    for seed in range(12):  # a quarter of them with int4 weights
        check_host(random_op_graph(kind, seed))


@pytest.mark.parametrize("seed", range(16))
def test_networks_equal_tflm(seed: int) -> None:
    check_host(random_int8_graph(seed))
    check_host(random_int8_graph(seed, family="series" if seed % 4 == 0 else "maps"))


@pytest.mark.parametrize(
    "name", ["MicroNet-KWS-M", "MicroNet-VWW-2", "TFLM person detection", "MLPerf-SWW", "mn_a35_48"]
)
@pytest.mark.parametrize("filters", ["int8", "int4"])
def test_published_networks_equal_tflm(name: str, filters: str) -> None:
    check_host(quantize_randomly(GRAPHS[name], filters=filters))


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "FULLY_CONNECTED"])
def test_long_chains_equal_tflm(kind: str) -> None:
    """The alignment of every piece shows up at some length."""
    builder = Builder((3, 3, 5))
    source = builder.input
    for number in range(9):
        if kind == "CONV_2D":
            source = builder.conv(source, f"op{number}", 5 + number)
        elif kind == "DEPTHWISE_CONV_2D":
            source = builder.depthwise(source, f"op{number}", (3, 3))
        elif kind == "ADD":
            source = builder.add(source, source, f"op{number}")
        elif kind == "MUL":
            op = Op("MUL", f"op{number}", (source, source), (f"op{number}",))
            source = builder.append(op, builder.shape(source))
        else:
            source = builder.dense(source, f"op{number}", 7)
        check_host(quantize_randomly(builder.finish(source)))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_operators_between_others_equal_tflm(kind: Kind) -> None:
    """MUL's four bytes of options put what follows off an alignment of eight."""
    for seed in range(3):
        drawn = [random_op_graph(each, seed) for each in ("MUL", kind, "MUL", kind, "MUL")]
        check_host(beside(drawn))


# the board


def test_107_arenas_measured_on_a_cortex_m4() -> None:
    rows = census.rows("census_models")
    assert len(rows) == 107
    predicted = {row["id"]: plan(census.network(row)).total for row in rows}
    assert predicted == {row["id"]: int(row["arena_m4_cmsisnn"]) for row in rows}


def scratch_sizes(graph: Graph) -> dict[str, int]:
    return {buffer.name: buffer.size for buffer in plan(graph).buffers if buffer.is_scratch}


def test_scratch_of_cmsis_nn() -> None:
    builder = Builder((8, 8, 3))
    source = builder.conv(builder.input, "conv3x3", 10, (3, 3))  # 27 -> 28 values, 2 rows of int16
    source = builder.depthwise(source, "dw3x3", (3, 3))
    source = builder.depthwise(source, "dw5x5", (5, 5))  # 250 values of int16
    source = builder.conv(source, "conv1x1", 6)
    graph = builder.finish(builder.global_average(source, "pool"))  # 6 sums of int32
    assert scratch_sizes(graph) == {
        "conv3x3/scratch": 112,
        "dw5x5/scratch": 512,
        "pool/scratch": 32,
    }
    packed = {
        name: replace(tensor, dtype="int4") if name.endswith("/weights") else tensor
        for name, tensor in graph.tensors.items()
    }
    assert scratch_sizes(replace(graph, tensors=packed)) == {
        "conv3x3/scratch": 112,  # 108, rounded up to 16
        "dw3x3/scratch": 192,  # 180
        "dw5x5/scratch": 512,
        "pool/scratch": 32,
    }


# what allocating takes


@pytest.mark.parametrize("seed", range(12))
def test_required_is_enough_for_tflm(seed: int) -> None:
    for kind in get_args(Kind):
        graph = random_op_graph(kind, seed)
        runtime.Interpreter.from_bytes(to_flatbuffer(graph), arena_size=plan(graph, HOST).required)


def test_a_wide_layer_needs_more_to_allocate_than_to_run(tmp_path: Path) -> None:
    builder = Builder((1, 1, 4))
    graph = quantize_randomly(builder.finish(builder.conv(builder.input, "wide", 1024)))
    predicted = plan(graph, HOST)
    assert predicted.required > 2 * predicted.total
    file = tmp_path / "wide.tflite"
    file.write_bytes(to_flatbuffer(graph))
    program = (
        "import sys; from tflite_micro.python.tflite_micro import runtime; "
        "runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))"
    )
    codes = [
        subprocess.run(
            [sys.executable, "-c", program, str(file), str(size)], capture_output=True, check=False
        ).returncode
        for size in (predicted.required, predicted.required // 16 * 16 - 64)
    ]
    assert codes[0] == 0
    assert codes[1] != 0


def test_a_large_head_needs_nothing_more() -> None:
    predicted = plan(GRAPHS["MicroNet-KWS-M"])
    assert predicted.required == predicted.total


# the plan as a whole


def live(predicted: ArenaPlan, position: int) -> list[Buffer]:
    """Return the buffers in use while the operator at this position runs, by offset."""
    found = [each for each in predicted.buffers if each.first <= position + 1 <= each.last]
    return sorted(found, key=lambda buffer: buffer.offset)


def test_live_buffers_of_a_residual() -> None:
    builder = Builder((4, 4, 4))
    hidden = builder.conv(builder.input, "a", 8)
    hidden = builder.conv(hidden, "b", 4)
    graph = builder.finish(builder.add(builder.input, hidden, "add"))
    predicted = plan(graph)
    assert [{buffer.name for buffer in live(predicted, position)} for position in range(3)] == [
        {"input", "a"},
        {"input", "a", "b"},
        {"input", "b", "add"},
    ]
    assert predicted.head == 64 + 128 + 64  # input, a, b at once


@pytest.mark.parametrize("name", sorted(GRAPHS))
@pytest.mark.parametrize("target", [HOST, CMSIS_NN])
def test_buffers_alive_together_never_overlap(name: str, target: Target) -> None:
    predicted = plan(GRAPHS[name], target)
    for position in range(len(GRAPHS[name].ops)):
        alive = live(predicted, position)
        for lower, upper in pairwise(alive):
            assert lower.offset + lower.size <= upper.offset
        assert alive[-1].offset + alive[-1].size <= predicted.head


def test_bytes_that_buffers_share_count_once() -> None:
    graph = GRAPHS["DSCNN-S"]
    shared = MICRONAS.plan(graph)
    assert max(shared.live_bytes(len(graph.ops))) == shared.head
    first = sum(each.size for each in live(shared, 1))
    assert first > shared.head, "an output lies over its input"


def test_shapes_alone_give_the_arena_of_the_trained_network() -> None:
    for name in ("MicroNet-KWS-S", "MicroNet-VWW-2"):
        assert plan(quantize_randomly(GRAPHS[name])) == plan(GRAPHS[name])


def test_planning_is_fast_enough_for_a_search() -> None:
    graph, best = GRAPHS["MicroNet-VWW-4"], float("inf")  # 17 bottlenecks
    for _ in range(30):
        start = time.perf_counter()
        plan(graph)
        best = min(best, time.perf_counter() - start)
    assert best < 2e-3
