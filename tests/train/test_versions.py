"""Scales on which versions of TFLM agree."""

import math

import numpy as np
import pytest
import torch

from micronas.export.from_torch.module import to_tflite
from micronas.export.from_torch.trace import trace
from micronas.graph.fixed_point import agreeing_scale
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.elements import same_in_all_versions
from micronas.tflite.reader import read
from micronas.train.quantize import QuantizedNetwork


class Size(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.abs()


def test_a_range_moves_where_versions_disagree() -> None:
    network = QuantizedNetwork(trace(Size().eval(), torch.ones(1, 4)), ranges="average")
    network.calibrate([torch.tensor([[-1.0, 0.5, 1.0, 2.0]])])
    scales = {"x": "0x1.45edd2p-7", "abs": "0x1.2314ccp-7"}
    zeros = {"x": 90, "abs": -58}
    for name, text in scales.items():
        found = network.ranges[name]
        found.log2_scale.data.fill_(math.log2(float.fromhex(text)))
        found.zero_point.fill_(zeros[name])
        assert abs(found.scale.item() / float.fromhex(text) - 1) < 1e-6
    graph = network.graph()
    assert same_in_all_versions(graph, graph.ops[0])
    for name, text in scales.items():
        step = graph.tensors[name].quantization
        assert abs(step.scale[0] / float.fromhex(text) - 1) < 1e-4


def multiplier(product: float, output: float) -> tuple[int, int]:
    """A factor as TFLM holds it, in plain Python."""
    fraction, exponent = math.frexp(product / output)
    return math.floor(fraction * 2**31 + 0.5), exponent


def agree(source: np.float32, weights: np.float32, output: np.float32) -> bool:
    """Whether products of scales in float32 and in float64, which is exact, rescale alike."""
    products = float(source * weights), float(source) * float(weights)
    first, second = (multiplier(each, float(output)) for each in products)
    return first == second


def test_a_linear_layer_takes_a_scale_on_which_versions_agree() -> None:
    rng = np.random.default_rng(1)
    unchanged = 0
    for scales in np.exp2(rng.uniform(-14, 2, (300, 3))).astype(np.float32):
        source, weights, output = scales
        found = agreeing_scale(weights, source, output)
        assert agree(source, found, output), scales
        assert weights <= found <= 1.01 * weights
        unchanged += agree(source, weights, output)
    assert unchanged < 30  # what disagrees is the rule


def scales_of(graph: Graph, op: Op) -> list[np.float32]:
    """Scales of two factors and of their product."""
    names = *op.inputs[:2], op.outputs[0]
    return [graph.tensors[name].quantization.scale[0] for name in names]


class Attention(torch.nn.Module):
    """Queries, keys and values by one linear layer, as many write it."""

    def __init__(self) -> None:
        super().__init__()
        self.joined = torch.nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.joined(x).chunk(3, -1)
        return (q @ k.transpose(1, 2)).softmax(-1) @ v


@pytest.mark.long
def test_products_of_activations_have_such_scales() -> None:
    found = 0
    for seed in range(4):
        torch.manual_seed(seed)
        examples = torch.randn(32, 6, 8)
        graph = read(to_tflite(Attention().eval(), examples[:1], calibration=[examples]))
        for op in graph.ops:
            if op.kind == "BATCH_MATMUL":
                assert agree(*scales_of(graph, op))
                found += 1
    assert found == 8


def test_exported_linear_layers_have_such_a_scale() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(12, 12) for _ in range(20)]
    examples = torch.randn(64, 12)
    graph = read(
        to_tflite(torch.nn.Sequential(*layers).eval(), examples[:1], calibration=[examples])
    )
    assert len(graph.ops) == 20
    for op in graph.ops:
        assert agree(*scales_of(graph, op))
