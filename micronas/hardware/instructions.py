"""Instructions of a network on a Cortex-M4 with TFLM and CMSIS-NN, operator by operator.

The coefficients of ``latency_models/kernels/cmsis_nn.yaml`` are fitted to exact counts on a
simulated core (``benchmarks/fit_instructions.py``). Operators that were not measured are priced
high and said to be extrapolated. Instructions are not cycles: a board's latency model says what a
million of them takes there.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat

from micronas import resources
from micronas.graph.ir import Graph, Op, Tensor
from micronas.hardware import kernels
from micronas.hardware.kernels import Sweep, Width, Work, exactly
from micronas.settings import Settings, read_settings

ASSUMED: dict[str, dict[str, float]] = {
    # one exponential and three Newton steps an element; softmax's exponential takes 433
    "logistic": {"elements": 900.0, "calls": 1000.0},
    # three fixed-point products an element; ADD, which has three as well, takes 75
    "hard_swish": {"elements": 300.0, "calls": 1000.0},
    # rows are copied, but a join along the channels copies a few bytes at a time
    "concatenation": {"elements": 50.0, "calls": 1000.0},
    "relu": {"elements": 75.0, "calls": 1000.0},
    # the slowest reference kernel of 29 networks took 37 instructions a MAC
    "dilated": {"macs": 37.0, "calls": 5000.0},
}
"""Kernels nobody counted, priced from above."""
SOFTMAX = {"elements": 459.0, "calls": 246.0}
"""Depends on the data: 26 an element and 433 for each that is not negligible; here all are."""
_INT4_FACTOR = 2.5
"""No int4 kernel took more, compared with int8; for those that were not measured."""
_SCALED = ("QUANTIZE", "DEQUANTIZE")


class Kernel(Settings):
    """Instructions of one kernel for each thing it does, and how well that fits."""

    operators: int
    """How many measured ones it was fitted to."""
    mean_percent: float
    worst_percent: float
    """In sample, of single operators."""
    instructions: Annotated[dict[str, NonNegativeFloat], Field(min_length=1)]


class Kernels(Settings):
    """A library of kernels, as a YAML file describes it."""

    source: str
    kernels: dict[str, Kernel]


@dataclass(frozen=True)
class Price:
    """Instructions of one operator."""

    kernel: str
    instructions: float
    extrapolated: bool
    """No operator of this kind was counted: a guess from above."""


def instructions(work: Work) -> Any:
    """Return the instructions of work: a number, or a tensor of expectations."""
    coefficients = _coefficients(work.kernel)
    return sum(coefficients.get(term, 0.0) * amount for term, amount in work.terms.items())


def price(graph: Graph, op: Op) -> Price | None:
    """Return the instructions of an operator, or None if its kind is not known.

    Parameters
    ----------
    graph
        Shapes are enough.
    op
        One of its operators; QUANTIZE, DEQUANTIZE and dilated convolutions may be UNKNOWN.
    """
    work = _work(graph, op)
    if work is None:
        return None
    extrapolated = work.kernel in ASSUMED or work.kernel not in _measured()
    return Price(work.kernel, float(instructions(work)), extrapolated and work.kernel != "softmax")


@lru_cache
def _measured() -> dict[str, dict[str, float]]:
    path = resources.folder("latency_models") / "kernels" / "cmsis_nn.yaml"
    library = read_settings(path, Kernels)
    return {name: kernel.instructions for name, kernel in library.kernels.items()}


@lru_cache
def _coefficients(kernel: str) -> dict[str, float]:
    known = _measured() | ASSUMED | {"softmax": SOFTMAX}
    if kernel in known:
        return known[kernel]
    slower = known[kernel.removesuffix("_int4")]
    return {term: _INT4_FACTOR * cost for term, cost in slower.items()}


def _work(graph: Graph, op: Op) -> Work | None:
    if op.kind == "UNKNOWN":
        return _foreign(graph, op)
    source, out = graph.input_of(op), graph.output_of(op)
    match op.kind:
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            return _convolution(graph, op)
        case "FULLY_CONNECTED":
            weights = graph.constant_of(op)
            rows = out.elements // weights.shape[0]
            width, depth = (exactly(size) for size in weights.shape)
            return kernels.dense(rows, depth, width, bits=_bits(weights))
        case "AVERAGE_POOL_2D" | "MAX_POOL_2D":
            sweep = Sweep(_area(source), _area(out), op.window, op.stride, op.padding)
            return kernels.pool(sweep, _channels(out), maximum=op.kind == "MAX_POOL_2D")
        case "ADD":
            return kernels.elementwise("add", out.elements)
        case "MEAN":
            return kernels.elementwise("mean", source.elements, out.elements)
        case "PAD":
            return _pad(source, out)
        case "RELU" | "RELU6":
            return kernels.elementwise("relu", out.elements)
        case "CONCATENATION":
            return kernels.elementwise("concatenation", out.elements)
        case kind:
            return kernels.elementwise(kind.lower(), source.elements)


def _convolution(graph: Graph, op: Op) -> Work:
    source, out, weights = graph.input_of(op), graph.output_of(op), graph.constant_of(op)
    taps = weights.shape[1], weights.shape[2]
    sweep = Sweep(_area(source), _area(out), taps, op.stride, op.padding)
    depth, width, bits = _channels(source), _channels(out), _bits(weights)
    if op.kind == "CONV_2D":
        return kernels.convolution(sweep, depth, width, bits=bits)
    multiplier = out.shape[3] // source.shape[3]
    if multiplier == 1:
        return kernels.depthwise(sweep, width, bits=bits)
    return kernels.depthwise_multiplied(sweep, depth, width, multiplier, bits=bits)


def _foreign(graph: Graph, op: Op) -> Work | None:
    """Price what a graph cannot express but a file may hold."""
    tensors = [graph.tensors[name] for name in (*op.inputs, *op.outputs)]
    if op.name in _SCALED and len(tensors) == 2:
        from_float = op.name == "QUANTIZE" and tensors[0].dtype == "float32"
        kernel = "quantize_from_float" if from_float else op.name.lower()
        return kernels.elementwise(kernel, tensors[0].elements)
    if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D") and len(op.inputs) > 1 and op.outputs:
        weights, out = tensors[1], tensors[-1]
        if len(weights.shape) == 4 and all(out.shape):
            inner = weights.elements // out.shape[-1]
            return Work("dilated", {"macs": out.elements * inner, "calls": 1})
    return None


def _pad(source: Tensor, out: Tensor) -> Work:
    rows = source.shape[1] if len(source.shape) > 1 else 1
    positions = math.prod(source.shape[:-1])
    return kernels.pad(
        rows,
        positions,
        source.elements,
        out.elements - source.elements,
        channels=source.shape[:-1] == out.shape[:-1],
    )


def _bits(weights: Tensor) -> int:
    return 4 if weights.dtype == "int4" else 8


def _area(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[1], tensor.shape[2]


def _channels(tensor: Tensor) -> Width:
    return exactly(tensor.shape[3])
