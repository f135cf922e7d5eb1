"""Recurrent layers as TFLM's LSTM or step by step: equal in float, exact on TFLM."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from micronas import to_tflite
from micronas.export.from_torch.trace import trace
from tests.export.from_torch.cases import Case, Cases, check_exact, check_float, quantize


def both_ends(x: Tensor, layer: nn.Module) -> Tensor:
    """The last states of both directions of the last layer, as classifiers take them."""
    states = layer(x)[1]
    h = states[0] if isinstance(states, tuple) else states
    return torch.cat([h[-2], h[-1]], dim=1)


def streamed(x: Tensor, h: Tensor, c: Tensor, layer: nn.Module) -> Any:
    y, (h, c) = layer(x, (h.transpose(0, 1), c.transpose(0, 1)))
    return y[:, -1], h.transpose(0, 1), c.transpose(0, 1)


def gru(**settings: Any) -> nn.Module:
    return nn.GRU(6, 5, batch_first=True, **settings)


def lstm(**settings: Any) -> nn.Module:
    return nn.LSTM(6, 5, batch_first=True, **settings)


STEPS = (3, 6)
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[..., Any]]] = {
    "gru": (gru, lambda x, m: m(x)[0]),
    "last state": (gru, lambda x, m: m(x)[1][-1]),
    "states of a gru": (gru, lambda x, m: m(x)[1].squeeze(0)),
    "without biases": (lambda: gru(bias=False), lambda x, m: m(x)[0][:, -1]),
    "two layers both ways": (lambda: gru(num_layers=2, bidirectional=True), lambda x, m: m(x)[0]),
    "states of both ways": (
        lambda: gru(bidirectional=True),
        lambda x, m: m(x)[1].permute(1, 0, 2).reshape(len(x), -1),
    ),
    "time first": (lambda: nn.GRU(6, 5), lambda x, m: m(x.transpose(0, 1))[0].transpose(0, 1)),
    "plain": (lambda: nn.RNN(6, 5, 2, batch_first=True), lambda x, m: m(x)[0]),
    "plain with relu": (
        lambda: nn.RNN(6, 5, nonlinearity="relu", batch_first=True),
        lambda x, m: m(x)[1][0],
    ),
    "lstm both ways": (lambda: lstm(bidirectional=True), lambda x, m: m(x)[0]),
    "ends of two layers": (lambda: lstm(num_layers=2, bidirectional=True), both_ends),
    "last layer's state": (lambda: lstm(num_layers=2), lambda x, m: m(x)[1][0][-1]),
    "cells": (lstm, lambda x, m: m(x)[1][1][-1]),
    "projected": (lambda: lstm(proj_size=3), lambda x, m: m(x)[0]),
    "states in and out": (lstm, streamed),
}


STATES = "states in and out"
NAMES = [name for name in CASES if name != STATES]
GROUPS = [*(NAMES[place : place + 5] for place in range(0, len(NAMES), 5)), [STATES]]


@pytest.mark.long
@pytest.mark.parametrize("names", GROUPS, ids=" | ".join)
def test_equal_in_float_and_exact_on_tflm(names: list[str]) -> None:
    torch.manual_seed(0)
    module = Cases([Case(CASES[name][1], CASES[name][0]()) for name in names]).eval()
    shapes = (STEPS, (1, 5), (1, 5)) if names == [STATES] else (STEPS,)
    inputs = tuple(torch.randn(16, *shape) for shape in shapes)
    given = inputs if len(inputs) > 1 else inputs[0]
    one = tuple(part[:1] for part in inputs)
    with torch.no_grad():
        wanted = module(*one)
    graph = trace(module, one)
    check_float(graph, one, wanted, rtol=1e-4)
    check_exact(quantize(graph, [given]), given)  # as to_tflite does, which traces anew


@pytest.mark.long
def test_steps_read_their_weights_from_one_place() -> None:
    sizes = []
    for steps in (2, 6):
        x = torch.randn(8, steps, 6)
        module = Case(lambda x, m: m(x)[1][-1], nn.GRU(6, 64, batch_first=True)).eval()
        sizes.append(len(to_tflite(module, x[:1], calibration=x)))
    kept = 3 * 64 * 64
    assert sizes[1] - sizes[0] < 4 * kept / 2  # biases and operators, but no weights
