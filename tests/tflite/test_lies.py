"""Files that are valid flatbuffers and lie: each is refused in one line, whoever reads it."""

import gc
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from micronas.errors import DataError, ExportError, ModelError
from micronas.export.examples import read_inputs
from micronas.export.formats import export
from micronas.export.runtimes import compare_runtimes
from micronas.export.sandbox import run_sandboxed
from micronas.export.verify import verify
from micronas.graph import integer
from micronas.graph.placement import place
from micronas.hardware.board import Board
from micronas.hardware.profile import profile
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.builder import Builder
from testing.graphs import quantize_randomly, random_inputs, random_op_graph
from tests.lies import (
    constant_output,
    depth_multiplier,
    dilation,
    ds_cnn,
    full_buffer_0,
    joined_along,
    leaky,
    repacked,
    scaled,
    scaled_gates,
    shared_scales,
    sums,
)


def variable_with_data() -> bytes:
    """TFLM gives it a place in the arena and starts it at zero, whatever the file holds."""

    def mark(tree: Any) -> None:
        for tensor in tree.subgraphs[0].tensors:
            tensor.isVariable = tensor.name == b"y/table"

    table = Builder((3, 3, 4))
    graph = quantize_randomly(table.finish(table.function(table.input, "y", "gelu")))
    return repacked(to_flatbuffer(graph), mark)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        # TFLM takes buffer 0 for what activations are in; this ended the process
        *((full_buffer_0(n), f"buffer 0 of a model must be empty.* {n} bytes") for n in (1, 4096)),
        (dilation(2**30), "steps of 1 to 65,536"),
        (variable_with_data(), "a variable tensor must have no data"),
        # found by tests/fuzz/tflite.py: no two processors agree what shifts by so many bits give
        (scaled_gates(1, 1e8), r"products .* below 2\*\*18"),
        (scaled_gates(7, 1e8), r"products .* below 2\*\*18"),
        (scaled_gates(0, 1e-20), r"scale above 2\*\*-60"),
        # found by tests/fuzz/tflite.py: TFLM's answers differed from run to run
        (depth_multiplier(), "every depth multiplier, and op 1 .* has 7"),
        # taken modulo the rank, the network would be another than TFLM's, which refuses it
        *((joined_along(axis), "CONCATENATION") for axis in (7, 4, -5, -9)),
    ],
)
def test_a_file_that_lies_is_refused(model: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        read(model)


@pytest.mark.parametrize(
    ("model", "place"), [(depth_multiplier(), 1), *((joined_along(axis), 0) for axis in (7, -9))]
)
def test_an_operator_that_lies_is_kept_as_unknown(model: bytes, place: int) -> None:
    assert read(model, unknown="keep").ops[place].kind == "UNKNOWN"


def test_buffer_0_with_data_is_refused_even_where_unknown_operators_are_kept() -> None:
    with pytest.raises(ModelError, match="buffer 0"):
        read(full_buffer_0(16), unknown="keep")


def test_no_command_takes_buffer_0_with_data(tmp_path: Path) -> None:
    graph = ds_cnn()
    model, inputs = full_buffer_0(1), random_inputs(graph, 1)
    for use in (
        lambda: export(model, "c", name="net", out=tmp_path / "net.h"),
        lambda: export(model, "tflite", name="net", out=tmp_path / "net.tflite"),
        lambda: verify(model, inputs),
        lambda: compare_runtimes(model, inputs),
    ):
        with pytest.raises(ModelError, match="buffer 0"):
            use()


def test_tensors_that_share_scales_take_memory_by_the_size_of_the_file() -> None:
    model = shared_scales(tensors=1000, scales=50_000)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="damaged"):
            read(model, unknown="keep")
        assert tracemalloc.get_traced_memory()[1] < 20 * len(model)
    finally:
        tracemalloc.stop()
    few = shared_scales(tensors=10, scales=1000)  # sharing as such is no lie
    assert len(read(few, unknown="keep").tensors) == 11


@pytest.mark.long
def test_a_network_of_4000_operators_is_profiled_in_linear_time() -> None:
    """By CPU time, in what 500 operators take: a scan of all for each would take 64 times.

    And in about what the schema's generated code takes to unpack the file: it was 2.4 times that,
    is 0.6, and varies with what else the machine does.
    """
    board = Board.load("stm32f446re")

    def seconds(count: int) -> tuple[float, float]:
        model = sums(count, lambda number: [number, number])
        gc.disable()  # it would walk all that other tests have left
        start = time.process_time()
        profile(read(model, unknown="keep"), board, flash_bytes=len(model))
        middle = time.process_time()
        schema.ModelT.InitFromPackedBuf(model)
        end = time.process_time()
        gc.enable()
        return middle - start, end - middle

    small, large = ([seconds(count) for _ in range(2)] for count in (500, 4000))
    ours, unpacked = map(min, zip(*large, strict=True))
    assert ours < 20 * min(small)[0]
    assert ours < 1.5 * unpacked


