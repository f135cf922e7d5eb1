"""Generated C beside integer execution, byte by byte, compiled with sanitizers."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from micronas.engine import c_text
from micronas.engine.generate import generate
from micronas.errors import MicronasError
from micronas.export.firmware.board import CORTEX_M4, Emulated
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Op, Quantization, Tensor
from micronas.graph.operators import OPERATORS
from testing.emulator import CORTEX_M0
from testing.engine import SANITIZED, THUMB_1, build, check_on_host, examples, on_core, wanted
from testing.graphs import (
    ds_cnn,
    quantize_randomly,
    random_int8_graph,
    random_op_graph,
    random_shapes,
)
from testing.interfaces import beside, opened
from testing.networks import random_network
from tests.cases import first


@pytest.mark.parametrize("kinds", [[*OPERATORS][at::6] for at in range(6)], ids=" | ".join)
def test_every_operator_gives_the_bits_of_integer_execution(kinds: Any, tmp_path: Path) -> None:
    """Several in one program, which takes a compiler hardly longer than one."""
    drawn = [random_op_graph(kind, seed) for kind in kinds for seed in (3, 4)]
    check_on_host(beside(drawn), tmp_path)


@first("seed", range(4), 2)
def test_networks_of_several_inputs_and_outputs_too(seed: int, tmp_path: Path) -> None:
    check_on_host(opened(random_network(seed), seed), tmp_path)


@pytest.mark.firmware
@pytest.mark.parametrize(
    ("family", "level"),
    [("ds_cnn", "-O3"), ("mobilenet", "-O3"), ("maps", "-O3"), ("series", "-O3"), ("maps", "-O0")],
)
def test_with_clang_as_with_gcc(family: str, level: str, tmp_path: Path) -> None:
    graph = random_int8_graph(5, family=family)
    check_on_host(graph, tmp_path, compiler="clang", flags=(level,))


@first("seed", range(3), 1)
def test_products_put_together_from_halves(seed: int, tmp_path: Path) -> None:
    """As a core without long multiplications has them."""
    graph = random_network(seed) if seed else random_int8_graph(6, family="mobilenet")
    check_on_host(graph, tmp_path, flags=("-O0", "-DHALVES=1", *SANITIZED))


def test_a_network_is_a_table_of_calls() -> None:
    source = generate(quantize_randomly(ds_cnn(), 1)).source
    table = source.partition("kCalls[] = {")[2].partition("};")[0]
    assert table.count("{") == len(ds_cnn().ops)
    assert source.count("(kCalls, ") == 1


def test_a_network_of_separable_blocks_runs_in_one_map_and_a_little(tmp_path: Path) -> None:
    """Depthwise and pointwise layers of one width write over what they read."""
    graph = quantize_randomly(ds_cnn(), 1)
    files = generate(graph, "net")
    largest = 25 * 5 * 64
    assert largest <= files.bound == files.arena <= largest + 3 * 2 * 64 + 27 * 9 * 2
    assert not files.references


def surrounded(builder: Builder, source: str, sides: tuple[tuple[int, int], ...]) -> str:
    name = f"{source}/surrounded"
    amounts = np.array([(0, 0), *sides, (0, 0)], np.int32)
    table = builder.constant(f"{name}/amounts", amounts)
    shape = tuple(
        size + sum(pair) for size, pair in zip(builder.shape(source), amounts.tolist(), strict=True)
    )
    return builder.append(Op("PAD", name, (source, table), (name,)), shape)


def test_zeros_around_a_map_become_bounds(tmp_path: Path) -> None:
    builder = Builder((9, 7, 3))
    value = surrounded(builder, builder.input, ((2, 1), (1, 3)))
    value = builder.depthwise(value, "dw", (2, 3), padding="VALID")
    value = surrounded(builder, value, ((1, 0), (0, 2)))
    graph = builder.finish(builder.conv(value, "conv", 6, (3, 2), stride=(2, 1)))
    *first, last = graph.ops
    _, height, width, _ = graph.tensors[value].shape
    smaller = replace(graph.tensors["conv"], shape=(1, (height - 3) // 2 + 1, width - 1, 6))
    ops = (*first, replace(last, padding="VALID"))
    graph = quantize_randomly(
        replace(graph, ops=ops, tensors={**graph.tensors, "conv": smaller}), 2
    )
    assert "move(" not in generate(graph).source
    check_on_host(graph, tmp_path)


@pytest.mark.parametrize(("side", "is_plain"), [(19, False), (21, True)])
def test_large_windows_leave_the_stack_alone(side: int, is_plain: bool, tmp_path: Path) -> None:
    """Of 31 x 31 taps 3.7 KB lay on it, of the 1 to 4 KB that firmware has."""
    builder = Builder((side + 1, side + 1, 2))
    graph = builder.finish(builder.depthwise(builder.input, "dw", (side, side)))
    graph = quantize_randomly(graph, 1)
    files = generate(graph)
    assert bool(files.references) == is_plain
    assert all(int(each) <= 1400 for each in re.findall(r"sub sp, #(\d+)", files.source))
    if is_plain:  # the other's taps take a compiler 20 s
        check_on_host(graph, tmp_path)


@first(("height", "filters"), [(3, "int8"), (4, "int4")], 2)
def test_depthwise_filters_of_one_channel_are_a_convolutions(
    height: int, filters: Any, tmp_path: Path
) -> None:
    """As in TFLM's example of two words, where plain loops took six times as long."""
    tensors = {
        "input": Tensor("input", (1, 9, 7, 1)),
        "weights": Tensor("weights", (1, height, 3, 5), constant=True),
        "output": Tensor("output", (1, 5, 4, 5)),
    }
    op = Op("DEPTHWISE_CONV_2D", "dw", ("input", "weights"), ("output",), stride=(2, 2))
    graph = quantize_randomly(Graph(tensors, (op,), ("input",), ("output",)), 1, filters=filters)
    assert not generate(graph).references
    check_on_host(graph, tmp_path, most=0)


