"""Operators along the last stored dimension: softmax, norms, products of matrices, attention."""

import math

import numpy as np
import torch
from torch import Tensor

from micronas.export.from_torch.layout import Value, in_order
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.operations.affine import scaled, with_constant
from micronas.export.from_torch.operations.elementwise import combined, hidden
from micronas.export.from_torch.operations.weighted import multiplied
from micronas.export.from_torch.tracer import Tracer, led
from micronas.graph.ir import Kind
from micronas.train.clamps import HIDES

_MOST = 4
"""Most dimensions of BATCH_MATMUL."""


def softmax(kind: Kind, tracer: Tracer, arguments: Arguments) -> Value:
    return rowwise(tracer, kind, tracer.value(arguments["self"]), arguments["dim"])


def rowwise(tracer: Tracer, kind: Kind, value: Value, dim: int, suffix: str = "") -> Value:
    """Append an operator on each row of the last stored dimension."""
    source, rows, order = tracer.ending(value, dim)
    shape = tracer.shape_of(source)
    result = tracer.plain(kind, (source,), shape, suffix)
    positions = (rows[..., None] * shape[-1] + order).movedim(-1, dim)
    return Value(result.tensor, positions)


def matrix_product(tracer: Tracer, arguments: Arguments) -> Value:
    """Multiply matrices; a vector is a row on the left, a column on the right."""
    left, right = arguments["self"], arguments.get("other", arguments.get("mat2"))
    first, second = (
        _matrix(tracer.constant(side) if tracer.is_constant(side) else tracer.value(side), dim)
        for side, dim in ((left, 0), (right, -1))
    )
    if isinstance(first, Value) and isinstance(second, Tensor) and _is_single(second):
        found = multiplied(tracer, first, second.reshape(second.shape[-2:]).t(), None)
    elif isinstance(second, Value) and isinstance(first, Tensor) and _is_single(first):
        turned = Value(second.tensor, second.positions.transpose(-1, -2))
        product = multiplied(tracer, turned, first.reshape(first.shape[-2:]), None)
        found = Value(product.tensor, product.positions.transpose(-1, -2))
    else:
        found = _product(tracer, first, second)
    return Value(found.tensor, found.positions.reshape(tracer.shape))


def _matrix(side: Value | Tensor, dim: int) -> Value | Tensor:
    """Return a vector as a matrix with one more dimension at `dim`."""
    if len(side.shape) > 1:
        return side
    if isinstance(side, Tensor):
        return side.unsqueeze(dim)
    return Value(side.tensor, side.positions.unsqueeze(dim))


def _is_single(matrices: Tensor) -> bool:
    return matrices.shape[:-2].numel() == 1


def _product(
    tracer: Tracer, left: Value | Tensor, right: Value | Tensor, suffix: str = ""
) -> Value:
    """Multiply matrices of the last two dimensions; others broadcast.

    The right one stays transposed where its columns are contiguous, the order of TFLM's kernel, as
    a constant always does.
    """
    outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    shape = (*outer, left.shape[-2], right.shape[-1])
    is_flat = len(led(shape)) > _MOST
    sources, adjoint = [], []
    for side in (left, right):
        positions = side.positions if isinstance(side, Value) else side
        if is_flat:
            matrix = positions.shape[-2:]
            positions = positions.expand(*outer, *matrix).reshape(math.prod(outer), *matrix)
        turned = positions.transpose(-1, -2)
        if isinstance(side, Value):
            elements = tracer.elements_of(side.tensor)
            has_rows = side is right and bool((turned.diff() == 1).all())
            is_turned = in_order(turned, elements) or has_rows
            is_turned &= not in_order(positions, elements)
            chosen = turned if is_turned else positions
            sources.append(tracer.arrange(side.tensor, chosen, led(tuple(chosen.shape))))
        else:
            is_turned = side is right
            chosen = (turned if is_turned else positions).contiguous()
            name = tracer.unused(f"{tracer.name(suffix)}/constant")
            stored = led(tuple(chosen.shape))
            sources.append(tracer.filled(name, chosen.reshape(stored).float().numpy()))
        adjoint.append(is_turned)
    stored = led((math.prod(outer), *shape[-2:]) if is_flat else shape)
    result = tracer.plain(
        "BATCH_MATMUL", tuple(sources), stored, suffix, transposed=(adjoint[0], adjoint[1])
    )
    return Value(result.tensor, torch.arange(math.prod(shape)).reshape(shape))


