"""Recurrent operators: gates of 16 bits, step by step."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from micronas.graph import fixed_point, recurrent
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.kernels.codes import Kernel, Values, data, scale, zero_point
from micronas.graph.kernels.rule import Rule
from micronas.graph.recurrent import Wide

_GATE_STEP = 2.0**-12
"""Step of the argument of a sigmoid or tanh, whose results have steps of 2**-15."""


def _lstm(graph: Graph, op: Op) -> Kernel:
    source, output, cell = graph.input_of(op), graph.output_of(op), graph.tensors[op.inputs[-1]]
    parts = [_gate(source, output, *gate) for gate in recurrent.gates(graph, op)]
    factor = recurrent.gate_factor(float(scale(cell)))
    kept = fixed_point.quantize_multiplier(2.0**-15 * scale(cell) / scale(cell))
    added = fixed_point.quantize_multiplier(2.0**-30 / scale(cell))
    written = fixed_point.quantize_multiplier(2.0**-30 / scale(output))
    limit = int(min(float(np.float32(op.clip)) / scale(cell), 32767.0))
    zero = zero_point(output)

    def step(x: Wide, hidden: Wide, cells: Wide) -> tuple[Wide, Wide]:
        sums = [gate(x, hidden) for gate in parts]
        entered, forgot, left = (recurrent.sigmoid(sums[place]) for place in (0, 1, 3))
        more = _product(entered, recurrent.tanh(sums[2]), added)
        cells = _int16(_product(forgot, cells, kept) + more)
        if op.clip > 0:
            cells = np.clip(cells, -limit, limit)
        curve = recurrent.tanh(cells, factor)
        codes = _rescaled(curve * left, written) + zero
        return np.clip(codes, -128, 127), cells

    def run(x: Values) -> Values:
        units = output.shape[2]
        hidden = np.full((len(x), units), zero, np.int64)
        cells = np.zeros((len(x), units), np.int64)
        steps = []
        for time in range(x.shape[2]):
            hidden, cells = step(x[:, 0, time].astype(np.int64), hidden, cells)
            steps.append(hidden)
        return np.stack(steps, axis=1).astype(np.int8)[:, None]

    return run


def _gate(
    source: Tensor, output: Tensor, weights: Tensor, before: Tensor, bias: Tensor
) -> Callable[[Wide, Wide], Wide]:
    """Return the function of a gate: products with input and last output, in steps of 2**-12."""
    factors = [
        fixed_point.quantize_multiplier(scale(tensor) * scale(table) / _GATE_STEP)
        for tensor, table in ((source, weights), (output, before))
    ]
    zeros = zero_point(source), zero_point(output)
    columns = [data(table).T.astype(np.float64) for table in (weights, before)]

    def gate(x: Wide, hidden: Wide) -> Wide:
        read = ((x - zeros[0]) @ columns[0]).astype(np.int64) + data(bias)
        kept = ((hidden - zeros[1]) @ columns[1]).astype(np.int64)
        return _int16(_int16(_rescaled(read, factors[0])) + _int16(_rescaled(kept, factors[1])))

    return gate


def _product(left: Wide, right: Wide, factor: tuple[npt.NDArray[np.int32], ...]) -> Wide:
    return _int16(_rescaled(left * right, factor))


def _rescaled(values: Wide, factor: tuple[npt.NDArray[np.int32], ...]) -> Wide:
    return fixed_point.rescale(values.astype(np.int32), *factor)


def _int16(values: Wide) -> Wide:
    return np.clip(values, -(2**15), 2**15 - 1)


RULES: Mapping[str, Rule] = {"UNIDIRECTIONAL_SEQUENCE_LSTM": Rule(recurrent.sequence_shape, _lstm)}
