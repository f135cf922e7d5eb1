"""Random operators on elements and rows: of any rank, with constants and broadcasting."""

import math
from dataclasses import replace

import numpy as np

from micronas.graph import products
from micronas.graph.ir import LIMITS, Activation, Graph, Kind, Op, Quantization, Tensor
from micronas.graph.kernels import RULES
from micronas.graph.operators import OPERATORS

PAIRS: tuple[Kind, ...] = tuple(kind for kind, row in OPERATORS.items() if row.spreads)
"""Kinds of two operands that are spread over each other."""
RESCALING: tuple[Kind, ...] = ("HARD_SWISH", "RELU", "LEAKY_RELU", "ELU", "ABS", "QUANTIZE")
"""Kinds of one operand with an output scale near its own."""
SINGLE: tuple[Kind, ...] = (
    *RESCALING,
    *("LOGISTIC", "RELU6", "TANH", "RSQRT", "SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"),
)
"""Kinds of one operand that keep its shape."""
ACTIVATIONS: tuple[Activation, ...] = ("NONE", *LIMITS)

_FEW_RANKS: tuple[Kind, ...] = ("MAXIMUM", "MINIMUM", "L2_NORMALIZATION")


def alpha_of(kind: str, rng: np.random.Generator) -> float:
    return float(np.float32(rng.choice([0, 0.01, 0.3, 1.7]))) if kind == "LEAKY_RELU" else 0.0


def of_any_rank(kind: Kind, rng: np.random.Generator) -> tuple[int, ...]:
    """Draw a shape of two to as many dimensions as a kind takes, the first of them 1."""
    rank = int(rng.integers(2, 5 if kind in _FEW_RANKS else 7))
    return (1, *(int(size) for size in rng.integers(1, 6, rank - 1)))


def pair(kind: Kind, tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """An operator on the input and itself, or a constant that fits it, in either order."""
    activation = ACTIVATIONS[int(rng.integers(4))] if OPERATORS[kind].fuses else "NONE"
    graph = Graph(tensors, (), ("input",), ("output",))
    while True:
        shape = tensors["input"].shape
        other = tuple(size if rng.random() < 0.7 else 1 for size in shape)
        other = other[int(rng.integers(0, len(other))) :] if rng.random() < 0.3 else other
        if kind != "PRELU" and rng.random() < 0.3:
            other = tuple(size if size > 1 else int(rng.integers(1, 4)) for size in other)
            other = (1, *other[1:]) if len(other) == len(shape) else other
        values = rng.integers(-128, 128, other).astype(np.int8)
        tensors["other"] = Tensor("other", other, constant=True, data=values)
        inputs = ("input", str(rng.choice(["input", "other", "other"])))
        inputs = inputs[::-1] if kind != "PRELU" and rng.random() < 0.5 else inputs
        op = Op(kind, "output", inputs, ("output",), activation=activation)
        found = RULES[kind].shape(graph, op)
        if isinstance(found, tuple):
            if "other" not in inputs:
                del tensors["other"]
            tensors["output"] = Tensor("output", found)
            return op


def scale_of(op: Op, tensors: dict[str, Tensor], rng: np.random.Generator) -> float:
    """Draw an output scale with which an operator without weights neither dies nor clips."""
    steps = []
    for name in op.operands:
        quantization = tensors[name].quantization
        assert quantization is not None, name
        steps.append(float(quantization.scale[0]))
    match op.kind:
        case "ADD" | "SUB":
            return sum(steps) * rng.uniform(0.5, 1.0)
        case "MUL":
            return min(steps[0] * steps[1] * rng.uniform(30, 120), 1e3)  # chains of squares grow
        case "SQUARED_DIFFERENCE":
            return min(max(steps) ** 2 * rng.uniform(30, 300), 1e3)
        case "RSQRT":
            return math.sqrt(1 / steps[0]) * rng.uniform(0.005, 0.05)
        case "BATCH_MATMUL":
            depth = products.depth(Graph(tensors, (op,), (), ()), op)
            return min(steps[0] * steps[1] * rng.uniform(60, 180) * math.sqrt(depth), 1e3)
        case _:
            return steps[0] * rng.uniform(0.5, 1.5)


def quantized_constant(tensor: Tensor, rng: np.random.Generator) -> Tensor:
    """Give a constant operand random codes, scale and zero point."""
    scale = np.array([rng.uniform(0.01, 0.1)], np.float32)
    quantization = Quantization(scale, int(rng.integers(-128, 128)))
    data = rng.integers(-128, 128, tensor.shape).astype(np.int8)
    return replace(tensor, dtype="int8", quantization=quantization, data=data)


def looked_up(op: Op, tensors: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """Quantise what POSITIONS or a TABLE of random codes writes, and the table."""
    output = tensors[op.outputs[0]]
    if op.kind == "POSITIONS":
        source = tensors[op.inputs[0]].quantization
        assert source is not None
        moved = Quantization(source.scale, source.zero_point + 128)
        return {output.name: replace(output, quantization=moved)}
    table = quantized_constant(tensors[op.inputs[1]], rng)
    written = replace(output, dtype="int8", quantization=table.quantization)
    return {table.name: table, output.name: written}
