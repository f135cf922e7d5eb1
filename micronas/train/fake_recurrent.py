"""LSTMs with int8 arithmetic imitated in float32."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from micronas.graph import ir, recurrent
from micronas.graph.ir import Graph, Op, Quantization
from micronas.train.fake_quantize import LARGEST_BIAS, Range
from micronas.train.recurrent import GATES, RecurrentUnit

_LARGEST = 127
_GATE_LIMIT = 8 - 2.0**-12
"""Largest argument of a gate's sigmoid or tanh, 16 bits in steps of 2**-12."""


class QuantizedRecurrentUnit(RecurrentUnit):
    """LSTM with int8 weights, inputs and outputs; the largest cell observed sets their step."""

    largest_cell: Tensor

    def __init__(self, op: Op, graph: Graph, arrays: list[ir.Array]) -> None:
        super().__init__(op, graph)
        self.take(arrays)
        self.register_buffer("largest_cell", torch.tensor(0.0))

    def forward(self, x: Tensor, source: Range, output: Range) -> Tensor:  # type: ignore[override]
        scales = self._scales(source)
        weights, before = (
            torch.fake_quantize_per_channel_affine(
                part.reshape(GATES, -1),
                scale,
                torch.zeros(GATES, dtype=torch.int32, device=scale.device),
                0,
                -_LARGEST,
                _LARGEST,
            ).reshape(part.shape)
            for part, scale in zip((self.weight, self.recurrent), scales, strict=True)
        )
        limit = self.cell_step() * 32767
        read = (x @ weights.T + self.bias).clamp(-_GATE_LIMIT, _GATE_LIMIT)
        hidden = x.new_zeros(len(x), before.shape[1])
        cells, steps = torch.zeros_like(hidden), []
        for at in read.unbind(1):
            sums = at + (hidden @ before.T).clamp(-_GATE_LIMIT, _GATE_LIMIT)
            cells = self._cells(sums.clamp(-_GATE_LIMIT, _GATE_LIMIT), cells).clamp(-limit, limit)
            left = sums.chunk(GATES, 1)[3].clamp(-_GATE_LIMIT, _GATE_LIMIT).sigmoid()
            hidden = output(left * cells.tanh())
            steps.append(hidden)
        return torch.stack(steps, 1)

    def exact(self, x: Tensor) -> Tensor:
        """Return the output without rounding; record the largest cell."""
        read = x @ self.weight.T + self.bias
        hidden = x.new_zeros(len(x), self.recurrent.shape[1])
        cells, steps = torch.zeros_like(hidden), []
        for at in read.unbind(1):
            sums = at + hidden @ self.recurrent.T
            cells = self._cells(sums, cells)
            hidden = sums.chunk(GATES, 1)[3].sigmoid() * cells.tanh()
            steps.append(hidden)
            self.largest_cell.copy_(self.largest_cell.maximum(cells.detach().abs().max()))
        return torch.stack(steps, 1)

    def cell_step(self) -> float:
        """Return the step of cells, a power of two with which the largest fits in 16 bits."""
        power = math.ceil(math.log2(max(self.largest_cell.item(), 1.0) / 32767))
        return float(2.0 ** min(max(power, math.log2(recurrent.FINEST_CELL)), 0))

    def constants(self, graph: Graph, source: Range, output: Range) -> dict[str, ir.Tensor]:
        """Return integer weights, biases and states, with their scales."""
        scales = [scale.numpy() for scale in self._scales(source)]
        steps = np.concatenate([*scales, source.quantization().scale * scales[0]])
        found = {}
        for (name, array), step in zip(self.arrays().items(), steps, strict=True):
            bias = name in self.op.biases
            codes = np.rint(array.astype(np.float64) / step)
            codes = codes if bias else np.clip(codes, -_LARGEST, _LARGEST)
            found[name] = replace(
                graph.tensors[name],
                dtype="int32" if bias else "int8",
                quantization=Quantization(np.array([step], np.float32)),
                data=codes.astype(np.int32 if bias else np.int8),
            )
        hidden, cells = (graph.tensors[name] for name in self.op.inputs[-2:])
        found[hidden.name] = replace(hidden, dtype="int8", quantization=output.quantization())
        cell_scale = Quantization(np.array([self.cell_step()], np.float32))
        found[cells.name] = replace(cells, dtype="int16", quantization=cell_scale)
        return found

    def _cells(self, sums: Tensor, cells: Tensor) -> Tensor:
        entered, forgot, more, _ = sums.chunk(GATES, 1)
        return forgot.sigmoid() * cells + entered.sigmoid() * more.tanh()

    def _scales(self, source: Range) -> tuple[Tensor, Tensor]:
        """Return the steps of each gate's weights, [4]: of the input, and of the last output."""
        largest = [
            part.detach().abs().reshape(GATES, -1).amax(1).clamp(min=2.0**-40)
            for part in (self.weight, self.recurrent, self.bias)
        ]
        floor = largest[2] / (source.scale * LARGEST_BIAS)
        return (largest[0] / _LARGEST).maximum(floor), largest[1] / _LARGEST
