"""The rules of an executable int8 graph, each broken once.

Scales of any size are refused in one error, or executed as TFLM does, without a word of NumPy's.
"""

import random
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from micronas.errors import ExportError, ModelError
from micronas.export.verify import verify
from micronas.graph import integer
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph, Kind, Quantization, Tensor
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_inputs, random_int8_graph, random_op_graph
from testing.scales import rescaled, with_any_scales
from tests.cases import seeds


def change(graph: Graph, name: str, **fields: Any) -> Graph:
    tensor: Tensor = replace(graph.tensors[name], **fields)
    return replace(graph, tensors={**graph.tensors, name: tensor})


@pytest.mark.parametrize("kind", get_args(Kind))
def test_good_graphs_pass(kind: Kind) -> None:
    for seed in range(30):
        check_int8(random_op_graph(kind, seed))


@pytest.mark.parametrize(
    ("kind", "name", "fields", "message"),
    [
        ("CONV_2D", "output", {"shape": (1, 0, 3, 3)}, "must have 1 to"),
        ("CONV_2D", "output", {"shape": (1, 9, 99, 9)}, "the output of CONV_2D must have shape"),
        ("CONV_2D", "output", {"dtype": "float32"}, "every tensor must be quantised"),
        ("CONV_2D", "weights", {"data": None}, "written once, before it is read"),
        ("CONV_2D", "weights", {"data": np.zeros(3, np.int8)}, "data must have the tensor's shape"),
        ("CONV_2D", "weights", {"dtype": "int32"}, "weights of CONV_2D must be int8 or int4"),
        ("CONV_2D", "bias", {"dtype": "int8"}, "a bias must be int32"),
        ("PAD", "output", {"shape": (1, 1, 1, 1)}, "the output of PAD must have shape"),
        ("SOFTMAX", "output", {"shape": (1, 1)}, "the output of SOFTMAX must have shape"),
        ("RESHAPE", "output", {"shape": (1, 999999)}, "operands must fit together"),
        ("MEAN", "axes", {"shape": (1,), "data": np.array([4], np.int32)}, "MEAN must name axes"),
        ("SUM", "output", {"shape": (1, 1)}, "the output of SUM must have shape"),
        ("TRANSPOSE_CONV", "shape", {"data": np.ones(4, np.int32)}, "must name the shape it"),
        ("RESIZE_BILINEAR", "size", {"shape": (1,), "data": np.ones(1, np.int32)}, "two sizes"),
        ("SPACE_TO_DEPTH", "output", {"shape": (1, 1)}, "output of SPACE_TO_DEPTH must have"),
        ("DEPTH_TO_SPACE", "output", {"shape": (1, 1)}, "output of DEPTH_TO_SPACE must have"),
    ],
)
def test_broken_tensors(kind: Kind, name: str, fields: dict[str, Any], message: str) -> None:
    graph = next(
        graph
        for graph in (random_op_graph(kind, seed) for seed in range(20))
        if {"bias"} <= set(graph.tensors) or kind != "CONV_2D"
    )
    with pytest.raises(ModelError, match=message) as caught:
        check_int8(change(graph, name, **fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        (Quantization(np.array([np.nan], np.float32)), "scales must be finite and positive"),
        (Quantization(np.array([0.0], np.float32)), "scales must be finite and positive"),
        (Quantization(np.array([0.1, 0.2], np.float32)), "activations must have one scale"),
        (Quantization(np.array([0.1], np.float32), 200), "activations must have one scale"),
        (Quantization(np.array([9.0], np.float32)), "must share one scale and zero point"),
        (None, "every tensor must be quantised"),
    ],
)
def test_broken_scales(quantization: Quantization | None, message: str) -> None:
    graph = random_op_graph("MAX_POOL_2D", 0)
    with pytest.raises(ModelError, match=message):
        check_int8(change(graph, "output", quantization=quantization))


