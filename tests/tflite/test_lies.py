"""Files that are valid flatbuffers and lie: each is refused in one line, whoever reads it."""

import copy
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.errors import DataError, ExportError, ModelError
from micronas.export.apart import run_apart
from micronas.export.examples import read_inputs
from micronas.export.formats import export
from micronas.export.runtimes import compare_runtimes
from micronas.export.verify import verify
from micronas.graph import integer
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from micronas.graph.placement import place
from micronas.hardware.board import Board
from micronas.hardware.profile import profile
from micronas.testing.graphs import quantize_randomly, random_inputs, random_int8_graph
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer


def repacked(graph: Graph, edit: Callable[[Any], None]) -> bytes:
    tree = schema.ModelT.InitFromPackedBuf(to_flatbuffer(graph))
    edit(tree)
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def sums(count: int, operands: Callable[[int], list[int]]) -> bytes:
    """A file of `count` additions; operation n writes tensor n + 1 and reads `operands(n)`."""
    builder = Builder((4, 4, 4))
    graph = quantize_randomly(builder.finish(builder.add(builder.input, builder.input, "sum")))

    def edit(tree: Any) -> None:
        part = tree.subgraphs[0]
        one, written = part.operators[0], part.tensors[part.operators[0].outputs[0]]
        part.tensors, part.operators = [part.tensors[part.inputs[0]]], []
        for number in range(count):
            part.tensors.append(copy.copy(written))
            part.tensors[-1].name = f"t{number}"
            part.operators.append(copy.copy(one))
            part.operators[-1].inputs = operands(number)
            part.operators[-1].outputs = [number + 1]
        part.inputs, part.outputs = [0], [count]

    return repacked(graph, edit)


@pytest.mark.parametrize("size", [1, 16, 256, 4096])
@pytest.mark.parametrize("unknown", ["refuse", "keep"])
def test_buffer_0_with_data_is_refused(size: int, unknown: Any) -> None:
    """TFLM takes buffer 0 for what activations are in; this ended the process."""

    def fill(tree: Any) -> None:
        tree.buffers[0].data = np.full(size, 65, np.uint8)

    model = repacked(random_int8_graph(0, family="ds_cnn"), fill)
    with pytest.raises(ModelError, match=f"buffer 0 of a model must be empty.* has {size} bytes"):
        read(model, unknown=unknown)


def test_no_command_takes_buffer_0_with_data(tmp_path: Path) -> None:
    def fill(tree: Any) -> None:
        tree.buffers[0].data = np.full(1, 65, np.uint8)

    graph = random_int8_graph(0, family="ds_cnn")
    model, inputs = repacked(graph, fill), random_inputs(graph, 1)
    for use in (
        lambda: export(model, "c", name="net", out=tmp_path / "net.h"),
        lambda: export(model, "tflite", name="net", out=tmp_path / "net.tflite"),
        lambda: verify(model, inputs),
        lambda: compare_runtimes(model, inputs),
    ):
        with pytest.raises(ModelError, match="buffer 0"):
            use()


def shared_scales(tensors: int, scales: int) -> bytes:
    """A file whose tensors all point to one table with so many scales."""

    def edit(tree: Any) -> None:
        part = tree.subgraphs[0]
        large = copy.copy(part.tensors[0])
        large.quantization = copy.copy(large.quantization)
        large.quantization.scale = np.ones(scales, np.float32)
        large.quantization.zeroPoint = np.zeros(scales, np.int64)
        part.tensors = [large, *(copy.copy(part.tensors[0]) for _ in range(tensors))]
        part.operators, part.inputs, part.outputs = [], [0], [0]

    model = bytearray(repacked(random_int8_graph(0, family="ds_cnn"), edit))
    part = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    target = part.Tensors(0).Quantization()._tab.Pos
    for number in range(1, tensors + 1):
        table = part.Tensors(number)._tab
        field = table.Pos + table.Offset(12)  # its quantisation
        model[field : field + 4] = (target - field).to_bytes(4, "little")
    return bytes(model)


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


def test_a_network_of_20000_operators_is_profiled_in_linear_time() -> None:
    """By CPU time, in what 2,000 operators take: a scan of all for each would take ten times."""
    board = Board.load("stm32f446re")

    def seconds(count: int) -> float:
        model = sums(count, lambda number: [number, number])
        start = time.process_time()
        profile(read(model, unknown="keep"), board, flash_bytes=len(model))
        return time.process_time() - start

    small = seconds(2000)
    assert seconds(20_000) < 25 * small


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


def scaled(source: float, weights: float, output: float, activation: Any = "NONE") -> Graph:
    builder = Builder((4, 4, 3))
    name = builder.conv(builder.input, "conv", 5, activation=activation)
    graph = quantize_randomly(builder.finish(name))
    for tensor, scale in ((graph.inputs[0], source), ("conv/weights", weights), (name, output)):
        old = graph.tensors[tensor]
        assert old.quantization is not None
        scales = np.full_like(old.quantization.scale, scale)
        graph.tensors[tensor] = replace(old, quantization=replace(old.quantization, scale=scales))
    return graph


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


@settings(deadline=None, max_examples=60)
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


def test_an_output_that_is_a_constant_is_that_of_every_example() -> None:
    """Nothing reads the input: this was a traceback for two examples."""
    builder = Builder((2, 2, 3))
    graph = quantize_randomly(builder.finish(builder.add(builder.input, builder.input, "sum")))
    data = np.arange(12, dtype=np.int8).reshape(1, 2, 2, 3)
    graph.tensors["sum"] = replace(graph.tensors["sum"], constant=True, data=data)
    constant = replace(graph, ops=())
    outputs = integer.run(constant, np.zeros((2, 2, 2, 3), np.int8))
    np.testing.assert_array_equal(outputs, np.concatenate([data, data]))
    assert verify(to_flatbuffer(constant), np.zeros((2, 2, 2, 3), np.int8)).mismatches == 0


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

    def fill(tree: Any) -> None:
        tree.buffers[0].data = np.full(1, 65, np.uint8)

    graph = random_int8_graph(0, family="ds_cnn")
    model, inputs = repacked(graph, fill), random_inputs(graph, 1)
    with pytest.raises(ExportError, match=r"TFLM must be able to run .* its process by signal 11"):
        run_apart(model, inputs, seconds=60)
    with pytest.raises(ExportError, match=r"must be able to run the model, but it took longer"):
        run_apart(to_flatbuffer(graph), inputs, seconds=0.01)


def test_a_runtime_gets_no_more_memory_than_its_limit() -> None:
    program = (
        "import resource; from micronas.export import apart; apart.limit_memory(); "
        "kinds = resource.RLIMIT_AS, resource.RLIMIT_CORE; "
        "print(*(resource.getrlimit(kind)[0] for kind in kinds))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert shown.split() == [b"4294967296", b"0"]
