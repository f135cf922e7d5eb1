"""Batches are split where activations are large, and ranges do not depend on it."""

import pytest
import torch

from micronas.graph.builder import Builder
from micronas.train.inputs import examples_of, in_parts
from micronas.train.network import Network
from micronas.train.post_training import largest_loss
from micronas.train.quantize import QuantizedNetwork


def wide(side: int) -> QuantizedNetwork:
    """A map of `side` x `side` x 4 between an input and two numbers."""
    builder = Builder((side, side, 1))
    value = builder.conv(builder.input, "wide", 4, (3, 3), activation="RELU")
    graph = builder.finish(builder.dense(builder.global_average(value, "mean"), "head", 2))
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    return QuantizedNetwork(network.graph()).eval()


def test_parts_hold_a_million_numbers_of_the_largest_map() -> None:
    graph = wide(256).float_graph
    assert examples_of(graph, 2**20) == 2**20 // (256 * 256 * 4) == 4
    assert examples_of(graph, 1) == 1
    parts = in_parts(graph, torch.arange(10.0).reshape(10, 1, 1, 1))
    assert [each["input"].flatten().tolist() for each in parts] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]


def test_ranges_and_losses_of_parts_are_those_of_the_whole() -> None:
    """Two parts of the same four examples have the extremes and the losses of the four alone."""
    network = wide(256)
    few = torch.randn(4, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    network.calibrate([few], method="minmax")
    spans = {name: each.span.clone() for name, each in network.ranges.items()}
    loss = largest_loss(network, few)
    network.calibrate([few.flip(0).repeat(2, 1, 1, 1)], method="minmax")
    for name, each in network.ranges.items():
        assert torch.equal(each.span, spans[name]), name
    again = largest_loss(network, few.repeat(2, 1, 1, 1))
    assert again.name == loss.name
    assert again[1:] == pytest.approx(loss[1:], abs=0.01)
