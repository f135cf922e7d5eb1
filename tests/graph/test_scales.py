"""Scales of any size: refused in one error, or executed as TFLM does, without a word of NumPy's."""

import random
from dataclasses import replace
from typing import get_args

import pytest

from micronas.errors import ExportError, ModelError
from micronas.export.verify import verify
from micronas.graph import integer
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph, Kind
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_inputs, random_op_graph
from testing.scales import rescaled, with_any_scales
from tests.cases import seeds

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