@first("seed", range(3), 1)
def test_inputs_and_outputs_may_lie_in_the_arena(seed: int, tmp_path: Path) -> None:
    check_on_host(random_network(seed + 10), tmp_path, in_arena=True)
    family = ("ds_cnn", "mobilenet", "maps")[seed]
    check_on_host(random_int8_graph(seed, family=family), tmp_path, in_arena=True)


def test_names_are_those_of_c() -> None:
    files = generate(random_int8_graph(1, family="ds_cnn"), "1 kws/Näme*/")
    assert files.name == "n_1_kws_n_me"
    assert "#define N_1_KWS_N_ME_INPUT_OFFSET " in files.header
    assert "int n_1_kws_n_me_invoke(const int8_t* in, int8_t* out, void* arena)" in files.header
    assert [*c_text.unique(["b.2", "b", "B"]).values()] == ["b_2", "b", "b_3"]


def test_no_file_hides_a_header_of_the_compilers() -> None:
    """Beside a network called "features" no program with glibc's stdint.h compiled."""
    given = "".join(f"#include <{each}.h>\n" for each in ("stdint", "stdlib", "string", "threads"))
    command = ["gcc", "-M", "-xc", "-"]
    said = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    headers = {*re.findall(r"/include/([a-z]+)\.h", said.stdout), "String"}
    assert {"features", "string", "threads"} < headers
    assert all(c_text.identifier(each) == f"n_{each.lower()}" for each in headers)


@first(("family", "seed"), [("ds_cnn", 1), ("mobilenet", 3), ("mobilenet", 6)], 1)
def test_first_operators_row_by_row(family: str, seed: int, tmp_path: Path) -> None:
    graph = random_int8_graph(seed, family=family)
    whole, by_rows = generate(graph), generate(graph, most=0)
    assert "stream(" in by_rows.source
    assert by_rows.arena < whole.arena
    assert generate(graph, most=whole.arena).source == whole.source
    check_on_host(graph, tmp_path, most=0)


def test_rows_that_only_later_operators_read_are_written(tmp_path: Path) -> None:
    graph = random_network(1921)
    read = {name for op in graph.ops[1:] if op.kind != "GATHER" for name in op.operands}
    assert graph.ops[0].outputs[0] not in read
    assert "stream(" in generate(graph, most=0).source
    check_on_host(graph, tmp_path, most=0)


