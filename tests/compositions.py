"""Compositions of small random networks for tests."""

from dataclasses import replace

import numpy as np

from micronas.graph import integer
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Quantization, Tensor
from micronas.router.decision import GENERAL
from micronas.router.device import Composition, DeviceExpert, with_softmax
from micronas.testing.graphs import quantize_randomly, random_inputs

CLASSES = ("red", "green", "blue", "up", "down", "left", "right")
CATEGORIES = {"colours": CLASSES[:3], "ways": CLASSES[3:]}
INPUT = Quantization(np.array([0.05], np.float32), 3)


def network(outputs: int, seed: int, *, width: int = 6, blocks: int = 1) -> Graph:
    """An int8 network [6, 5, 2] -> logits; all of them have the same input codes."""
    builder = Builder((6, 5, 2))
    value = builder.conv(builder.input, "stem", width, (3, 3), activation="RELU")
    for block in range(blocks):
        value = builder.depthwise(value, f"block{block}/dw", (3, 3), activation="RELU")
        value = builder.conv(value, f"block{block}/pw", width, activation="RELU")
    graph = quantize_randomly(builder.finish(builder.dense(value, "classifier", outputs)), seed)
    return _varied(with_input(graph, INPUT))


def with_input(graph: Graph, quantization: Quantization) -> Graph:
    name = graph.inputs[0]
    return _with(graph, replace(graph.tensors[name], quantization=quantization))


def _varied(graph: Graph) -> Graph:
    """Shift the logits of random weights, so that each is the highest for some inputs."""
    codes = integer.run(graph, random_inputs(graph, 200)).astype(np.float64)
    classifier = graph.ops[-1]
    bias = graph.constant_of(classifier, 2)
    output = graph.output_of(classifier)
    assert bias.data is not None
    assert bias.quantization is not None
    assert output.quantization is not None
    steps = output.quantization.scale[0] / bias.quantization.scale[0]
    zero = output.quantization.zero_point
    data = (bias.data - (codes.mean(0) - zero) * steps).astype(np.int32)
    return _with(graph, replace(bias, data=data))


def _with(graph: Graph, tensor: Tensor) -> Graph:
    return replace(graph, tensors={**graph.tensors, tensor.name: tensor})


def composition(seed: int = 0, *, threshold: int = 10) -> Composition:
    """Two categories, an expert for each and a larger general one."""
    return Composition(
        classes=CLASSES,
        categories=CATEGORIES,
        router=with_softmax(network(2, seed, width=3)),
        experts=(
            DeviceExpert("painter", network(3, seed + 1), CLASSES[:3]),
            DeviceExpert("guide", network(4, seed + 2, blocks=2), CLASSES[3:]),
            DeviceExpert("polymath", network(7, seed + 3, width=12), CLASSES[::-1]),
        ),
        expert_of={"colours": "painter", "ways": "guide", GENERAL: "polymath"},
        threshold=threshold,
        shares={"painter": 0.5, "guide": 0.25, "polymath": 0.25},
    )
