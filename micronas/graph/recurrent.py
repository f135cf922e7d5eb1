"""UNIDIRECTIONAL_SEQUENCE_LSTM: its inputs, its rules, and sigmoid and tanh in 16 bits.

An operator reads x [1, time, features]; for the gates of GATES weights of the input
[units, features], weights of the last output [units, units] and biases [units]; then its states:
the last output, int8, and the cells, int16. A run on a device starts with states of zero: CMSIS-NN
starts each run so; TFLM keeps the states from run to run, and a program resets them.
"""

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import Graph, Op, Tensor

GATES = ("input", "forget", "cell", "output")
"""Gates in the order of TFLite's inputs and of torch's weights."""
_FILE_INPUTS = 24
_PLACES = (*range(9), *range(12, 16), 18, 19)
"""Places of the inputs in a file; the others are for peepholes, projections and norms."""

_LARGEST_PRODUCT, _LEAST_OUTPUT = 2.0**18, 2.0**-60
"""Limits of scales, beyond which a factor to steps of 2**-12, or of 2**-30, needs a shift of 30
bits or more."""

FINEST_CELL = 2.0**-12
"""Step of cells up to 8 in size, which tanh of 16 bits reads unchanged."""


def in_file(inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the 24 inputs of a file in its order, "" where there is none."""
    names = [""] * _FILE_INPUTS
    for place, name in zip(_PLACES, inputs, strict=True):
        names[place] = name
    return tuple(names)


def in_graph(places: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the 15 inputs of a graph from a file's; None unless exactly these are given."""
    places = places + (-1,) * (_FILE_INPUTS - len(places))
    used = tuple(place for place, index in enumerate(places) if index >= 0)
    return tuple(places[place] for place in _PLACES) if used == _PLACES else None


def sequence_shape(graph: Graph, op: Op) -> tuple[int, ...] | str:
    """Return the shape of the outputs of all steps, [1, time, units]."""
    source, *rest = (graph.tensors[name] for name in op.inputs)
    if len(source.shape) != 3 or source.shape[0] != 1:
        return f"{op.kind} must read [1, time, features]"
    units, depth = rest[0].shape[0], source.shape[2]
    wanted = [(units, depth)] * 4 + [(units, units)] * 4 + [(units,)] * 4 + [(1, units)] * 2
    if [tensor.shape for tensor in rest] != wanted:
        return f"{op.kind} must have weights of four gates, biases and states of its units"
    return (1, source.shape[1], units)


def broken(graph: Graph, op: Op) -> str | None:
    """Return the rule that weights, states or scales break, or None."""
    *learnt, hidden, cell = (graph.tensors[name] for name in op.inputs[1:])
    for tensor, dtype in zip(learnt, ["int8"] * 8 + ["int32"] * 4, strict=True):
        scale = tensor.quantization
        if tensor.dtype != dtype or tensor.data is None or scale is None or len(scale.scale) != 1:
            return f"{op.kind} must have int8 weights and int32 biases, of one scale each"
        if scale.zero_point != 0:
            return f"{op.kind} must have symmetric weights"
    output = graph.output_of(op).quantization
    if not (hidden.variable and cell.variable and hidden.dtype == "int8"):
        return f"{op.kind} must keep its states in variable tensors"
    if hidden.quantization != output:
        return f"{op.kind} must keep its output as it writes it"
    if cell.dtype != "int16" or cell.quantization is None or cell.quantization.zero_point != 0:
        return f"{op.kind} must keep symmetric cells of 16 bits"
    power = np.log2(np.float64(cell.quantization.scale[0]))
    if power != np.rint(power) or not -15 <= power <= 0:
        return f"{op.kind} must keep cells of a scale that is a power of two from 2**-15 to 1"
    read, written = (_scale(each) for each in (graph.input_of(op), graph.output_of(op)))
    products = [
        scale * _scale(table)
        for weights, before, _ in gates(graph, op)
        for scale, table in ((read, weights), (written, before))
    ]
    if max(products) >= _LARGEST_PRODUCT:
        return f"{op.kind} must have scales whose products with those of weights are below 2**18"
    if written <= _LEAST_OUTPUT:
        return f"{op.kind} must write a scale above 2**-60"
    return None


def _scale(tensor: Tensor) -> float:
    assert tensor.quantization is not None, "broken has checked types and scales"
    return float(tensor.quantization.scale[0])


def macs(graph: Graph, op: Op) -> int:
    _, steps, depth = graph.input_of(op).shape
    units = graph.output_of(op).shape[2]
    return steps * len(GATES) * units * (depth + units)


def gates(graph: Graph, op: Op) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return each gate's weights of the input, weights of the last output, and bias."""
    learnt = [graph.tensors[name] for name in op.learnt]
    return list(zip(learnt[:4], learnt[4:8], learnt[8:], strict=True))


def power_of(scale: float) -> int:
    return int(np.rint(np.log2(scale)))


# Sigmoid at k / 24 in Q0.16; TFLM's 16-bit kernels interpolate linearly.
SIGMOID = np.rint(65536 / (1 + np.exp(-np.arange(256) / 24))).astype(np.int64)
# TFLM's table is rounded up at these places.
SIGMOID[[4, 8, 12, *range(14, 18), *range(19, 23), 25, *range(27, 32), 33, 34, 35, 37, 39]] += 1
SIGMOID[[40, 41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112]] += 1
SIGMOID[[116, 135, 255]] += 1
Wide = npt.NDArray[np.int64]


def gate_factor(scale: float) -> tuple[int, int]:
    """Return multiplier and right shift from codes of a scale to steps of 2**-12 / 3."""
    multiplier, shift = scale * 3 * 2**12, 0
    while multiplier <= 32767 / 2 and shift <= 30:
        multiplier, shift = 2 * multiplier, shift + 1
    return int(multiplier), shift


def sigmoid(codes: Wide, factor: tuple[int, int] = (3, 0)) -> Wide:
    """Return the sigmoid in Q0.15 of codes with a `gate_factor`, by default that of Q3.12."""
    raised = _raised(codes, factor)
    size = np.abs(raised)
    place = np.minimum(size >> 9, 254)
    low, high = SIGMOID[place], SIGMOID[place + 1]
    curve = np.where(size >> 9 >= 255, 0x7FFF << 10, (low << 9) + (size & 0x1FF) * (high - low))
    curve = np.where(raised >= 0, curve + (1 << 9), (1 << 25) - curve + (1 << 9) - 1)
    return curve >> 10


def tanh(codes: Wide, factor: tuple[int, int] = (3, 0)) -> Wide:
    """Return tanh in Q0.15 of codes with a `gate_factor`, by default that of Q3.12."""
    raised = _raised(codes, factor)
    size = np.abs(raised)
    place = np.minimum(size >> 8, 254)
    low, high = SIGMOID[place], SIGMOID[place + 1]
    curve = np.where(size >> 8 >= 255, 0xFFFF << 8, (low << 8) + (size & 0xFF) * (high - low))
    half, bit = 1 << 23, 1 << 7
    return np.where(raised >= 0, curve - half + bit, -curve + half + bit - 1) >> 8


def _raised(codes: Wide, factor: tuple[int, int]) -> Wide:
    multiplier, shift = factor
    return (codes * multiplier + ((1 << shift) >> 1)) >> shift
