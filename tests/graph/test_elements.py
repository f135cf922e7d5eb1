"""Operators on elements and rows where versions of TFLM differ, and what it would not take."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from micronas.errors import ModelError
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph, Kind
from micronas.graph.kernels.elements import same_in_all_versions
from micronas.hardware.targets import HOST, plan
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.builder import Builder
from testing.graphs import quantize_randomly
from tests.graph.made import both, constant, one, tensor

# Scales, by their bits, at which a factor in float32 leads to another code than one in float64.
BY_VERSION: list[tuple[Kind, tuple[str, int], tuple[str, int]]] = [
    ("ABS", ("0x1.45edd2p-7", 90), ("0x1.2314ccp-7", -58)),
    ("HARD_SWISH", ("0x1.6f29bp-10", 98), ("0x1.9945ep-10", 50)),
    ("RSQRT", ("0x1.1eb434p-12", -128), ("0x1.6c6a46p-6", -128)),
]


@pytest.mark.parametrize(("kind", "source", "output"), BY_VERSION)
def test_scales_are_divided_in_float64(
    kind: Kind, source: tuple[str, int], output: tuple[str, int]
) -> None:
    source, output = ((float.fromhex(step), zero) for step, zero in (source, output))
    shape = (1, 16, 16)
    graph = one(kind, tensor("x", shape, *source), tensor("y", shape, *output))
    both(graph, np.arange(-128, 128))
    assert not same_in_all_versions(graph, graph.ops[0])
    moved = tensor("y", shape, output[0] * 1.00001, output[1])
    graph = replace(graph, tensors={**graph.tensors, "y": moved})
    assert same_in_all_versions(graph, graph.ops[0])


def test_differences_divide_scales_in_float64() -> None:
    steps = [float.fromhex(text) for text in ("0x1.9468b4p-6", "0x1.21b4fcp-10", "0x1.96890ap-6")]
    x, y, z = (
        tensor(name, (1, 2), step, zero)
        for name, step, zero in zip("xyz", steps, (-3, 15, -5), strict=True)
    )
    graph = one("SUB", x, constant(y, [-73, 103]), z)
    assert both(graph, [-114, 108]) == [-111, 101]
    assert not same_in_all_versions(graph, graph.ops[0])


def test_a_table_holds_any_function_by_hand() -> None:
    builder = Builder((1, 1, 4))
    graph = builder.finish(builder.function(builder.input, "y", "exp"))
    squares = np.arange(-128, 128) ** 2 % 100
    tensors = dict(graph.tensors)
    tensors["input"] = tensor("input", (1, 1, 1, 4), 0.5, 3)
    places = tensor("y/positions", (1, 1, 1, 4), 0.5, 131)
    tensors["y/positions"] = replace(places, dtype="int32")
    tensors["y/table"] = constant(tensor("y/table", (256,), 0.25, -7), squares.tolist())
    tensors["y"] = tensor("y", (1, 1, 1, 4), 0.25, -7)
    graph = replace(graph, tensors=tensors)
    assert both(graph, [-128, -1, 0, 127]) == [84, 1, 0, 29]
    again = read(to_flatbuffer(graph))
    assert [op.kind for op in again.ops] == ["POSITIONS", "TABLE"]
    assert [op.inputs for op in again.ops] == [op.inputs for op in graph.ops]
    # the positions, of four bytes each, lie beside the output
    sizes = {buffer.name: buffer.size for buffer in plan(graph, HOST).buffers}
    assert sizes == {"input": 16, "y/positions": 16, "y": 16}


# Rules


X, Y = partial(tensor, "x"), partial(tensor, "y")
THREE = constant(tensor("c", (3, 2)), [0] * 6)


@pytest.mark.parametrize(
    ("graph", "rule"),
    [
        (one("RSQRT", X((1, 2), 1, -127), Y((1, 2))), "read values that are never negative"),
        (one("TANH", X((1, 2)), Y((1, 2), 1 / 256, -128)), "write scale 1/128 and zero point 0"),
        (one("LEAKY_RELU", X((1, 2)), Y((1, 2)), alpha=-0.5), "have a finite alpha >= 0"),
        (one("L2_NORMALIZATION", X((1,) * 5), Y((1,) * 5, 1 / 128)), "have up to 4 dimensions"),
        (
            one("MAXIMUM", X((1, 2, 1, 1)), THREE, Y((1, 2, 3, 2))),
            "not spread single elements over rows",
        ),
        (
            one("MUL", X((1,) * 7), constant(tensor("c", (2,)), [0, 1]), Y((1,) * 6 + (2,))),
            "have up to 6 dimensions",
        ),
        (one("QUANTIZE", X((1, 2)), Y((1, 2), 1e-7)), r"write a scale above 2\*\*-22 of"),
    ],
)
def test_what_tflm_would_not_take_is_refused(graph: Graph, rule: str) -> None:
    with pytest.raises(ModelError, match=f"{graph.ops[0].kind} must {rule}"):
        check_int8(graph)


def test_a_table_is_read_by_positions_alone_and_these_are_no_output() -> None:
    """Others could lie outside, which TFLM does not check."""
    positions = replace(tensor("y", (1, 2), 1, 128), dtype="int32")
    with pytest.raises(ModelError, match="inputs and outputs must be int8, but 'y' is int32"):
        check_int8(one("POSITIONS", tensor("x", (1, 2), 1), positions))
    builder = Builder((1, 1, 4))
    graph = builder.finish(builder.function(builder.input, "y", ""))
    graph = quantize_randomly(graph)
    table = replace(graph.ops[1], inputs=("input", "y/table"))
    with pytest.raises(ModelError, match="TABLE must go from int32 to int8"):
        check_int8(replace(graph, ops=(table,)))
    moved = replace(graph.tensors["y/positions"], quantization=graph.tensors["input"].quantization)
    with pytest.raises(ModelError, match="POSITIONS must count codes from -128"):
        check_int8(replace(graph, tensors={**graph.tensors, "y/positions": moved}))
