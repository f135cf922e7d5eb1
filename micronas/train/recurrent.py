"""LSTMs in torch, with the weights of all gates joined."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from micronas.graph import ir, recurrent
from micronas.graph.ir import Graph, Op

GATES = len(recurrent.GATES)
"""Number of gates, whose order in torch is that of TFLite."""


def lstm(x: Tensor, weights: Tensor, recurrent_weights: Tensor, bias: Tensor) -> Tensor:
    """Return outputs [N, time, units] of all steps like torch's nn.LSTM, its two biases added.

    `x` is [N, time, features]; weights and bias are [4 units, features], [4 units, units] and [4
    units], gates in the order of `graph.recurrent.GATES`.
    """
    start = x.new_zeros(1, len(x), recurrent_weights.shape[1])
    parameters = [weights, recurrent_weights, bias, torch.zeros_like(bias)]
    return torch.lstm(x, [start, start], parameters, True, 1, 0.0, False, False, True)[0]


class RecurrentUnit(nn.Module):
    """Weights of one LSTM, with its gates joined as in torch."""

    def __init__(self, op: Op, graph: Graph, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.op = op
        (units, depth) = graph.tensors[op.learnt[0]].shape
        self.weight = nn.Parameter(torch.empty(GATES * units, depth))
        self.recurrent = nn.Parameter(torch.empty(GATES * units, units))
        self.bias = nn.Parameter(torch.empty(GATES * units))
        limit = 1 / math.sqrt(units)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -limit, limit, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return lstm(x, self.weight, self.recurrent, self.bias)

    def arrays(self) -> dict[str, ir.Array]:
        """Return weights and biases by the names of the graph's constants."""
        parts = (self.weight, self.recurrent, self.bias)
        chunks = [chunk for part in parts for chunk in part.detach().chunk(GATES)]
        return {
            name: chunk.numpy().copy() for name, chunk in zip(self.op.learnt, chunks, strict=True)
        }

    def take(self, arrays: list[ir.Array]) -> "RecurrentUnit":
        """Set weights and biases, given in the order of the operator's constants."""
        for parameter, place in ((self.weight, 0), (self.recurrent, 4), (self.bias, 8)):
            joined = np.concatenate(arrays[place : place + GATES])
            parameter.data = torch.tensor(joined, dtype=torch.float32)
        return self

    def extra_repr(self) -> str:
        units, depth = self.recurrent.shape[1], self.weight.shape[1]
        return f"{self.op.kind}, {depth} -> {units}"
