"""Instructions by kernel: against simulated counts, and what nobody counted."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from micronas import resources
from micronas.engine.newlib import Runs, copying, filling
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.operators import OPERATORS
from micronas.hardware.convolutions import Sweep, depthwise
from micronas.hardware.instructions import Kernels, instructions, priced
from micronas.hardware.kernels import elementwise
from micronas.hardware.targets import CMSIS_NN, plan
from micronas.hardware.targets.cmsis_nn import price
from micronas.settings import read_settings
from testing import census, kernel_fits, latency_forms
from testing.builder import Builder
from testing.published import CENSUS, NETWORKS

Pair = tuple[int, int]
LIBRARY = read_settings(resources.folder("latency_models") / "kernels" / "cmsis_nn.yaml", Kernels)


def priced_alone(graph: Graph) -> dict[str, tuple[str, float]]:
    found = {op.name: price(graph, op) for op in graph.ops}
    return {name: (each.kernel, each.instructions) for name, each in found.items() if each}


def test_groups_are_convolutions_one_after_another() -> None:
    builder = Builder((6, 6, 8))
    value = builder.conv(builder.input, "grouped", 12, (3, 3), groups=4)
    graph = builder.finish(builder.conv(value, "1x1", 4, groups=2))
    costs = LIBRARY.kernels["convolution_grouped"].instructions
    # a patch of 3x3x2: 16 values in fours and 2 left; 36 positions, 3 outputs a group, 4 groups.
    # newlib copies two bytes in 27 instructions (20 + 7) between words, in 25 otherwise; they come
    # from every second group in the middle of a word, and go to one for every second tap
    runs = (27 + 25 + 25 + 25) / 4
    expected = {
        "macs_by_4": 4 * 36 * 16 * 2,
        "left_over_macs": 4 * 36 * 2 * 2,
        "outputs": 4 * 36 * 2,
        "odd_output_macs": 4 * 36 * 16,
        "odd_output_left_over": 4 * 36 * 2,
        "odd_outputs": 4 * 36,
        "copying": 4 * 16 * 16 * runs,
        "filling": 4 * (36 * 9 - 16 * 16) * (18 + 3 * 2),
        "im2col_taps": 4 * 36 * 9,
        "im2col_rows": 4 * 36 * 3,
        "im2col_bytes": 4 * 36 * 16,
        "im2col_left_over": 4 * 36 * 2,
        "positions": 4 * 36,
        "pairs": 4 * 36,
        "groups": 4,
        "calls": 1,
    }
    cost = sum(costs.get(term, 0) * amount for term, amount in expected.items())
    found = priced_alone(graph)
    assert found["grouped"] == ("convolution_grouped", pytest.approx(cost))
    assert found["1x1"][0] == "convolution_grouped"


def test_a_depthwise_convolution_clears_what_lies_outside() -> None:
    sweep = Sweep((4, 4), (4, 4), (5, 1))
    assert sweep.seen == (((2, 3, 0), (1, 4, 0), (0, 4, 1), (0, 3, 2)), ((0, 1, 0),) * 4)
    work = depthwise(sweep, 6)
    # runs of 24, 12, 12 and 24 bytes for each of four columns: newlib's memset by words
    assert work.terms["filling"] == 4 * sum(filling(size, Runs(0, 0)) for size in (24, 12, 12, 24))
    assert work.terms["paired_macs"] == 16 * 4 * 4
    assert work.terms["single_macs"] == 16 * 1 * 4
    assert work.terms["left_over_macs"] == 16 * 5 * 2
    assert work.terms["copied"] == 14 * 4 * 4


def pairs(most: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(1, most), st.integers(1, most))


@given(size=pairs(12), kernel=pairs(5), stride=pairs(3), dilation=pairs(3))
def test_valid_taps_are_those_one_counts(
    size: Pair, kernel: Pair, stride: Pair, dilation: Pair
) -> None:
    out = -(-size[0] // stride[0]), -(-size[1] // stride[1])
    sweep = Sweep(size, out, kernel, stride, dilation=dilation)
    builder = Builder((*size, 1))
    name = builder.depthwise(builder.input, "dw", kernel, stride=stride)
    assert builder.shape(name)[1:3] == out
    # a convolution of ones with ones counts the taps inside the map
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = [
        max((o - 1) * s + k - n, 0) for o, s, k, n in zip(out, stride, reach, size, strict=True)
    ]
    sides = (each for pad in reversed(pads) for each in (pad // 2, pad - pad // 2))
    padded = torch.nn.functional.pad(torch.ones(1, 1, *size), (*sides,))
    seen = torch.nn.functional.conv2d(padded, torch.ones(1, 1, *kernel), None, stride, 0, dilation)
    assert seen.shape[2:] == out
    assert sweep.valid_taps == int(seen.sum())


def test_27_networks_that_are_not_in_the_fit() -> None:
    errors = [
        abs(CMSIS_NN.features(NETWORKS[name].graph)["instructions"] / CENSUS[name].instructions - 1)
        for name in CENSUS
    ]
    assert len(errors) == 27
    assert np.mean(errors) < 0.015
    assert max(errors) < 0.04


def test_census_networks_whole() -> None:
    rows = census.rows("census_models")
    errors = [
        CMSIS_NN.features(census.network(row))["instructions"]
        / float(row["instructions_m4_cmsisnn"])
        - 1
        for row in rows
    ]
    assert np.abs(errors).mean() < 0.005
    assert np.abs(errors).max() < 0.03


def test_an_operator_costs_the_same_from_a_graph_as_from_the_census() -> None:
    of_network = census.by_network(census.operators())
    for row in census.rows("census_models")[::20]:
        found = [each.instructions for each in CMSIS_NN.prices(census.network(row)) if each]
        expected = [float(instructions(each.work)) for each in of_network[row["id"]]]
        assert found == pytest.approx(expected)


def test_shipped_kernels_are_what_the_census_gives() -> None:
    assert kernel_fits.fit_kernels(census.operators()) == LIBRARY.kernels


@pytest.mark.long
@pytest.mark.parametrize("space", ["kws", "ad", "vww"])
def test_forms_carry_over_to_a_space_they_have_not_seen(space: str) -> None:
    known = [n for n in latency_forms.networks() if not n.name.startswith("odd")]
    test = [network for network in known if network.space == space]
    train = [network for network in known if network.space != space]
    for terms in latency_forms.COMPARED.values():
        predicted = latency_forms.by_terms(terms, train, test)
        mean = np.abs(latency_forms.errors(predicted, test)).mean()
        assert (mean < 0.04) == (terms is not latency_forms.OPS)
    predicted = latency_forms.by_kernel(latency_forms.extra_operators(), train, test)
    assert np.abs(latency_forms.errors(predicted, test)).mean() < 0.04


def test_softmax_is_priced_at_its_worst() -> None:
    """An entry takes some 430 instructions less where it is negligible beside the largest."""
    costs = LIBRARY.kernels["softmax"].instructions
    for row in census.rows("census_extra_ops"):
        if row["op"] == "SOFTMAX":
            bound = costs["elements"] * int(row["out_c"]) + costs["rows"] + costs["calls"]
            assert float(row["instructions"]) < 1.05 * bound


def test_operators_measured_alone_are_priced_within_three_percent() -> None:
    errors: dict[str, list[float]] = defaultdict(list)
    for each in census.lone_operators():
        (op,) = each.graph.ops
        found = price(each.graph, op)
        assert not found.extrapolated
        errors[op.kind].append(abs(found.instructions / each.instructions - 1))
    assert all(np.mean(of_kind) <= 0.03 for of_kind in errors.values())
    assert {*errors, "AVERAGE_POOL_2D", "MAX_POOL_2D"} <= set(OPERATORS)


def test_operators_measured_alone_take_the_arena_that_is_planned() -> None:
    for each in census.lone_operators():
        planned = plan(each.graph)
        assert planned.head == each.head, each.name
        assert abs(planned.total - each.head - each.tail) <= 32, each.name


@pytest.mark.parametrize(
    ("size", "to", "source", "instructions"),
    # counted on the simulated core, 200 calls each
    [
        *[(0, 0, 0, 20), (3, 0, 1, 25), (7, 0, 0, 31), (7, 2, 0, 38), (12, 0, 0, 32)],
        *[(12, 0, 3, 38), (12, 1, 0, 36), (12, 1, 1, 49), (12, 2, 1, 51), (12, 3, 1, 48)],
        *[(35, 3, 2, 60), (44, 0, 0, 52), (140, 0, 0, 100)],
    ],
)
def test_runs_of_bytes_by_count(size: int, to: int, source: int, instructions: int) -> None:
    assert copying(size, Runs(to, 4), Runs(source, 8)) == instructions


@pytest.mark.parametrize(
    ("size", "to", "instructions"),
    [(0, 0, 16), (3, 0, 27), (8, 0, 35), (12, 1, 56), (20, 3, 57), (42, 2, 64), (44, 0, 56)],
)
def test_filled_bytes_by_count(size: int, to: int, instructions: int) -> None:
    assert filling(size, Runs(to, 4)) == instructions


def test_foreign_operators() -> None:
    """Convolutions of unknown options run at reference speed; QUANTIZE was counted, COS not."""
    tensors = {
        "x": Tensor("x", (1, 8, 8, 4), "int8"),
        "w": Tensor("w", (16, 3, 3, 4), "int8", constant=True),
        "y": Tensor("y", (1, 8, 8, 16), "int8"),
        "f": Tensor("f", (1, 8, 8, 4), "float32"),
    }
    graph = Graph(tensors, (), ("x",), ("y",))
    unknown = price(graph, Op("UNKNOWN", "CONV_2D", ("x", "w"), ("y",)))
    assert unknown.extrapolated
    assert unknown.instructions == 37 * 8 * 8 * 16 * 36 + 5000
    from_float = price(graph, Op("UNKNOWN", "QUANTIZE", ("f",), ("x",)))
    assert not from_float.extrapolated
    assert from_float.kernel == "quantize_from_float"
    assert price(graph, Op("UNKNOWN", "COS", ("x",), ("x",))) is None


def test_int4_kernels_that_were_not_counted_are_slower_than_int8_ones() -> None:
    builder = Builder((8, 8, 8))
    graph = builder.finish(builder.depthwise(builder.input, "dw", (3, 3), multiplier=2))
    (op,) = graph.ops
    weights = replace(graph.constant_of(op), dtype="int4")
    packed = replace(graph, tensors={**graph.tensors, weights.name: weights})
    fast, slow = price(graph, op), price(packed, op)
    assert slow.instructions == pytest.approx(2.5 * fast.instructions)
    assert (fast.extrapolated, slow.extrapolated) == (False, True)


def test_an_operator_that_nobody_counted_is_priced_high_and_marked() -> None:
    found = priced(elementwise("unmeasured", 120))
    assert found.extrapolated
    assert found.instructions == 500 * 120 + 5000
    slowest = max(each.instructions.get("elements", 0) for each in LIBRARY.kernels.values())
    assert slowest < 500