def _with_mask(tracer: Tracer, value: Value, mask: torch.Tensor) -> Value:
    """Add a constant to scores; where it is minus infinity, or nearly, hide them."""
    low = mask <= HIDES
    finite = torch.where(low, 0.0, mask)
    if not bool((finite.abs() < -HIDES).all()):
        raise tracer.refusal(
            "a mask added to scores must be within 1,000 of zero, or hide them, but reaches "
            f"{finite.abs().max():g}",
            "add less",
        )
    if bool((finite != 0).any()):
        value = with_constant(tracer, "ADD", value, finite, "mask")
    return hidden(tracer, value, low, "hidden") if bool(low.any()) else value


def masked_fill(tracer: Tracer, arguments: Arguments) -> Value:
    """Fill with minus infinity, or nearly, where a constant mask is true."""
    return _filled(tracer, arguments["self"], arguments["mask"], arguments["value"], True)


def where(tracer: Tracer, arguments: Arguments) -> Value:
    """Choose between a value and minus infinity, or nearly."""
    value, other = arguments["self"], arguments["other"]
    if _hides(tracer, value):
        return _filled(tracer, other, arguments["condition"], value, True)
    return _filled(tracer, value, arguments["condition"], other, False)


def _hides(tracer: Tracer, filler: object) -> bool:
    return tracer.is_constant(filler) and bool((tracer.constant(filler) <= HIDES).all())


def _filled(tracer: Tracer, node: object, mask: object, filler: object, when: bool) -> Value:
    if tracer.is_constant(node) or not tracer.is_constant(mask) or not _hides(tracer, filler):
        raise tracer.refusal(
            "chosen values must be within 1,000 of zero, or far below it under a constant mask, "
            "but are not"
        )
    value, chosen = tracer.value(node), tracer.constant(mask).bool() == when
    return hidden(tracer, Value(value.tensor, value.positions.expand(tracer.shape)), chosen)


def attention(tracer: Tracer, arguments: Arguments) -> Value:
    """Compute softmax(q k^T / sqrt(d) + mask) v."""
    if arguments["dropout_p"]:
        raise tracer.refusal(
            "attention must drop nothing in eval mode, but this drops",
            "pass dropout_p=0.0 unless self.training",
        )
    query, key, value = (tracer.value(arguments[name]) for name in ("query", "key", "value"))
    if arguments.get("enable_gqa") and key.shape != query.shape:
        times = query.shape[-3] // key.shape[-3]
        key, value = (
            Value(each.tensor, each.positions.repeat_interleave(times, -3)) for each in (key, value)
        )
    scale = query.shape[-1] ** -0.5 if arguments["scale"] is None else arguments["scale"]
    turned = Value(key.tensor, key.positions.transpose(-1, -2))
    scores = _product(tracer, query, turned, "scores")
    scores = scaled(tracer, scores, torch.tensor(scale))
    mask = arguments["attn_mask"]
    if arguments["is_causal"]:
        later = torch.ones(query.shape[-2], key.shape[-2]).triu(1).bool()
        scores = hidden(tracer, scores, later, "hidden")
    elif mask is not None and tracer.is_constant(mask):
        given = tracer.constant(mask)
        if given.dtype == torch.bool:
            given = torch.where(given, 0.0, 2 * HIDES)
        scores = _with_mask(tracer, scores, given)
    elif mask is not None:
        if mask.meta["val"].dtype == torch.bool:
            raise tracer.refusal(
                "a computed mask must be numbers to add to scores, but says which to hide",
                "pass torch.where(mask, 0.0, -16.0)",
            )
        scores = combined(tracer, "ADD", scores, tracer.value(mask), "mask")
    weights = rowwise(tracer, "SOFTMAX", scores, -1, "softmax")
    return _product(tracer, weights, value, "mix")
