"""Networks with rounding in the loop, and how far they are from integer execution."""

import numpy as np
import torch
from torch import Tensor

from micronas.graph import integer
from micronas.graph.ir import Graph
from micronas.train.codes import quantize_inputs
from micronas.train.network import Network, interpret
from micronas.train.quantize import QuantizedNetwork, Ranges
from testing.graphs import random_shapes


def random_batch(graph: Graph, count: int, seed: int = 0) -> Tensor:
    _, *sizes = graph.tensors[graph.inputs[0]].shape
    shape = (sizes[2], *sizes[:2]) if len(sizes) == 3 else sizes
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def float_network(seed: int, family: str) -> Network:
    """A network whose batch norm has seen data."""
    graph = random_shapes(seed, family=family)
    network = Network(graph, generator=torch.Generator().manual_seed(seed)).train()
    for step in range(5):
        network(random_batch(graph, 16, step))
    return network.eval()


def calibrated(graph: Graph, *, bits: int = 8, ranges: Ranges = "gradient") -> QuantizedNetwork:
    network = QuantizedNetwork(graph, bits=bits, ranges=ranges)
    batches = [random_batch(graph, 16, seed) for seed in range(2)]
    network.calibrate(batches, method="minmax")
    return network.eval()


def differences(network: QuantizedNetwork, x: Tensor, *, local: bool) -> dict[str, np.ndarray]:
    """Steps between integer execution and the imitation, for each activation tensor.

    `local`: every operator of the imitation reads what integer execution computed.
    """
    graph = network.graph()
    codes = integer.run_all(graph, quantize_inputs(graph, x))
    found: dict[str, np.ndarray] = {}

    def compare(name: str, value: Tensor) -> Tensor:
        value = network.rounded(name, value)
        if name not in codes:  # a constant
            return value
        quantization = graph.tensors[name].quantization
        array = value.numpy().transpose(0, 2, 3, 1) if value.ndim == 4 else value.numpy()
        ours = np.rint(array / quantization.scale) + quantization.zero_point
        found[name] = np.abs(ours - codes[name].reshape(ours.shape))
        if not local:
            return value
        exact = (codes[name].astype(np.float32) - quantization.zero_point) * quantization.scale
        exact = torch.tensor(exact.reshape(array.shape))
        return exact.permute(0, 3, 1, 2) if value.ndim == 4 else exact

    with torch.no_grad():
        interpret(network._graph, x, network.weighted, compare)
    return found
