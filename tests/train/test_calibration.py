"""Ranges of activations: of few values, of parts of a batch, and of tensors on one scale."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Op
from micronas.train.calibration import Method, Observer
from micronas.train.inputs import examples_of, in_parts
from micronas.train.network import Network
from micronas.train.post_training import largest_loss
from micronas.train.quantize import QuantizedNetwork

_SEEDS = range(20)


def spans(values: Tensor) -> tuple[list[float], list[float]]:
    """Ranges by extremes and by least error."""
    observer, span = Observer.empty(), torch.stack((values.min(), values.max()))
    observer.see(span)
    observer.count(values, span)
    return observer.span("minmax").tolist(), observer.span("mse").tolist()


def noise(values: Tensor, span: list[float]) -> float:
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    step = (high - low) / 255
    codes = torch.clamp(torch.round((values - low) / step), 0, 255)
    return float(((codes * step + low - values) ** 2).mean())


@pytest.mark.parametrize("count", [64, 256, 1024])
@pytest.mark.parametrize("relu", [False, True])
def test_few_normal_values_have_a_range_for_those_to_come(count: int, relu: bool) -> None:
    source = torch.Generator().manual_seed(0)
    unseen = torch.randn(100_000, generator=source)
    gains = []
    for seed in _SEEDS:
        seen = torch.randn(count, generator=source.manual_seed(seed + 1))
        few, many = (seen.relu(), unseen.relu()) if relu else (seen, unseen)
        extremes, least = spans(few)
        assert least[0] <= extremes[0]
        assert least[1] >= extremes[1]
        gains.append(10 * np.log10(noise(many, extremes) / noise(many, least)))
    assert np.mean(gains) > 3
    assert min(gains) > -6  # no range is more than doubled


@pytest.mark.parametrize("count", [64, 256, 1024])
def test_bounds_of_values_stay_those_of_the_range(count: int) -> None:
    source = torch.Generator().manual_seed(0)
    clamped = torch.randn(count, generator=source).clamp(0, 1)
    assert spans(clamped)[1] == [0, 1]
    widths = []
    for seed in _SEEDS:
        even = torch.rand(count, generator=source.manual_seed(seed)) * 2 - 1
        low, high = spans(even)[1]
        widths.append((high - low) / 2)
    assert np.mean(widths) == pytest.approx(1, abs=0.05)


def test_two_values_have_no_others_beyond() -> None:
    assert spans(torch.tensor([-1.0, 2.0]).repeat(50))[1] == [-1, 2]
    assert spans(torch.arange(40.0))[1] == [0, 39]  # too few to have a tail


def test_ranges_of_large_maps_are_not_those_of_their_first_row() -> None:
    """Of 96x96 maps of 512 pictures with a dark frame, `mse` lost 10 dB against all values."""
    values = torch.randn(64, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    values[:, :, 0] *= 0.01
    observer, span = Observer.empty(), torch.stack((values.min(), values.max()))
    observer.see(span)
    observer.count(values, span, parts=64)  # as of a batch 64 times as large
    least = noise(values, observer.span("mse").tolist())
    assert least < 1.5 * noise(values, spans(values)[1])


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


def joined() -> Graph:
    """Two convolutions of the input, side by side; the second has weights twenty times as large."""
    builder = Builder((6, 5, 2))
    parts = tuple(builder.conv(builder.input, name, 3) for name in ("small", "large"))
    op = Op("CONCATENATION", "both", parts, ("both",), axis=3)
    network = Network(builder.finish(builder.append(op, (1, 6, 5, 6)))).eval()
    with torch.no_grad():
        for name, size in (("small", 1.0), ("large", 20.0)):
            weight = network.units[name].weight
            weight.copy_(size * torch.linspace(-1, 1, weight.numel()).reshape(weight.shape))
    return network.graph()


@pytest.mark.parametrize("method", get_args(Method))
def test_a_range_holds_what_is_joined(method: Method) -> None:
    graph, x = joined(), torch.randn(64, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    network = QuantizedNetwork(graph, ranges="average")
    network.calibrate([x[:32], x[32:]], method=method)
    weights = [torch.tensor(graph.tensors[f"{name}/weights"].data) for name in ("small", "large")]
    exact = torch.cat([torch.einsum("nchw,ohwc->nohw", x, weight) for weight in weights], 1)
    error = (network.eval()(x) - exact).detach().numpy()
    power = exact.numpy() ** 2
    assert 10 * np.log10(power.sum() / (error**2).sum()) > 30


def test_the_extremes_of_both_make_the_scale_and_moving_averages_follow() -> None:
    graph, x = joined(), torch.ones(1, 2, 6, 5)
    network = QuantizedNetwork(graph, ranges="average")
    network.calibrate([x], method="minmax")
    # rows of the weights: -1 -.6, -.2 .2, .6 1: sums -1.6, 0, 1.6, and twenty times as much
    quantization = network.graph().tensors["both"].quantization
    assert quantization.scale[0] == pytest.approx(64 / 255, rel=1e-5)
    network.train()(x / 2)
    quantization = network.graph().tensors["both"].quantization
    assert quantization.scale[0] == pytest.approx(0.995 * 64 / 255, rel=1e-4)
