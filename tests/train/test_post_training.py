"""Gains without training: what is computed stays, and what int8 loses shrinks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from micronas.errors import MicronasError
from micronas.graph import integer
from micronas.graph.averages import is_global, with_averages
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from micronas.train.codes import quantize_inputs
from micronas.train.network import Network
from micronas.train.post_training import correct_biases, equalised, largest_loss, shrunk, sqnr_db
from micronas.train.quantize import QuantizedNetwork
from micronas.train.scaling import scalable_pairs
from tests.train.test_network import run_float


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("wanted", "got", "ratio"),
    [([3.0, 4.0], [3.0, 4.5], 20.0), ([0.0], [0.0], math.inf), ([0.0], [1.0], -math.inf)],
)
def test_decibels_by_hand(wanted: list[float], got: list[float], ratio: float) -> None:
    assert sqnr_db(wanted, got) == pytest.approx(ratio)


def maps(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=generator)


def separable() -> Graph:
    """A stem, depthwise and pointwise layers, a pool and a classifier, with random weights."""
    builder = Builder((8, 8, 3))
    value = builder.conv(builder.input, "stem", 12, (3, 3), activation="RELU")
    value = builder.depthwise(value, "dw", (3, 3), activation="RELU")
    value = builder.conv(value, "pw", 16, activation="RELU")
    value = builder.pool(value, "pool", "MAX_POOL_2D", (2, 2), stride=(2, 2))
    value = builder.conv(value, "grouped", 8, (3, 3), groups=4, activation="RELU")
    value = builder.global_average(value, "mean")
    graph = builder.finish(builder.dense(value, "classifier", 5))
    network = Network(graph, generator=torch.Generator().manual_seed(0)).train()
    network(maps(64, 1))
    return network.eval().graph()


def badly_scaled(graph: Graph) -> Graph:
    """The same function with channels of very different sizes behind three layers."""
    tensors, rng = dict(graph.tensors), np.random.default_rng(0)
    for source, reader in (("stem", "dw"), ("dw", "pw"), ("pw", "grouped")):
        count = graph.tensors[source].shape[3]
        by = np.exp2(rng.integers(-4, 5, count)).astype(np.float32)
        axis = -1 if source == "dw" else 0
        weights = np.moveaxis(tensors[f"{source}/weights"].data, axis, -1) * by
        behind = tensors[f"{reader}/weights"].data
        if reader == "grouped":  # two filters a group, each of four channels
            behind = behind / np.repeat(by.reshape(4, 4), 2, axis=0)[:, None, None]
        else:
            behind = behind / by
        for name, data in (
            (f"{source}/weights", np.moveaxis(weights, -1, axis)),
            (f"{source}/bias", tensors[f"{source}/bias"].data * by),
            (f"{reader}/weights", behind),
        ):
            tensors[name] = replace(tensors[name], data=data)
    return replace(graph, tensors=tensors)


@torch.no_grad()
def run(graph: Graph, x: Tensor) -> np.ndarray:
    return run_float(graph, x).flatten(1).numpy()


def int8(network: QuantizedNetwork, x: Tensor) -> np.ndarray:
    """What the device answers, as real numbers."""
    graph = network.graph()
    codes = integer.run(graph, quantize_inputs(graph, x)).astype(np.float64)
    quantization = graph.tensors[graph.outputs[0]].quantization
    real: np.ndarray = (codes - quantization.zero_point) * quantization.scale[0]
    return real.reshape(len(x), -1)


def calibrated(graph: Graph) -> QuantizedNetwork:
    network = QuantizedNetwork(graph)
    network.calibrate([maps(32, 2)], method="minmax")
    return network


def test_equalisation_keeps_what_is_computed_and_restores_bad_scales() -> None:
    graph, x = separable(), maps(32, 3)
    wanted = run(graph, x)
    worse = badly_scaled(graph)
    np.testing.assert_allclose(run(worse, x), wanted, rtol=1e-3, atol=1e-5)
    better = equalised(worse, [maps(32, 2)])
    np.testing.assert_allclose(run(better, x), wanted, rtol=1e-3, atol=1e-5)
    good, bad, restored = (
        sqnr_db(wanted, int8(calibrated(each), x)) for each in (graph, worse, better)
    )
    assert bad < good - 6
    assert restored > good - 1.5


def test_channels_are_scaled_where_nothing_else_reads_them() -> None:
    graph = separable()
    pairs = {pair.source.name: [op.name for op in pair.readers] for pair in scalable_pairs(graph)}
    assert pairs == dict(stem=["dw"], dw=["pw"], pw=["grouped"], grouped=["classifier"])
    builder = Builder((4, 4, 3))
    value = builder.conv(builder.input, "a", 4, activation="RELU6")  # not proportional
    value = builder.conv(value, "b", 4)
    other = builder.conv(value, "c", 4)
    total = builder.add(value, other, "sum")  # neither can be scaled alone
    assert not scalable_pairs(builder.finish(builder.conv(total, "d", 2)))


def test_equalisation_without_data_is_refused() -> None:
    with pytest.raises(MicronasError, match="equalisation needs at least one batch"):
        equalised(separable(), [])


def test_bias_correction_makes_up_for_a_weight_that_rounds_to_nothing() -> None:
    builder = Builder((4, 4, 2))
    graph = builder.finish(builder.conv(builder.input, "y", 1))
    data = {
        "y/weights": np.array([7.0, 0.4], np.float32).reshape(1, 1, 1, 2),  # 4 bits: steps of 1
        "y/bias": np.array([0.5], np.float32),
    }
    tensors = {name: replace(tensor, data=data.get(name)) for name, tensor in graph.tensors.items()}
    network = QuantizedNetwork(replace(graph, tensors=tensors), bits=4)
    x = 2 + torch.rand(64, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    network.calibrate([x], method="minmax")
    correct_biases(network, [x])
    bias = network.unit(graph.ops[0]).bias
    assert bias.item() == pytest.approx(0.5 + 0.4 * x[:, 1].mean().item(), abs=0.01)


def test_one_example_says_nothing_of_biases() -> None:
    network = QuantizedNetwork(separable())
    x = maps(16, 2)
    network.calibrate([x], method="minmax")
    biases = {name: value.clone() for name, value in network.units.state_dict().items()}
    correct_biases(network, [x[:1]])
    assert all(torch.equal(value, biases[key]) for key, value in network.units.state_dict().items())
    correct_biases(network, [x[:5], x[5:]])
    assert any(
        not torch.equal(value, biases[key]) for key, value in network.units.state_dict().items()
    )


def test_a_shift_is_shrunk_by_what_may_be_chance() -> None:
    """By hand: means 2 and 0.5, both with a standard error of 1 (variance 4 over 4 examples)."""
    spread = torch.tensor([-3.0, 1.0, 1.0, 1.0])  # of mean 0 and variance 4
    shifts = torch.stack([2 + spread, 0.5 + spread], 1)
    assert shrunk(shifts).tolist() == pytest.approx([2 * (1 - 1 / 4), 0.0])


@pytest.mark.parametrize("size", [(4, 4), (25, 5), (24, 24), (13, 1), (1, 1), (3, 3)])
def test_averages_of_their_own_scale_are_the_same_average(size: tuple[int, int]) -> None:
    builder = Builder((*size, 3))
    graph = builder.finish(builder.global_average(builder.input, "mean"))
    (op,) = graph.ops
    assert is_global(graph, op)
    x = torch.randn(64, 3, *size, generator=torch.Generator().manual_seed(0)) + 0.3
    wanted = x.mean((2, 3)).numpy()
    ratios = []
    for way in ("pool", "parts", "mean"):
        changed = with_averages(graph, way)  # type: ignore[arg-type]
        np.testing.assert_allclose(run(changed, x), wanted, atol=1e-6)
        network = QuantizedNetwork(changed)
        network.calibrate([x], method="minmax")
        ratios.append(sqnr_db(wanted, int8(network, x)))
    if min(size) > 3:
        assert ratios[2] >= ratios[1] > ratios[0] + 3  # 16 parts of 4x4 are the map


def test_ranges_stay_as_they_were_calibrated() -> None:
    network = QuantizedNetwork(separable(), ranges="average")
    network.calibrate([maps(32, 2)], method="minmax")
    assert network.training  # in which ranges follow what a network sees
    ranges = {key: value.clone() for key, value in network.ranges.state_dict().items()}
    larger = 3 * maps(32, 4)
    correct_biases(network, [larger])
    largest_loss(network, larger)
    assert network.training
    for key, value in network.ranges.state_dict().items():
        assert torch.equal(value, ranges[key]), key
