"""Ranges of tensors that TFLite wants on one scale: they hold the values of all of them."""

from typing import get_args

import numpy as np
import pytest
import torch

from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Op
from micronas.train.calibration import Method
from micronas.train.network import Network
from micronas.train.quantize import QuantizedNetwork


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