def test_tensors_that_all_live_to_the_end_are_placed_in_seconds() -> None:
    requests = [(16 + 16 * (n % 7), n, 8000) for n in range(8000)]
    start = time.process_time()
    offsets = place(requests)
    assert time.process_time() - start < 5
    assert max(o + r[0] for o, r in zip(offsets, requests, strict=True)) == sum(
        size for size, _, _ in requests
    )


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60), st.integers(0, 20)), max_size=60))
def test_many_buffers_are_placed_as_few_are(drawn: list[tuple[int, int, int]]) -> None:
    """Those that follow are in use when none of the first is, so that they change nothing."""
    requests = [(16 * size, first, first + length) for size, first, length in drawn]
    others = [(0, 100 + n, 100 + n) for n in range(300)]
    assert place([*requests, *others])[: len(requests)] == place(requests)


@pytest.mark.parametrize(
    ("scales", "activation"),
    [
        ((1e30, 1e30, 1e-16), "NONE"),
        ((1e38, 1e38, 1e-38), "NONE"),
        ((1.0, 2.0**30, 1.0), "NONE"),
        ((1e-20, 1e-20, 1e-30), "RELU6"),
        ((1e-40, 1e-4, 1e-44), "RELU6"),
    ],
)
def test_scales_that_no_device_can_rescale_by_are_refused(
    scales: tuple[float, float, float], activation: str
) -> None:
    graph = scaled(*scales, activation)
    with pytest.raises(ModelError, match=r"must write a scale above .*op 0 \(CONV_2D 'conv'\)"):
        read(to_flatbuffer(graph))


@settings(max_examples=60)
@given(st.tuples(*[st.floats(-30, 30)] * 3), st.sampled_from(["NONE", "RELU", "RELU6"]))
def test_whatever_scales_are_taken_are_executed_as_tflm_does(
    exponents: tuple[float, float, float], activation: str
) -> None:
    graph = scaled(*(10.0**each for each in exponents), activation)
    model = to_flatbuffer(graph)
    try:
        found = verify(model, random_inputs(graph, 2))
    except (ModelError, ExportError):
        return
    assert found.mismatches == 0


@given(st.tuples(*[st.floats(-12, 12)] * 2), st.floats(-30, 30) | st.just(38.5))
@example((-1, -1), 30)
def test_whatever_slopes_are_taken_are_executed_as_tflm_does(
    exponents: tuple[float, float], slope: float
) -> None:
    source, output = (10.0**each for each in exponents)
    model = leaky(source, output, 10.0**slope)
    try:
        graph = read(model)
    except ModelError:
        return
    assert verify(model, random_inputs(graph, 2)).mismatches == 0


def test_axes_below_zero_count_from_the_end() -> None:
    graph = read(to_flatbuffer(random_op_graph("CONCATENATION", 0)))
    rank = len(graph.output_of(graph.ops[0]).shape)
    assert read(joined_along(graph.ops[0].axis - rank)).ops == graph.ops


def test_an_output_that_is_a_constant_is_refused() -> None:
    """Nothing reads the input: this was a traceback for two examples."""
    constant = constant_output()
    for check in (
        lambda: integer.run(constant, np.zeros((2, 2, 2, 3), np.int8)),
        lambda: read(to_flatbuffer(constant)),
    ):
        with pytest.raises(ModelError, match="an output must be computed by an operator"):
            check()


@pytest.mark.parametrize(
    "shape", [f"({10**20},)", "(99999999999,)", f"({2**40}, {2**40})", "(-1,)"]
)
def test_examples_of_a_shape_that_no_file_holds(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "x.npy"
    header = f"{{'descr': '|i1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\1\2")
    with pytest.raises(DataError, match=r"examples must be a \.npy file"):
        read_inputs(path)


def test_a_runtime_that_crashes_or_hangs_is_one_line() -> None:
    """Its process ends; this one does not."""

    graph = ds_cnn()
    model, inputs = full_buffer_0(1), random_inputs(graph, 1)
    with pytest.raises(ExportError, match=r"TFLM must be able to run .* its process by signal 11"):
        run_sandboxed(model, [inputs], seconds=60)
    with pytest.raises(ExportError, match=r"must be able to run the model, but it took longer"):
        run_sandboxed(to_flatbuffer(graph), [inputs], seconds=0.01)


def test_a_runtime_gets_no_more_memory_than_its_limit() -> None:
    program = (
        "import resource; from micronas.export import sandbox; sandbox.limit_memory(); "
        "kinds = resource.RLIMIT_AS, resource.RLIMIT_CORE; "
        "print(*(resource.getrlimit(kind)[0] for kind in kinds))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert shown.split() == [b"4294967296", b"0"]
