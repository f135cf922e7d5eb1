"""Streaming spaces: every network streams. It trains and runs on TFLM in `test_blocks`."""

from typing import Any

import pytest
import yaml

from micronas.errors import ConfigError
from micronas.graph.streaming import check_streaming, timings
from micronas.nas.custom_loop import Supernet
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.space import Space

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


def test_gates_and_textbook_networks_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"gates must mix maps of one size.*strategy=halving"):
        Supernet(Space.model_validate(DESCRIBED))
    family = {key: DESCRIBED[key] for key in ("input", "stem", "blocks")}
    described = {"classes": 3, "streaming": True, "families": {"one": family}}
    assert next(OpenSpace.model_validate(described).members()).streaming
    with pytest.raises(ValueError, match="textbook networks must stream"):
        OpenSpace.model_validate({**described, "textbook": ["tc_resnet8"]})
