"""Two int8 networks that the spaces stand for: what exporters are compared on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from micronas.graph.ir import Graph
from testing.builder import Builder
from testing.graphs import ds_cnn


def mobilenet_v2() -> Graph:
    """MobileNetV2-like: 96x96x3, ReLU6, ten inverted residuals, two classes."""
    builder = Builder((96, 96, 3))
    value = builder.conv(builder.input, "stem", 16, (3, 3), stride=(2, 2), activation="RELU6")
    blocks = [(8, 1), (16, 2), (16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (40, 1), (56, 2)]
    for position, (width, step) in enumerate([*blocks, (56, 1)]):
        name = f"block{position}"
        depth = builder.shape(value)[-1]
        inner = builder.conv(value, f"{name}/expand", 4 * depth, activation="RELU6")
        inner = builder.depthwise(
            inner, f"{name}/dw", (3, 3), stride=(step, step), activation="RELU6"
        )
        inner = builder.conv(inner, f"{name}/project", width)
        residual = step == 1 and depth == width
        value = builder.add(value, inner, f"{name}/add") if residual else inner
    value = builder.conv(value, "last", 128, activation="RELU6")
    pooled = builder.global_average(value, "pool")
    return quantised(builder.finish(builder.dense(pooled, "classifier", 2)))


def quantised(shapes: Graph) -> Graph:
    """Draw weights that keep a signal's size, and ranges from random inputs."""
    import torch

    from micronas.train.quantize import QuantizedNetwork

    source, tensors = np.random.default_rng(0), dict(shapes.tensors)
    for op in shapes.ops:
        if len(op.inputs) == 3:
            weights, bias = (tensors[name] for name in op.inputs[1:])
            spread = np.sqrt(2 * bias.elements / weights.elements)
            for tensor, size in ((weights, spread), (bias, 0.1)):
                data = (size * source.standard_normal(tensor.shape)).astype(np.float32)
                tensors[tensor.name] = replace(tensor, data=data)
    network = QuantizedNetwork(replace(shapes, tensors=tensors))
    _, height, width, depth = tensors[shapes.inputs[0]].shape
    network.calibrate([torch.randn(8, depth, height, width, generator=torch.manual_seed(0))])
    return network.graph()


NETWORKS: dict[str, Callable[[], Graph]] = {
    "DS-CNN": lambda: quantised(ds_cnn()),
    "MobileNetV2": mobilenet_v2,
}