@pytest.mark.parametrize("bias", [2**31 - 1, -(2**31), 2**30])
def test_sums_that_wrap_around_are_right_or_refused(bias: int, tmp_path: Path) -> None:
    graph = random_int8_graph(1, family="ds_cnn")
    tensors = {
        name: replace(each, data=np.full_like(each.data, bias)) if each.dtype == "int32" else each
        for name, each in graph.tensors.items()
        if each.data is not None or not each.constant
    }
    check_on_host(replace(graph, tensors={**graph.tensors, **tensors}), tmp_path)


def test_equal_tables_are_written_once(tmp_path: Path) -> None:
    builder = Builder((3, 3, 2))
    gates = [builder.logistic(builder.input, name) for name in ("a", "b")]
    graph = quantize_randomly(builder.finish(builder.mul(*gates, "y")))
    assert generate(graph).source.count("_codes[256]") == 1
    check_on_host(graph, tmp_path)


@pytest.mark.parametrize("filters", ["int8", "int4"])
def test_channels_that_have_died_take_usual_kernels(filters: Any, tmp_path: Path) -> None:
    builder = Builder((5, 5, 6))
    value = builder.depthwise(builder.conv(builder.input, "a", 6, (3, 3)), "b", (3, 3))
    graph = quantize_randomly(builder.finish(builder.conv(value, "c", 4)), filters=filters)
    tensors = dict(graph.tensors)
    for op in graph.ops:
        weights = tensors[op.learnt[0]]
        codes, quantization = np.array(weights.data), weights.quantization
        scales = quantization.scale.copy()
        codes[(..., 1) if op.kind == "DEPTHWISE_CONV_2D" else 1] = 0
        scales[1] = 1e-12
        quantization = replace(quantization, scale=scales)
        tensors[weights.name] = replace(weights, data=codes, quantization=quantization)
    graph = replace(graph, tensors=tensors)
    assert generate(graph).references == ()
    check_on_host(graph, tmp_path)


@pytest.mark.parametrize("shape", [(1, 70_000, 1), (1, 3, 70_000), (70_000, 2, 1)])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "pool"])
def test_maps_beyond_16_bits_are_refused(kind: str, shape: tuple[int, int, int]) -> None:
    builder = Builder(shape)
    if kind == "conv":
        value = builder.conv(builder.input, "y", 1, (1, 3))
    elif kind == "depthwise":
        value = builder.depthwise(builder.input, "y", (1, 3))
    else:
        value = builder.global_average(builder.input, "y")
    with pytest.raises(MicronasError):
        generate(quantize_randomly(builder.finish(value)))


@first("scale", [1e-30, 1e-3, 1.0, 1e6], 2)
def test_odd_scales_are_right_or_refused(scale: float, tmp_path: Path) -> None:
    graph = random_int8_graph(1, family="mobilenet")
    name = graph.ops[1].outputs[0]
    odd = replace(graph.tensors[name], quantization=Quantization(np.array([scale], np.float32), 3))
    graph = replace(graph, tensors={**graph.tensors, name: odd})
    try:
        generate(graph)
    except MicronasError:
        return
    check_on_host(graph, tmp_path)


@pytest.mark.firmware
@pytest.mark.parametrize("board", [CORTEX_M4, CORTEX_M0], ids=lambda board: board.core)
@pytest.mark.parametrize("bits", ["int8", "int4"])
@pytest.mark.parametrize("family", ["ds_cnn", "mobilenet"])
def test_emulated_cores_give_the_same_bits(
    family: str, bits: str, board: Emulated, tmp_path: Path
) -> None:
    graph = random_int8_graph(0 if family == "mobilenet" else 3, family=family)
    if bits == "int4":
        graph = quantize_randomly(random_shapes(3, family=family), 3, filters="int4")
    given = examples(graph, 3)
    board = board if generate(graph, "net").arena < 8000 or board is CORTEX_M4 else THUMB_1
    for most in (None, 0):
        program = build(graph, tmp_path, board, most=most)
        assert on_core(program, given, graph, board).outputs == wanted(graph, given)


@pytest.mark.firmware
@pytest.mark.parametrize("seed", range(6))
def test_mixed_networks_on_an_emulated_core(seed: int, tmp_path: Path) -> None:
    graph = random_network(seed)
    given = examples(graph, 3)
    ran = on_core(build(graph, tmp_path), given, graph)
    assert ran.outputs == wanted(graph, given)
    assert ran.stack < 700