def test_concatenation_must_fit() -> None:
    graph = next(
        graph
        for graph in (random_op_graph("CONCATENATION", seed) for seed in range(20))
        if len(graph.ops[0].inputs) > 2
    )
    (op,), shape = graph.ops, graph.tensors["output"].shape
    quantization = graph.tensors["output"].quantization
    almost = replace(quantization, scale=np.nextafter(quantization.scale, np.float32(1)))
    with pytest.raises(ModelError, match="inputs and output of CONCATENATION must share one scale"):
        check_int8(change(graph, "output", quantization=almost))
    with pytest.raises(ModelError, match="the output of CONCATENATION must have shape"):
        check_int8(change(graph, "output", shape=(*shape[:3], shape[3] + 1)))
    with pytest.raises(ModelError, match="operands must fit together"):
        check_int8(replace(graph, ops=(replace(op, axis=4),)))
    with pytest.raises(ModelError, match="CONCATENATION must have 1 to 10 inputs"):
        check_int8(replace(graph, ops=(replace(op, inputs=("input",) * 11),)))


def reordered(*places: int) -> Graph:
    graph = random_int8_graph(0, family="ds_cnn")
    return replace(graph, ops=tuple(graph.ops[place] for place in places))


def with_op(given: Kind, **fields: Any) -> Graph:
    graph = random_op_graph(given, 0)
    return replace(graph, ops=(replace(graph.ops[0], **fields),))


LAST = len(random_int8_graph(0, family="ds_cnn").ops) - 1


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            with_op("RELU", kind="UNKNOWN", name="COS"),
            r"no UNKNOWN operators, which op 0 \(UNKNOWN 'COS'\)",
        ),
        (with_op("ADD", inputs=("input",)), "ADD must have 2 to 2 inputs and 1 output"),
        (reordered(*range(LAST, -1, -1)), "a tensor must be written once, before it is read"),
        (reordered(*range(LAST + 1), LAST), "a tensor must be written once, before it is read"),
        (reordered(*range(LAST)), "the outputs of a graph must be computed"),
    ],
)
def test_broken_operators(graph: Graph, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_int8(graph)


KINDS = [kind for kind in get_args(Kind) if kind != "UNKNOWN"]


def drawn(kind: Kind, seed: int) -> Graph:
    source = random.Random(f"{kind} {seed}")
    return with_any_scales(random_op_graph(kind, source.randrange(10**6)), source)


def check(graph: Graph) -> None:
    try:
        check_int8(graph)
    except ModelError:
        return
    inputs = random_inputs(graph, 2)
    integer.run(graph, inputs)
    try:
        assert verify(to_flatbuffer(graph), inputs).mismatches == 0
    except ExportError as error:
        assert "TFLM must be able to" in str(error)  # noqa: PT017, it may be stricter


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
@seeds(range(6), range(6, 200))
def test_scales_are_refused_or_executed_as_on_tflm(kind: Kind, seeds: range) -> None:
    for seed in seeds:
        check(drawn(kind, seed))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kind", "exponents", "rule"),
    [
        ("LOGISTIC", {"input": -9}, r"LOGISTIC must read a scale of 2\*\*-27 to 2\*\*16"),
        ("LOGISTIC", {"input": 9}, "LOGISTIC must read a scale"),
        ("RELU", {"input": 9}, "RELU must write a scale above"),
        ("HARD_SWISH", {"input": -9}, "HARD_SWISH must read a scale"),
        ("HARD_SWISH", {"input": 9}, "HARD_SWISH must read a scale"),
        ("HARD_SWISH", {"input": 0, "output": -41}, "must read a scale of"),
        ("ELU", {"input": 38.5, "output": 38.5}, "must read a scale below"),
        ("ELU", {"input": 0, "output": -10}, "must read a scale below"),
        ("BATCH_MATMUL", {"input": 20}, "scale above"),
        ("BATCH_MATMUL", {"output": -30}, "scale above"),
    ],
)
def test_factors_that_tflm_cannot_write_are_refused(
    kind: Kind, exponents: dict[str, float], rule: str
) -> None:
    with pytest.raises(ModelError, match=rule):
        check_int8(rescaled(random_op_graph(kind, 0), exponents))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("activation", ["RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("kind", ["MAX_POOL_2D", "AVERAGE_POOL_2D", "CONV_2D"])
def test_limits_of_activations_are_codes_of_int32(kind: Kind, activation: str) -> None:
    graph = random_op_graph(kind, 0)
    (op,) = (op for op in graph.ops if op.kind == kind)
    graph = replace(graph, ops=(replace(op, activation=activation),))
    with pytest.raises(ModelError, match=rf"with {activation} must write a scale above"):
        check_int8(rescaled(graph, dict.fromkeys(("input", "output"), -38)))
