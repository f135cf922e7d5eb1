"""Layer, group and instance norms, and division by a vector's length."""

import math

import torch

from micronas.export.from_torch.layout import Value
from micronas.export.from_torch.operations import Arguments, affine, elementwise
from micronas.export.from_torch.operations.affine import once, with_constant
from micronas.export.from_torch.operations.elementwise import applied, combined
from micronas.export.from_torch.operations.reductions import dimensions, reduced
from micronas.export.from_torch.operations.rows import rowwise
from micronas.export.from_torch.tracer import Tracer


def layer_norm(tracer: Tracer, arguments: Arguments) -> Value:
    """Normalise each example over its last dimensions."""
    value = tracer.value(arguments["input"])
    rank = len(value.shape)
    dims = list(range(rank - len(arguments["normalized_shape"]), rank))
    return _affine(tracer, _normed(tracer, value, dims, arguments["eps"]), arguments, ())


def instance_norm(tracer: Tracer, arguments: Arguments) -> Value:
    """Normalise each channel of a map over its pixels."""
    if not arguments["use_input_stats"]:
        return affine.batch_norm(tracer, arguments)
    value = tracer.value(arguments["input"])
    spatial = (1,) * (len(value.shape) - 2)
    dims = list(range(2, len(value.shape)))
    return _affine(tracer, _normed(tracer, value, dims, arguments["eps"]), arguments, spatial)


def group_norm(tracer: Tracer, arguments: Arguments) -> Value:
    """Normalise groups of channels over their pixels."""
    value = tracer.value(arguments["input"])
    groups, shape = arguments["num_groups"], value.shape
    split = (shape[0], groups, shape[1] // groups, *shape[2:])
    wide = Value(value.tensor, value.positions.reshape(split))
    dims = list(range(2, len(split)))
    result = _normed(tracer, wide, dims, arguments["eps"])
    narrow = Value(result.tensor, result.positions.reshape(shape))
    return _affine(tracer, narrow, arguments, (1,) * (len(shape) - 2))


def _normed(tracer: Tracer, value: Value, dims: list[int], epsilon: float) -> Value:
    """Subtract the mean over `dims` and divide by the root of the variance and `epsilon`."""
    shape = tuple(1 if dim in dims else size for dim, size in enumerate(value.shape))
    value = once(tracer, value)
    mean = reduced(tracer, "MEAN", value, dims, shape)
    centred = combined(tracer, "SUB", value, mean, "centred")
    squares = combined(tracer, "MUL", centred, centred, "squares")
    variance = reduced(tracer, "MEAN", squares, dims, shape)
    kept = with_constant(tracer, "ADD", variance, torch.tensor(epsilon), "epsilon")
    inverse = applied(tracer, "RSQRT", kept, "inverse")
    return combined(tracer, "MUL", centred, inverse)


def _affine(tracer: Tracer, value: Value, arguments: Arguments, spatial: tuple[int, ...]) -> Value:
    weight, bias = arguments["weight"], arguments["bias"]
    factor = torch.ones(1) if weight is None else tracer.constant(weight)
    shift = torch.zeros(1) if bias is None else tracer.constant(bias)
    if weight is None and bias is None:
        return value
    wide = [part.reshape(*part.shape, *spatial) for part in (factor, shift)]
    return affine.scaled(tracer, value, *wide)


def length(tracer: Tracer, arguments: Arguments) -> Value | None:
    """Mark the length of vectors, for a division by L2_NORMALIZATION; or compute it."""
    dims = arguments["dim"]
    if arguments["ord"] != 2 or dims is None or len(dims) != 1 or not arguments["keepdim"]:
        return _measured(tracer, arguments)
    tracer.lengths[tracer.node] = arguments["self"], dims[0]
    tracer.deferred[tracer.node] = lambda: _measured(tracer, arguments)
    return None


def _measured(tracer: Tracer, arguments: Arguments) -> Value:
    """Compute lengths of order 1, 2 or infinity."""
    value, order = tracer.value(arguments["self"]), arguments["ord"]
    dims = dimensions(arguments["dim"], value.shape)
    if order not in (1, 2, math.inf):
        raise tracer.refusal(f"lengths must be of order 1, 2 or inf, but this is of {order}")
    if order == 2:
        squares = combined(tracer, "MUL", value, value, "squares")
        return elementwise.tabled(tracer, reduced(tracer, "SUM", squares, dims), "sqrt")
    sizes = applied(tracer, "ABS", value, "sizes")
    return reduced(tracer, "SUM" if order == 1 else "REDUCE_MAX", sizes, dims)


_MOST = 4
"""Most dimensions of TFLM's L2_NORMALIZATION."""


def divide(tracer: Tracer, arguments: Arguments) -> Value:
    """Divide by a constant, or vectors by their length."""
    if arguments["other"] not in tracer.lengths:
        return elementwise.divide(tracer, arguments)
    vectors, dim = tracer.lengths[arguments["other"]]
    value = tracer.value(vectors)
    if vectors is not arguments["self"] or value.shape != tracer.shape:
        return elementwise.divide(tracer, arguments)
    if value.positions.ndim <= _MOST:
        return rowwise(tracer, "L2_NORMALIZATION", value, dim)
    ends = value.positions.movedim(dim, -1)
    flat = tracer.arrange(value.tensor, ends, (1, ends[..., 0].numel(), ends.shape[-1]))
    places = torch.arange(ends.numel()).view(1, -1, ends.shape[-1])
    found = rowwise(tracer, "L2_NORMALIZATION", Value(flat, places), -1)
    return Value(found.tensor, found.positions.view(ends.shape).movedim(-1, dim))
