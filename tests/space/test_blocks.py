"""Every block type: chosen in a supernet, priced, trained, quantised, exported, run on TFLM.

A new block type needs an example here, and nothing else.
"""

import random
from typing import Any, get_args

import pytest
import torch
import yaml

from micronas.errors import ConfigError
from micronas.export.verify import tflm_arena, verify
from micronas.graph.streaming import check_streaming, timings
from micronas.hardware.targets import HOST
from micronas.nas.custom_loop import Supernet
from micronas.nas.supernet.gates import Gates
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.space.blocks import Block
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.space import Space
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from micronas.train.quantize import QuantizedNetwork
from testing.graphs import random_inputs
from tests.nas.priced import counted, priced
from tests.nas.supernet.test_supernet import inputs

EXAMPLES: dict[str, list[dict[str, Any]]] = yaml.safe_load("""
separable:
- {type: separable, width: [8, 12], stride: [2, 1]}
- {type: separable, width: [8, 16], kernel: [3, 5x1, 5x3], repeat: 2, skip: true}
bottleneck:
- {type: bottleneck, expansion: [8, 24], width: [8, 12], stride: 2}
- type: bottleneck
  expansion: [12, 20]
  width: [8, 16]
  kernel: [3x3, 5x5]
  repeat: 2
  residual: true
  skip: true
  bits: [4, 8]
- {type: bottleneck, expansion: 12, width: [8, 12], repeat: 2, skip: true}
- type: bottleneck
  expansion: [12, 20]
  squeeze: [4, 8]
  kernel: [3x3, 5x5]
  repeat: 2
  skip: true
- {type: bottleneck, expansion: [8, 16], width: 8, fused: true, squeeze: 4}
conv:
- {type: conv, width: [8, 20], kernel: [9, 1], stride: [2, 1]}
- type: conv
  width: [8, 24]
  kernel: [[3, 1], [5, 3], [1, 3]]
  repeat: 2
  skip: true
  bits: [4, 8]
residual:
- {type: residual, width: [8, 20], kernel: [[5, 1], [9, 1]], stride: [2, 1]}
- {type: residual, kernel: 3, hidden: [8, 12], repeat: 2, skip: true}
- {type: residual, width: [8, 12], squeeze: [4, 8], stride: 2}
- {type: residual, squeeze: 4, repeat: 2, skip: true}
- {type: bottleneck, expansion: [8, 16], fused: true, width: [8, 12]}
- {type: bottleneck, expansion: [8, 16], fused: true, repeat: 2, skip: true}
- {type: separable, kernel: [3x3, 5x5], bits: [4, 8], repeat: 2, skip: true}
shuffle:
- {type: shuffle, width: [4, 8], kernel: [3x3, 5x5], stride: 2}
- {type: shuffle, kernel: [3x3, 5x3], bits: [4, 8], repeat: 2, skip: true}
- {type: shuffle, width: [4, 12], bits: [4, 8]}
- {type: shuffle}
pool:
- {type: conv, width: [8, 12]}
- {type: pool, mode: average, stride: 2}
- {type: pool, window: [3, 1], stride: 1}
select:
- type: select
  options:
  - {type: residual, width: [8, 12], stride: 2}
  - {type: separable, width: [8, 16], kernel: [3x3, 5x5], stride: 2}
  - {type: pool}
- type: select
  repeat: 2
  skip: true
  options: [{type: residual}, {type: bottleneck, expansion: [8, 16]}]
- type: select
  repeat: 2
  skip: true
  options:
  - {type: conv, width: [8, 16], kernel: [3, 1]}
  - {type: bottleneck, expansion: [8, 16], width: [8, 12]}
""")
STREAMING: dict[str, Any] = yaml.safe_load("""
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
TYPES = [get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(get_args(Block)[0])]


def space(kind: str) -> Space:
    stem = {"width": [4, 8], "kernel": [5, 3]}
    around = {"name": kind, "input": [13, 6, 2], "classes": 3, "stem": stem}
    return Space.model_validate({**around, "blocks": EXAMPLES[kind]})


def test_there_is_an_example_of_every_block_type() -> None:
    assert sorted(EXAMPLES) == sorted(TYPES)


@pytest.mark.parametrize("kind", TYPES)
def test_a_block_is_chosen_in_a_supernet_and_priced_exactly(kind: str) -> None:
    found, source = space(kind), random.Random(0)
    torch.manual_seed(0)
    supernet, gates = SharedNetwork(found), Gates(found.decisions)
    for _ in range(6):
        choice = found.random(source)
        one_hot = gates.one_hot(choice)
        x = inputs(found, 4)
        sliced, masked = supernet.sliced(x, choice), supernet.masked(x, one_hot)
        torch.testing.assert_close(masked, sliced, rtol=1e-4, atol=1e-5)
        assert priced(found, one_hot) == pytest.approx(counted(found, choice), rel=1e-12)


EVERY = pytest.mark.parametrize(
    "found", [*map(space, TYPES), Space.model_validate(STREAMING)], ids=[*TYPES, "streaming"]
)


@EVERY
def test_a_network_is_its_space_with_the_choices_filled_in(found: Space) -> None:
    source = random.Random(1)
    for _ in range(12):
        choice = found.random(source)
        network = found.architecture(choice)
        assert not network.decisions
        assert network.graph() == found.resolve(choice)
        assert Space.model_validate(network.model_dump(mode="json")) == network
        assert found.resolve(found.canonical(choice)) == found.resolve(choice)
        kept = [block["name"] for block in found.drawing(choice) if block["width"]]
        assert kept[1:-1] == [names[0] for _, names in network.places()]
        drawn = [layer for block in found.drawing(choice) for layer in block["layers"]]
        assert drawn == [op.name for op in network.graph().ops]


@EVERY
def test_a_block_is_trained_quantised_exported_and_run(found: Space) -> None:
    choice = found.random(random.Random(2))
    torch.manual_seed(0)
    network = found.architecture(choice).build()
    x, labels, losses = inputs(found, 64), torch.arange(64) % 3, []
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    quantized = QuantizedNetwork(network.eval().graph())
    quantized.calibrate([x])
    model = to_flatbuffer(quantized.graph())
    graph = read(model)
    if found.streaming:
        check_streaming(graph)
    assert verify(model, random_inputs(graph, 8, 0)).mismatches == 0
    predicted, arena = HOST.plan(graph), tflm_arena(model)
    assert (predicted.head, predicted.total) == (arena.head, arena.total)


def test_a_half_without_channels_is_refused() -> None:
    blocks = [{"type": "conv", "width": [8, 16]}, {"type": "shuffle"}]
    stem = {"width": 8, "kernel": 3}
    values = {"name": "empty", "input": [8, 8, 1], "classes": 2, "stem": stem}
    with pytest.raises(ConfigError, match=r"each half .* of \(8, 16\) leaves block2 without one"):
        _ = Space.model_validate({**values, "blocks": blocks}).choices


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
        Supernet(Space.model_validate(STREAMING))
    family = {key: STREAMING[key] for key in ("input", "stem", "blocks")}
    described = {"classes": 3, "streaming": True, "families": {"one": family}}
    assert next(OpenSpace.model_validate(described).members()).streaming
    with pytest.raises(ValueError, match="textbook networks must stream"):
        OpenSpace.model_validate({**described, "textbook": ["tc_resnet8"]})
