"""Integer execution against the real TFLM; fixed point against the C code's rules."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ModelError
from micronas.export.verify import tflm_run
from micronas.graph import fixed_point, integer
from micronas.graph.builder import Builder
from micronas.graph.ir import Kind, Tensor
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import (
    quantize_randomly,
    random_inputs,
    random_int8_graph,
    random_op_graph,
    random_shapes,
)
from testing.networks import agreement
from tests.cases import seeds
from tests.graph.made import both, constant, one, quantization, tensor

INT32 = st.integers(-(2**31), 2**31 - 1)


# Fixed point


@given(st.lists(INT32, min_size=1, max_size=20), st.integers(0, 2**31 - 1))
def test_doubling_high_mul_follows_the_c_code(values: list[int], multiplier: int) -> None:
    def reference(a: int, b: int) -> int:
        nudge = 2**30 if a * b >= 0 else 1 - 2**30
        return math.trunc(Fraction(a * b + nudge, 2**31))

    result = fixed_point.doubling_high_mul(np.array(values, np.int32), multiplier)
    assert result.tolist() == [reference(value, multiplier) for value in values]


@given(st.lists(INT32, min_size=1, max_size=20), st.integers(0, 31))
def test_rounding_divide_rounds_ties_away_from_zero(values: list[int], exponent: int) -> None:
    def reference(value: int) -> int:
        magnitude = math.floor(Fraction(abs(value), 2**exponent) + Fraction(1, 2))
        return magnitude if value >= 0 else -magnitude

    result = fixed_point.rounding_divide(np.array(values, np.int64), exponent)
    assert result.tolist() == [reference(value) for value in values]


@given(st.floats(2.0**-31, 2.0**20))
def test_a_multiplier_keeps_31_bits_of_a_factor(factor: float) -> None:
    multiplier, shift = fixed_point.quantize_multiplier(factor)
    assert 2**30 <= multiplier < 2**31
    written = Fraction(int(multiplier)) * Fraction(2) ** (int(shift) - 31)
    assert abs(written / Fraction(factor) - 1) <= Fraction(1, 2**31)


def test_multipliers_at_their_limits() -> None:
    just_below_one = 1 - 2.0**-40  # rounds up to 2**31, which does not fit
    multiplier, shift = fixed_point.quantize_multiplier([0.5, just_below_one, 2.0**-33, 3.0])
    assert multiplier.tolist() == [2**30, 2**30, 0, 3 * 2**29]
    assert shift.tolist() == [0, 1, 0, 2]


def test_exponential_and_reciprocal_are_close_to_the_real_ones() -> None:
    x = np.linspace(-15.9, 0, 500)
    raised = fixed_point.exp_of_negative(np.round(x * 2**26).astype(np.int64))
    np.testing.assert_allclose(raised / 2**31, np.exp(x), atol=2e-7)
    y = np.linspace(0, 0.999, 500)
    inverse = fixed_point.reciprocal_of_one_plus(np.round(y * 2**31).astype(np.int64))
    np.testing.assert_allclose(inverse / 2**31, 1 / (1 + y), atol=1e-8)


# Where float32 is not enough


def test_accumulators_beyond_float32_stay_exact() -> None:
    depth = 2048  # 2048 * 127 * 127 > 2**24
    exact = 127 * 127 * depth
    x, y = tensor("x", (1, 1, 1, depth)), tensor("y", (1, 1, 1, 1))
    weights = constant(tensor("w", x.shape), [127] * depth)
    bias = Tensor("b", (1,), "int32", True, quantization(1.0), np.array([3 - exact], np.int32))
    inputs = np.full((2, 1, 1, depth), 127, np.int8)
    inputs[1, 0, 0, 0] = 126
    assert both(one("CONV_2D", x, weights, bias, y), inputs) == [3, 3 - 127]


def test_fully_connected_multiplies_scales_in_float64() -> None:
    rng = np.random.default_rng(0)
    features = 200
    scales = rng.uniform(0.01, 0.1, 2).astype(np.float32)
    output_scale = np.float32(float(scales[0]) * float(scales[1]) * 2**23)
    exact = float(scales[0]) * float(scales[1]) / float(output_scale)
    rounded = float(scales[0] * scales[1]) / float(output_scale)
    assert exact != rounded
    # Between the accumulators at which the two factors step to the next code.
    codes = rng.integers(-120, 120, features) + 0.5
    bias = np.round(codes / ((exact + rounded) / 2)).astype(np.int32)
    graph = one(
        "FULLY_CONNECTED",
        tensor("x", (1, 2), float(scales[0])),
        constant(tensor("w", (features, 2), float(scales[1])), [0] * 2 * features),
        Tensor("b", (features,), "int32", True, quantization(float(scales[0] * scales[1])), bias),
        tensor("y", (1, features), float(output_scale)),
    )
    both(graph, np.zeros((1, 2), np.int8))


# Against TFLM


@pytest.mark.parametrize("kind", get_args(Kind))
@seeds(range(30), range(1000, 4000))
def test_every_operator_equals_tflm(kind: Kind, seeds: range) -> None:
    codes = 0
    for seed in seeds:
        graph = random_op_graph(kind, seed)
        inputs = random_inputs(graph, 6, seed)
        theirs = tflm_run(to_flatbuffer(graph), inputs)
        np.testing.assert_array_equal(integer.run(graph, inputs), theirs, err_msg=f"seed {seed}")
        codes += len(np.unique(theirs))
    assert codes > len(seeds) * 5  # outputs vary, or equality would say little


@pytest.mark.parametrize("family", ["ds_cnn", "mobilenet", "maps", "series"])
@seeds(range(3), range(1000, 1060))
def test_every_layer_of_a_network_equals_tflm(family: str, seeds: range) -> None:
    for seed in seeds:
        graph = random_int8_graph(seed, family=family)
        inputs = random_inputs(graph, 3, seed)
        values = integer.run_all(graph, inputs)
        for position, op in enumerate(graph.ops):
            part = replace(graph, ops=graph.ops[: position + 1], outputs=op.outputs)
            theirs = tflm_run(to_flatbuffer(part), inputs)
            np.testing.assert_array_equal(values[op.outputs[0]], theirs, err_msg=op.name)


@seeds(range(100), range(1000, 4000))
def test_networks_of_every_operator_agree_with_tflm(seeds: range) -> None:
    """In bytes, head and arena."""
    found = agreement(seeds)
    assert (found.mismatches, found.wrong_heads) == (0, 0)
    assert found.worst_total <= 32
    assert found.kinds == set(get_args(Kind))  # all of them occur, or agreement says little


# Batches and errors


def test_results_do_not_depend_on_the_batch_and_inputs_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = random_int8_graph(5, family="mobilenet")
    inputs = random_inputs(graph, 7)
    before, whole = inputs.copy(), integer.run(graph, inputs)
    alone = np.concatenate([integer.run(graph, inputs[i : i + 1]) for i in range(7)])
    monkeypatch.setattr(integer, "_WORKSPACE_BYTES", 1)
    np.testing.assert_array_equal(whole, integer.run(graph, inputs))
    np.testing.assert_array_equal(whole, alone)
    np.testing.assert_array_equal(inputs, before)


def test_run_all_names_every_activation() -> None:
    graph = random_int8_graph(2, family="ds_cnn")
    inputs = random_inputs(graph, 3)
    values = integer.run_all(graph, inputs)
    assert set(values) == {t.name for t in graph.tensors.values() if not t.constant}
    for name, value in values.items():
        assert value.shape == (3, *graph.tensors[name].shape[1:])
        assert value.dtype == np.int8
    np.testing.assert_array_equal(values["input"], inputs)
    np.testing.assert_array_equal(values[graph.outputs[0]], integer.run(graph, inputs))


def test_shapes_only_graphs_are_refused() -> None:
    graph = random_shapes(0, family="ds_cnn")
    inputs = np.zeros((1, *graph.tensors["input"].shape[1:]), np.int8)
    with pytest.raises(ModelError, match=r"every tensor must be quantised, but 'input' is float32"):
        integer.run(graph, inputs)


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((0, 6, 6, 2), np.int8),
        np.zeros((6, 6, 2), np.int8),
        np.zeros((1, 6, 6, 2), np.float32),
        np.zeros((1, 6, 7, 2), np.int8),
    ],
)
def test_inputs_that_do_not_match_are_refused(inputs: np.ndarray) -> None:
    builder = Builder((6, 6, 2))
    graph = quantize_randomly(builder.finish(builder.conv(builder.input, "conv", 3)))
    with pytest.raises(ModelError, match=r"inputs must be int8 \[N, 6, 6, 2\] with N >= 1"):
        integer.run(graph, inputs)
