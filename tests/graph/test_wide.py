"""Operators on int16 activations with int8 weights and int64 biases, against TFLM itself."""

from dataclasses import replace

import numpy as np
import pytest

from micronas.engine.generate import generate
from micronas.errors import ModelError
from micronas.export.examples import random_inputs
from micronas.export.onnx import to_onnx
from micronas.export.verify import verify, verify_and_measure
from micronas.graph import integer
from micronas.graph.check import broken_rule
from micronas.graph.ir import Graph, Kind, Quantization, Tensor
from micronas.graph.operators import OPERATORS
from micronas.hardware.targets.host import HOST
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_op_graph
from tests.graph.made import constant, one


def widened(kind: Kind, seed: int) -> Graph:
    """An int8 operator on int16, with codes 256 times as large in steps of 1/256.

    Of QUANTIZE one side may stay int8. Every second seed makes a constant operand an input.
    """
    graph, rng = random_op_graph(kind, seed, plain=True), np.random.default_rng(seed)
    (op,), tensors, inputs = graph.ops, dict(graph.tensors), [*graph.inputs]
    names = [*dict.fromkeys((*op.operands, *op.outputs))]
    narrow = str(rng.choice(["", *names])) if kind == "QUANTIZE" else ""
    for name in names:
        tensor = tensors[name]
        steps = tensor.quantization.scale / (1 if name == narrow else 256)
        if name in op.outputs and (fixed := op.row.fixed_in("int16")):
            steps = fixed[:1]
        elif kind in ("LOGISTIC", "TANH", "SOFTMAX"):  # which look at the exponent
            steps = [2.0 ** rng.choice([-12, -11, rng.uniform(-20, 1)])]
        elif name in op.outputs and kind == "SUM":  # may not be much finer than what it adds up
            steps = np.maximum(steps, 4 * tensors["input"].quantization.scale)
        data = None if tensor.data is None else tensor.data.astype(np.int16) * 256
        if data is not None and len(tensor.shape) == len(tensors["input"].shape) and seed % 2:
            data = None
            inputs.append(name)
        tensors[name] = replace(
            tensor,
            dtype="int8" if name == narrow else "int16",
            constant=data is not None,
            quantization=Quantization(np.float32(steps)),
            data=data,
        )
    for name in op.biases:
        source, weights = (tensors[each].quantization for each in op.inputs[:2])
        steps = replace(tensors[name].quantization, scale=source.scale * weights.scale)
        data = tensors[name].data.astype(np.int64) * 256
        tensors[name] = replace(tensors[name], dtype="int64", quantization=steps, data=data)
    return replace(graph, tensors=tensors, inputs=tuple(inputs))


@pytest.mark.parametrize("kind", [kind for kind, row in OPERATORS.items() if row.wide])
def test_bytes_and_arena_are_those_of_tflm(kind: Kind) -> None:
    drawn = [(seed, widened(kind, seed)) for seed in range(16)]
    known = [each for each in drawn if not broken_rule(each[1], each[1].ops[0], wide=True)]
    assert len(known) >= 12, "but for groups, and scales that are too far apart"
    different: set[int] = set()
    for seed, graph in known:
        model = to_flatbuffer(graph)
        inputs = random_inputs(graph, 6, seed=seed)
        found, arena = verify_and_measure(model, inputs)
        assert found.mismatches == 0, (seed, found)
        plan = HOST.plan(read(model, wide=True))
        assert (plan.head, plan.total) == (arena.head, arena.total), seed
        different |= {*np.unique(integer.run(graph, inputs)).tolist()}
    assert len(different) > 200, "outputs must not all be clamped"


def test_sums_of_more_than_32_bits_keep_their_sign() -> None:
    depth, steps, signs = 1024, Quantization(np.float32([1])), np.int8([[1], [-1]])
    graph = one(
        "FULLY_CONNECTED",
        Tensor("x", (1, depth), "int16", quantization=steps),
        constant(Tensor("w", (2, depth), "int8", quantization=steps), 127 * signs.repeat(depth, 1)),
        Tensor("b", (2,), "int64", True, steps, np.zeros(2, np.int64)),
        Tensor("y", (1, 2), "int16", quantization=Quantization(np.float32([16]))),
    )
    inputs = np.full((1, depth), 32767, np.int16)
    assert verify(to_flatbuffer(graph), inputs).mismatches == 0
    assert integer.run(graph, inputs).tolist() == [[32767, -32768]]


def test_only_integer_execution_takes_int16() -> None:
    graph = widened("CONV_2D", 0)
    with pytest.raises(ModelError, match=r"must be int8.*not as 16x8"):
        read(to_flatbuffer(graph))
    for refuses in (lambda: generate(graph, "net"), lambda: to_onnx(graph)):
        with pytest.raises(ModelError, match="int16"):
            refuses()
    kept = read(to_flatbuffer(graph), unknown="keep")
    assert [op.kind for op in kept.ops] == ["UNKNOWN"]


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        ("input", {"quantization": Quantization(np.float32([1]), 3)}, "zero"),
        ("output", {"dtype": "int8"}, "activations of CONV_2D must all be"),
        ("bias", {"dtype": "int32"}, "a bias must be int64"),
        ("bias", {"data": np.int64([2**46])}, "below 2..46"),
        ("weights", {"dtype": "int4"}, "weights of CONV_2D must be int8"),
    ],
)
def test_a_broken_rule_is_named(name: str, change: dict[str, object], rule: str) -> None:
    graph = widened("CONV_2D", 0)
    tensor = graph.tensors[name]
    if "data" in change:
        change = {"data": np.broadcast_to(change["data"], tensor.shape)}
    broken = replace(graph, tensors={**graph.tensors, name: replace(tensor, **change)})
    inputs = random_inputs(broken, 1, seed=0)
    with pytest.raises(ModelError, match=rule):
        integer.run(broken, inputs)


def test_an_operator_without_an_int16_kernel_here_says_so() -> None:
    graph = widened("ABS", 0)
    inputs = random_inputs(graph, 1, seed=0)
    with pytest.raises(ModelError, match="activations of RSQRT must all be int8"):
        integer.run(replace(graph, ops=(replace(graph.ops[0], kind="RSQRT"),)), inputs)
