"""Counts against numbers worked out by hand, published files and plain enumeration."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.graph.builder import Builder
from micronas.graph.counts import FEATURES, count, per_op
from micronas.graph.ir import Graph, Op
from micronas.hardware.targets import HOST, plan
from testing.published import GRAPHS


def small() -> Graph:
    """One of everything on a 5x4x3 input."""
    builder = Builder((5, 4, 3))
    stem = builder.conv(builder.input, "stem", 4, (3, 3), stride=(2, 2))  # 3x2x4
    hidden = builder.depthwise(stem, "dw", (3, 3))  # 3x2x4
    wide = builder.conv(hidden, "pw", 6)  # 3x2x6
    summed = builder.add(stem, wide, "add")  # PAD, then ADD: 3x2x6
    pooled = builder.global_average(summed, "pool")
    return builder.finish(builder.dense(pooled, "fc", 2))


def test_every_count_by_hand() -> None:
    counts = count(small())
    assert counts.conv_macs == 6 * 4 * 27 + 6 * 6 * 4
    assert counts.depthwise_macs == 6 * 4 * 9
    assert counts.fc_macs == 12
    assert counts.macs == 648 + 144 + 216 + 12
    assert counts.ops == 2 * 1020
    assert counts.weights == (108 + 4) + (36 + 4) + (24 + 6) + (12 + 2)
    assert counts.weights_bytes == 108 + 36 + 24 + 12 + 4 * (4 + 4 + 6 + 2)
    assert counts.conv_outputs == 24 + 36
    assert counts.depthwise_outputs == 24
    assert counts.fc_outputs == 2
    assert counts.add_elements == 36
    assert counts.pool_inputs == 36
    assert counts.mean_inputs == 0
    assert tuple(counts.features) == FEATURES


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_operators_add_up_to_the_network(name: str) -> None:
    graph = GRAPHS[name]
    rows, counts = per_op(graph), count(graph)
    assert [row.name for row in rows] == [op.name for op in graph.ops]
    assert sum(row.macs for row in rows) == counts.macs
    assert sum(row.weights for row in rows) == counts.weights
    assert sum(row.weights_bytes for row in rows) == counts.weights_bytes


def test_int4_weights_are_packed_and_biases_are_not() -> None:
    graph = small()
    weights = replace(graph.tensors["dw/weights"], shape=(1, 3, 3, 3), dtype="int4")
    graph = replace(graph, tensors={**graph.tensors, "dw/weights": weights})
    row = per_op(graph)[1]
    assert row.weights_bytes == 14 + 4 * 4  # 27 half bytes


def test_shared_weights_count_once_but_run_twice() -> None:
    builder = Builder((4, 4, 8))
    graph = builder.finish(builder.conv(builder.conv(builder.input, "a", 8), "b", 8))
    first, second = graph.ops
    shared = replace(second, inputs=(second.inputs[0], *first.inputs[1:]))
    counts = count(replace(graph, ops=(first, shared)))
    assert counts.macs == 2 * 16 * 64
    assert counts.weights == 64 + 8


def test_mean_is_counted_apart_from_pools() -> None:
    builder = Builder((4, 4, 8))
    graph = builder.finish(builder.global_average(builder.input, "pool"))
    op = graph.ops[0]
    mean = Op("MEAN", op.name, op.inputs, op.outputs)
    counts = count(replace(graph, ops=(mean,)))
    assert (counts.mean_inputs, counts.pool_inputs) == (128, 0)


@settings(max_examples=60)
@given(
    size=st.tuples(*[st.integers(1, 7)] * 2),
    kernel=st.tuples(*[st.integers(1, 4)] * 2),
    stride=st.tuples(*[st.integers(1, 3)] * 2),
    depth=st.integers(1, 4),
    width=st.integers(1, 4),
)
def test_macs_equal_an_enumeration_of_products(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], depth: int, width: int
) -> None:
    builder = Builder((*size, depth))
    hidden = builder.conv(builder.input, "conv", width, kernel, stride=stride)
    builder.depthwise(builder.input, "dw", kernel, stride=stride)
    counts = count(builder.finish(hidden))
    positions = len(np.arange(0, size[0], stride[0])) * len(np.arange(0, size[1], stride[1]))
    taps = sum(1 for _ in np.ndindex(positions, *kernel))
    assert counts.conv_macs == taps * depth * width
    assert counts.depthwise_macs == taps * depth
    assert counts.conv_outputs == positions * width


def test_constant_operands_are_weights_that_take_flash_and_no_arena() -> None:
    builder = Builder((2, 2, 8))
    slopes = builder.constant("slopes", np.full(8, 0.25, np.float32))
    op = Op("PRELU", "y", (builder.input, slopes), ("y",))
    graph = builder.finish(builder.append(op, (1, 2, 2, 8)))
    found = count(graph)
    assert (found.weights, found.weights_bytes, found.macs) == (8, 8, 0)
    assert [(each.weights, each.weights_bytes) for each in per_op(graph)] == [(8, 8)]
    assert {buffer.name for buffer in plan(graph, HOST).buffers} == {"input", "y"}
