"""Operators over the last stored dimension: softmax, norms, products of matrices, attention."""

import math

import torch

from micronas.export.from_torch.layout import Value, in_order
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.operations.affine import scaled, with_constant
from micronas.export.from_torch.operations.weighted import multiplied
from micronas.export.from_torch.tracer import Tracer, led
from micronas.graph.ir import Kind

_EXTREME = 1e3
"""Masks beyond it leave no codes to tell scores apart."""
_MOST = 4
"""Dimensions of BATCH_MATMUL."""


def softmax(tracer: Tracer, arguments: Arguments) -> Value:
    return rowwise(tracer, "SOFTMAX", tracer.value(arguments["self"]), arguments["dim"])


def log_softmax(tracer: Tracer, arguments: Arguments) -> Value:
    return rowwise(tracer, "LOG_SOFTMAX", tracer.value(arguments["self"]), arguments["dim"])


def rowwise(tracer: Tracer, kind: Kind, value: Value, dim: int, suffix: str = "") -> Value:
    """Append an operator that treats each row of the last stored dimension by itself."""
    source, rows, order = tracer.ending(value, dim)
    shape = tracer.shape_of(source)
    result = tracer.plain(kind, (source,), shape, suffix)
    positions = (rows[..., None] * shape[-1] + order).movedim(-1, dim)
    return Value(result.tensor, positions)


def matrix_product(tracer: Tracer, arguments: Arguments) -> Value:
    left, right = arguments["self"], arguments.get("other", arguments.get("mat2"))
    for side, other in ((right, left), (left, right)):
        if tracer.is_constant(side) and tracer.constant(side).shape[:-2].numel() == 1:
            matrix, value = tracer.constant(side), tracer.value(other)
            matrix = matrix.reshape(matrix.shape[-2:])
            if side is right:
                return multiplied(tracer, value, matrix.t(), None)
            turned = Value(value.tensor, value.positions.transpose(-1, -2))
            found = multiplied(tracer, turned, matrix, None)
            return Value(found.tensor, found.positions.transpose(-1, -2))
    return _product(tracer, tracer.value(left), tracer.value(right))


def _product(tracer: Tracer, left: Value, right: Value, suffix: str = "") -> Value:
    """Multiply matrices, the last two dimensions; others must be equal."""
    if left.shape[:-2] != right.shape[:-2]:
        raise tracer.refusal(
            f"matrices must have equal leading dimensions, but are {list(left.shape)} and "
            f"{list(right.shape)}",
            "expand one of them",
        )
    shape = (*left.shape[:-1], right.shape[-1])
    leading = shape[:-2] if len(led(shape)) <= _MOST else (math.prod(shape[:-2]),)
    sources, adjoint = [], []
    for side in (left, right):
        turned = side.positions.transpose(-1, -2)
        elements = tracer.elements_of(side.tensor)
        is_turned = in_order(turned, elements) and not in_order(side.positions, elements)
        positions = turned if is_turned else side.positions
        stored = led((*leading, *positions.shape[-2:]))
        sources.append(tracer.arrange(side.tensor, positions, stored))
        adjoint.append(is_turned)
    stored = led((*leading, *shape[-2:]))
    result = tracer.plain(
        "BATCH_MATMUL", tuple(sources), stored, suffix, transposed=(adjoint[0], adjoint[1])
    )
    return Value(result.tensor, torch.arange(math.prod(shape)).reshape(shape))


def _mask(tracer: Tracer, arguments: Arguments) -> torch.Tensor | None:
    """Constant that is added to scores."""
    mask = arguments["attn_mask"]
    if mask is None and not arguments["is_causal"]:
        return None
    if not tracer.is_constant(mask) or not bool((tracer.constant(mask).abs() < _EXTREME).all()):
        raise tracer.refusal(
            "an attention's mask must be a constant that is added, within 1,000 of zero, but this "
            "is another",
            "pass a float mask; -16 hides as -inf does",
        )
    return tracer.constant(mask)


def attention(tracer: Tracer, arguments: Arguments) -> Value:
    """softmax(q k^T / sqrt(d) + mask) v, the scale on the queries."""
    mask = _mask(tracer, arguments)
    query, key, value = (tracer.value(arguments[name]) for name in ("query", "key", "value"))
    scale = arguments["scale"] or query.shape[-1] ** -0.5
    turned = Value(key.tensor, key.positions.transpose(-1, -2))
    scores = _product(tracer, query, turned, "scores")
    scores = scaled(tracer, scores, torch.tensor(scale), torch.tensor(0.0))
    if mask is not None:
        scores = with_constant(tracer, "ADD", scores, mask, "mask")
    weights = rowwise(tracer, "SOFTMAX", scores, -1, "softmax")
    return _product(tracer, weights, value, "mix")
