"""Lowerings of torch's operations."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from micronas.export.from_torch.layout import Value
from micronas.export.from_torch.operations import (
    Arguments,
    affine,
    elementwise,
    maps,
    movement,
    named,
    norms,
    recurrent,
    reductions,
    rows,
    weighted,
)
from micronas.export.from_torch.tracer import Part, Tracer

_aten = torch.ops.aten
_nearest = partial(maps.resized, "RESIZE_NEAREST_NEIGHBOR")
_Lowering = Callable[[Tracer, Arguments], Value | None]
_LOOKED_UP = (
    *("mish", "selu", "log_sigmoid", "exp", "log", "sqrt", "erf", "sin", "cos", "atan"),
    *("reciprocal", "sign", "floor", "ceil", "round", "trunc", "log1p", "expm1"),
)
"""Operations whose functions in `train.functions` have their names."""
_COMPARED = ("gt", "ge", "lt", "le", "eq", "ne")


SEVERAL: Mapping[Any, Callable[[Tracer, Arguments], Sequence[Part]]] = {
    _aten.lstm.input: recurrent.lstm,
    _aten.gru.input: recurrent.gru,
    _aten.max.dim: partial(reductions.extreme, 1.0),
    _aten.min.dim: partial(reductions.extreme, -1.0),
    _aten.rnn_tanh.input: partial(recurrent.rnn, "TANH"),
    _aten.rnn_relu.input: partial(recurrent.rnn, "RELU"),
    **dict.fromkeys(
        named("chunk split.Tensor split_with_sizes unbind.int tensor_split.sections"),
        movement.divided,
    ),
}
"""Operations with several results."""

REMAINING: Mapping[Any, Callable[[Tracer, Arguments], Value]] = {
    **dict.fromkeys(named("masked_fill.Scalar masked_fill.Tensor"), rows.masked_fill),
    **dict.fromkeys(named("where.self where.ScalarSelf where.ScalarOther"), rows.where),
}
"""Operations that are lowered where no decomposition applies."""

_LOWERINGS: Mapping[str, _Lowering] = {
    "conv1d conv1d.padding conv2d conv2d.padding": weighted.convolution,
    "conv_transpose1d conv_transpose2d.input": weighted.transposed_convolution,
    "linear": weighted.linear,
    "embedding": elementwise.embedding,
    "batch_norm _native_batch_norm_legit_no_training": affine.batch_norm,
    "relu": partial(elementwise.clipped, "RELU"),
    "relu6": partial(elementwise.clipped, "RELU6"),
    "hardtanh clamp clamp_min clamp_max": elementwise.clamp,
    "hardswish": partial(elementwise.unary, "HARD_SWISH"),
    "sigmoid": partial(elementwise.unary, "LOGISTIC"),
    "tanh": partial(elementwise.unary, "TANH"),
    "abs": partial(elementwise.unary, "ABS"),
    "rsqrt": partial(elementwise.unary, "RSQRT"),
    "leaky_relu": elementwise.leaky_relu,
    "prelu": elementwise.prelu,
    "elu": elementwise.elu,
    "silu": elementwise.silu,
    "gelu": elementwise.gelu,
    "hardsigmoid": elementwise.hardsigmoid,
    "celu": partial(elementwise.looked_up, "celu", number="alpha"),
    "softplus": elementwise.softplus,
    **{name: partial(elementwise.looked_up, name) for name in _LOOKED_UP},
    "pow.Scalar": elementwise.exponential,
    **{
        f"{name}.Scalar": partial(elementwise.looked_up, name, number="other") for name in _COMPARED
    },
    **{f"{name}.Tensor": partial(elementwise.compared, name) for name in _COMPARED},
    "add.Tensor add.Scalar": elementwise.add,
    "sub.Tensor sub.Scalar": elementwise.subtract,
    "rsub.Tensor rsub.Scalar": elementwise.reversed_subtract,
    "mul.Tensor mul.Scalar": elementwise.multiply,
    "bitwise_not": elementwise.inverted,
    "bitwise_and.Tensor": elementwise.both,
    "div.Tensor div.Scalar": norms.divide,
    "neg": elementwise.negate,
    "pow.Tensor_Scalar square": elementwise.power,
    "maximum": partial(elementwise.of_two, "MAXIMUM"),
    "minimum": partial(elementwise.of_two, "MINIMUM"),
    "pad constant_pad_nd": maps.pad,
    "avg_pool1d avg_pool2d": maps.average_pool,
    "max_pool1d max_pool2d max_pool2d_with_indices": maps.max_pool,
    "adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d": partial(
        maps.adaptive_pool, "AVERAGE_POOL_2D"
    ),
    "adaptive_max_pool1d adaptive_max_pool2d": partial(maps.adaptive_pool, "MAX_POOL_2D"),
    "upsample_nearest1d.vec upsample_nearest2d.vec": partial(_nearest, half_pixel=False),
    "_upsample_nearest_exact2d.vec": partial(_nearest, half_pixel=True),
    "upsample_linear1d.vec upsample_bilinear2d.vec": maps.bilinear,
    "upsample_bicubic2d.vec _upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa.vec": maps.resampled,
    "mean.dim": partial(reductions.reduction, "MEAN"),
    "sum.dim_IntList": partial(reductions.reduction, "SUM"),
    "amax": partial(reductions.reduction, "REDUCE_MAX"),
    "argmax": partial(reductions.place, 1.0),
    "argmin": partial(reductions.place, -1.0),
    "softmax.int _softmax": partial(rows.softmax, "SOFTMAX"),
    "log_softmax.int _log_softmax": partial(rows.softmax, "LOG_SOFTMAX"),
    "matmul bmm mm": rows.matrix_product,
    "scaled_dot_product_attention": rows.attention,
    "layer_norm": norms.layer_norm,
    "group_norm": norms.group_norm,
    "instance_norm": norms.instance_norm,
    "linalg_vector_norm": norms.length,
    "cat": movement.concatenation,
    "stack": movement.stack,
    "expand_as": movement.moved_like,
    "clone alias contiguous _to_copy nan_to_num": movement.kept,
    "dropout": movement.dropout,
}
"""Lowerings by the names of their operations."""

OPERATIONS: Mapping[Any, _Lowering] = {
    **{each: lowering for names, lowering in _LOWERINGS.items() for each in named(names)},
    **dict.fromkeys(movement.MOVING, movement.moved),
}
"""Operations with one result, or whose first is used."""
