"""Streaming spaces: every network streams, trains and runs on TFLM."""

from typing import Any

import pytest
import torch
import yaml

from micronas.errors import ConfigError
from micronas.export.verify import verify
from micronas.graph.streaming import check_streaming, timings
from micronas.nas.custom_loop import Supernet
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.space import Space
from micronas.tflite.writer import to_flatbuffer
from micronas.train.quantize import QuantizedNetwork
from testing.graphs import random_inputs

DESCRIBED: dict[str, Any] = yaml.safe_load("""
name: small
classes: 3
input: [30, 6, 2]
streaming: true
stem: {width: [4, 8], kernel: [3, 3]}
blocks:
- {type: separable, width: [8, 12], kernel: [3x3, 5x3], stride: 2}
- {type: bottleneck, expansion: [8, 12], repeat: 2, skip: true}
- type: select
  options: [{type: residual, width: [8, 16]}, {type: conv, width: 8, kernel: 5x3}]
- {type: shuffle, width: 4}
""")


def test_every_network_of_a_shipped_space_streams() -> None:
    space = load_space("kws_streaming")
    strides = set()
    for member in space.members():
        for choice in (member.smallest(), member.largest()):
            graph = member.resolve(choice)
            check_streaming(graph)
            strides.add(timings(graph)[graph.outputs[0]].stride)
    assert strides == {2, 4}


def test_a_streaming_network_is_trained_quantised_exported_and_run() -> None:
    torch.manual_seed(0)
    found = Space.model_validate(DESCRIBED)
    network = found.architecture(found.largest()).build()
    x, labels = torch.randn(64, 2, 30, 6), torch.arange(64) % 3
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 1.5
    quantized = QuantizedNetwork(network.eval().graph())
    quantized.calibrate([x])
    graph = quantized.graph()
    check_streaming(graph)
    assert verify(to_flatbuffer(graph), random_inputs(graph, 8, 0)).mismatches == 0


def test_gates_and_textbook_networks_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"gates must mix maps of one size.*strategy=halving"):
        Supernet(Space.model_validate(DESCRIBED))
    family = {key: DESCRIBED[key] for key in ("input", "stem", "blocks")}
    described = {"classes": 3, "streaming": True, "families": {"one": family}}
    assert next(OpenSpace.model_validate(described).members()).streaming
    with pytest.raises(ValueError, match="textbook networks must stream"):
        OpenSpace.model_validate({**described, "textbook": ["tc_resnet8"]})
