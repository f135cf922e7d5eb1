"""Constants as operands in a graph with choices: what meets one a channel keeps its channels."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from micronas.export.verify import verify
from micronas.graph.builder import Builder
from micronas.graph.ir import Op
from micronas.nas.convert.channels import find_channels
from micronas.nas.supernet.gates import Gates
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.space.choice_graph import ChoiceGraph
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly, random_inputs
from tests.nas.priced import counted, priced


def choices() -> ChoiceGraph:
    """Convolutions, scaled by a number, shifted by a number a channel, and gated."""
    builder = Builder((4, 4, 3))

    def joined(kind: Any, left: str, right: str, name: str) -> str:
        shape = np.broadcast_shapes(builder.shape(left), builder.shape(right))
        return builder.append(Op(kind, name, (left, right), (name,)), shape)

    first = builder.conv(builder.input, "first", 16)
    scaled = joined("MUL", builder.constant("factor", np.array([0.5], np.float32)), first, "scaled")
    second = builder.conv(scaled, "second", 16, (3, 3))
    shifts = builder.constant("shifts", np.linspace(-1, 1, 16, dtype=np.float32))
    shifted = joined("ADD", second, shifts, "shifted")
    third = builder.conv(shifted, "third", 16)
    norm = builder.append(Op("L2_NORMALIZATION", "norm", (third,), ("norm",)), (1, 4, 4, 16))
    fourth = builder.conv(norm, "fourth", 16)
    curve = builder.append(Op("TANH", "curve", (fourth,), ("curve",)), (1, 4, 4, 16))
    gate = joined("SUB", fourth, curve, "gated")
    graph = builder.finish(builder.dense(gate, "classifier", 5))
    strengths = {op.name: np.ones(graph.output_of(op).shape[-1]) for op in graph.ops}
    return find_channels(graph, strengths=strengths, orders={}, kept=(), shares=(0.5, 1), step=4)


class Sketch(Searchable):
    choices = choices()  # type: ignore[assignment]
    title = kind = "sketch"  # type: ignore[assignment]
    input_shape = (4, 4, 3)  # type: ignore[assignment]
    outputs = 5  # type: ignore[assignment]

    def architecture(self, choice: Choice) -> Any:
        raise NotImplementedError

    def drawing(self, choice: Choice) -> list[dict[str, Any]]:
        raise NotImplementedError


def test_channels_that_meet_a_number_each_or_a_norm_are_kept() -> None:
    assert [decision.name for decision in Sketch().decisions] == ["first", "fourth"]


@pytest.mark.parametrize("choice", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_both_passes_and_the_expected_counts_agree(choice: Choice) -> None:
    space, gates = Sketch(), Gates(Sketch().decisions)
    torch.manual_seed(0)
    network, x = SharedNetwork(space), torch.randn(3, 3, 4, 4)
    sample = gates.one_hot(choice)
    torch.testing.assert_close(network.masked(x, sample), network.sliced(x, choice))
    assert space.resolve(choice).tensors["shifts"].data is not None
    assert priced(space, sample) == pytest.approx(counted(space, choice))


def test_a_network_found_runs_on_the_device() -> None:
    choice = (0, random.Random(0).randrange(2))
    graph = quantize_randomly(Sketch().resolve(choice))
    assert verify(to_flatbuffer(graph), random_inputs(graph, 4)).mismatches == 0
