"""LSTMs in training: torch's nn.LSTM, and integer execution."""

from typing import cast

import pytest
import torch
from torch import nn

from micronas.evaluation.layers import compare, dequantized
from micronas.export.verify import verify
from micronas.graph.ir import Graph, Op, Tensor, table
from micronas.tflite.writer import flatbuffer_bytes, to_flatbuffer
from micronas.train.codes import quantize_inputs
from micronas.train.network import Network
from micronas.train.recurrent import RecurrentUnit
from testing.recurrent import lstm
from tests.train.imitation import calibrated, differences, random_batch

STEPS, DEPTH, UNITS = 20, 9, 16


def sequence(*, classes: int | None = None) -> Graph:
    """An LSTM, and a dense layer on its last output if there are classes."""
    tensors = {"x": Tensor("x", (1, STEPS, DEPTH))}
    ops = [lstm("x", "y", (DEPTH, UNITS), tensors)]
    tensors["y"] = Tensor("y", (1, STEPS, UNITS))
    if classes is None:
        return Graph(tensors, tuple(ops), ("x",), ("y",))
    for name, values in (("begin", [0, STEPS - 1, 0]), ("size", [1, 1, UNITS])):
        tensors[name] = table(name, values)
    tensors["last"] = Tensor("last", (1, 1, UNITS))
    ops.append(Op("SLICE", "last", ("y", "begin", "size"), ("last",)))
    tensors["w"] = Tensor("w", (classes, UNITS), constant=True)
    tensors["b"] = Tensor("b", (classes,), constant=True)
    tensors["z"] = Tensor("z", (1, classes))
    ops.append(Op("FULLY_CONNECTED", "z", ("last", "w", "b"), ("z",)))
    return Graph(tensors, tuple(ops), ("x",), ("z",))


def unit_of(network: nn.Module) -> RecurrentUnit:
    units = cast(nn.ModuleDict, network.units)
    return cast(RecurrentUnit, units["y"])


def torch_lstm(unit: RecurrentUnit) -> nn.LSTM:
    found = nn.LSTM(DEPTH, UNITS, batch_first=True)
    with torch.no_grad():
        found.weight_ih_l0.copy_(unit.weight)
        found.weight_hh_l0.copy_(unit.recurrent)
        found.bias_ih_l0.copy_(unit.bias)
        found.bias_hh_l0.zero_()
    return found


def network(seed: int, *, classes: int | None = None, times: float = 2.0) -> Network:
    found = Network(sequence(classes=classes), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(times)
    return found


def test_float_execution_is_that_of_torch() -> None:
    found = network(0)
    x = random_batch(sequence(), 8).requires_grad_()
    y = cast(torch.Tensor, found(x)).reshape(8, STEPS, UNITS)
    expected = torch_lstm(unit_of(found))(x)[0]
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    y.square().sum().backward()  # type: ignore[no-untyped-call]
    assert all((p.grad is not None and p.grad.abs().sum() > 0) for p in found.parameters())


@pytest.mark.parametrize("times", [0.5, 2.0, 6.0])
def test_rounding_is_within_a_step_of_integer_execution(times: float) -> None:
    """The largest weights drive what goes into the gates against its limits of 16 bits."""
    quantized = calibrated(network(1, times=times).graph())
    steps = differences(quantized, random_batch(sequence(), 32, seed=9), local=True)["y"]
    assert steps.max() <= (1 if times < 6 else 8)  # which long sequences amplify
    assert (steps > 0).mean() < (0.05 if times < 6 else 0.1)


def test_a_classifier_is_exact_on_tflm_and_near_float() -> None:
    found = network(2, classes=5)
    quantized = calibrated(found.graph())
    x = random_batch(sequence(), 64, seed=9)
    graph = quantized.graph()
    model = to_flatbuffer(graph)
    assert verify(model, quantize_inputs(graph, x)).mismatches == 0
    shapes = flatbuffer_bytes(sequence(classes=5))
    assert shapes == len(model)
    with torch.no_grad():
        exact, rounded = (cast(torch.Tensor, each(x)) for each in (found, quantized))
    noise = (exact - rounded).square().mean() / exact.square().mean()
    assert noise < 10**-2.5  # 25 dB
    restored = dequantized(graph)
    errors = compare(restored, graph, quantize_inputs(graph, x))
    assert [error.kind for error in errors] == [op.kind for op in graph.ops]
    assert errors[0].local.sqnr_db > 30


def test_rounding_is_trained_through() -> None:
    quantized = calibrated(network(3, classes=3).graph()).train()
    x, labels = random_batch(sequence(), 32), torch.arange(32) % 3
    optimizer = torch.optim.Adam(quantized.parameters(), 0.01)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(cast(torch.Tensor, quantized(x)), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    graph = quantized.eval().graph()
    assert verify(to_flatbuffer(graph), quantize_inputs(graph, x)).mismatches == 0
