"""Scales on which versions of TFLM agree."""

import math

import torch

from micronas.export.from_torch.trace import trace
from micronas.graph.kernels.elements import same_in_all_versions
from micronas.train.fake_quantize import Range
from micronas.train.quantize import QuantizedNetwork


class Size(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.abs()


def test_a_range_moves_where_versions_disagree() -> None:
    network = QuantizedNetwork(trace(Size().eval(), torch.ones(1, 4)), ranges="average")
    network.calibrate([torch.tensor([[-1.0, 0.5, 1.0, 2.0]])])
    scales = {"input": "0x1.45edd2p-7", "abs": "0x1.2314ccp-7"}
    zeros = {"input": 90, "abs": -58}
    for name, text in scales.items():
        found = network.ranges[name]
        assert isinstance(found, Range)
        found.log2_scale.data.fill_(math.log2(float.fromhex(text)))
        found.zero_point.fill_(zeros[name])
        assert abs(found.scale.item() / float.fromhex(text) - 1) < 1e-6
    graph = network.graph()
    assert same_in_all_versions(graph, graph.ops[0])
    for name, text in scales.items():
        step = graph.tensors[name].quantization
        assert step is not None
        assert abs(step.scale[0] / float.fromhex(text) - 1) < 1e-4
