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
    norms,
    recurrent,
    reductions,
    rows,
    weighted,
)
from micronas.export.from_torch.tracer import Part, Tracer

_aten = torch.ops.aten
_nearest = partial(maps.resized, "RESIZE_NEAREST_NEIGHBOR")
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
        (
            _aten.chunk.default,
            _aten.split.Tensor,
            _aten.split_with_sizes.default,
            _aten.unbind.int,
            _aten.tensor_split.sections,
        ),
        movement.divided,
    ),
}
"""Operations with several results."""

REMAINING: Mapping[Any, Callable[[Tracer, Arguments], Value]] = {
    _aten.masked_fill.Scalar: rows.masked_fill,
    _aten.masked_fill.Tensor: rows.masked_fill,
    _aten.where.self: rows.where,
    _aten.where.ScalarSelf: rows.where,
    _aten.where.ScalarOther: rows.where,
}
"""Operations that are lowered where no decomposition applies."""

OPERATIONS: Mapping[Any, Callable[[Tracer, Arguments], Value | None]] = {
    _aten.conv1d.default: weighted.convolution,
    _aten.conv1d.padding: weighted.convolution,
    _aten.conv2d.default: weighted.convolution,
    _aten.conv2d.padding: weighted.convolution,
    _aten.conv_transpose1d.default: weighted.transposed_convolution,
    _aten.conv_transpose2d.input: weighted.transposed_convolution,
    _aten.linear.default: weighted.linear,
    _aten.embedding.default: elementwise.embedding,
    _aten.batch_norm.default: affine.batch_norm,
    _aten._native_batch_norm_legit_no_training.default: affine.batch_norm,
    _aten.relu.default: partial(elementwise.clipped, "RELU"),
    _aten.relu6.default: partial(elementwise.clipped, "RELU6"),
    _aten.hardtanh.default: elementwise.clamp,
    _aten.clamp.default: elementwise.clamp,
    _aten.clamp_min.default: elementwise.clamp,
    _aten.clamp_max.default: elementwise.clamp,
    _aten.hardswish.default: partial(elementwise.unary, "HARD_SWISH"),
    _aten.sigmoid.default: partial(elementwise.unary, "LOGISTIC"),
    _aten.tanh.default: partial(elementwise.unary, "TANH"),
    _aten.abs.default: partial(elementwise.unary, "ABS"),
    _aten.rsqrt.default: partial(elementwise.unary, "RSQRT"),
    _aten.leaky_relu.default: elementwise.leaky_relu,
    _aten.prelu.default: elementwise.prelu,
    _aten.elu.default: elementwise.elu,
    _aten.silu.default: elementwise.silu,
    _aten.gelu.default: elementwise.gelu,
    _aten.hardsigmoid.default: elementwise.hardsigmoid,
    _aten.celu.default: partial(elementwise.looked_up, "celu", number="alpha"),
    _aten.softplus.default: elementwise.softplus,
    **{getattr(_aten, name).default: partial(elementwise.looked_up, name) for name in _LOOKED_UP},
    _aten.pow.Scalar: elementwise.exponential,
    **{
        getattr(_aten, name).Scalar: partial(elementwise.looked_up, name, number="other")
        for name in _COMPARED
    },
    **{getattr(_aten, name).Tensor: partial(elementwise.compared, name) for name in _COMPARED},
    _aten.add.Tensor: elementwise.add,
    _aten.add.Scalar: elementwise.add,
    _aten.sub.Tensor: elementwise.subtract,
    _aten.sub.Scalar: elementwise.subtract,
    _aten.rsub.Scalar: elementwise.reversed_subtract,
    _aten.rsub.Tensor: elementwise.reversed_subtract,
    _aten.mul.Tensor: elementwise.multiply,
    _aten.mul.Scalar: elementwise.multiply,
    _aten.bitwise_not.default: elementwise.inverted,
    _aten.bitwise_and.Tensor: elementwise.both,
    _aten.div.Tensor: norms.divide,
    _aten.div.Scalar: norms.divide,
    _aten.neg.default: elementwise.negate,
    _aten.pow.Tensor_Scalar: elementwise.power,
    _aten.square.default: elementwise.power,
    _aten.maximum.default: partial(elementwise.of_two, "MAXIMUM"),
    _aten.minimum.default: partial(elementwise.of_two, "MINIMUM"),
    _aten.pad.default: maps.pad,
    _aten.constant_pad_nd.default: maps.pad,
    _aten.avg_pool1d.default: maps.average_pool,
    _aten.avg_pool2d.default: maps.average_pool,
    _aten.max_pool1d.default: maps.max_pool,
    _aten.max_pool2d.default: maps.max_pool,
    _aten.max_pool2d_with_indices.default: maps.max_pool,
    _aten.adaptive_avg_pool1d.default: partial(maps.adaptive_pool, "AVERAGE_POOL_2D"),
    _aten.adaptive_avg_pool2d.default: partial(maps.adaptive_pool, "AVERAGE_POOL_2D"),
    _aten._adaptive_avg_pool2d.default: partial(maps.adaptive_pool, "AVERAGE_POOL_2D"),
    _aten.adaptive_max_pool1d.default: partial(maps.adaptive_pool, "MAX_POOL_2D"),
    _aten.adaptive_max_pool2d.default: partial(maps.adaptive_pool, "MAX_POOL_2D"),
    _aten.upsample_nearest1d.vec: partial(_nearest, half_pixel=False),
    _aten.upsample_nearest2d.vec: partial(_nearest, half_pixel=False),
    _aten._upsample_nearest_exact2d.vec: partial(_nearest, half_pixel=True),
    _aten.upsample_linear1d.vec: maps.bilinear,
    _aten.upsample_bilinear2d.vec: maps.bilinear,
    _aten.upsample_bicubic2d.vec: maps.resampled,
    _aten._upsample_bilinear2d_aa.vec: maps.resampled,
    _aten._upsample_bicubic2d_aa.vec: maps.resampled,
    _aten.mean.dim: partial(reductions.reduction, "MEAN"),
    _aten.sum.dim_IntList: partial(reductions.reduction, "SUM"),
    _aten.amax.default: partial(reductions.reduction, "REDUCE_MAX"),
    _aten.argmax.default: partial(reductions.place, 1.0),
    _aten.argmin.default: partial(reductions.place, -1.0),
    _aten.softmax.int: partial(rows.softmax, "SOFTMAX"),
    _aten._softmax.default: partial(rows.softmax, "SOFTMAX"),
    _aten.log_softmax.int: partial(rows.softmax, "LOG_SOFTMAX"),
    _aten._log_softmax.default: partial(rows.softmax, "LOG_SOFTMAX"),
    _aten.matmul.default: rows.matrix_product,
    _aten.bmm.default: rows.matrix_product,
    _aten.mm.default: rows.matrix_product,
    _aten.scaled_dot_product_attention.default: rows.attention,
    _aten.layer_norm.default: norms.layer_norm,
    _aten.group_norm.default: norms.group_norm,
    _aten.instance_norm.default: norms.instance_norm,
    _aten.linalg_vector_norm.default: norms.length,
    _aten.cat.default: movement.concatenation,
    _aten.stack.default: movement.stack,
    **dict.fromkeys(movement.MOVING, movement.moved),
    _aten.expand_as.default: movement.moved_like,
    **dict.fromkeys(
        (
            _aten.clone.default,
            _aten.alias.default,
            _aten.contiguous.default,
            _aten._to_copy.default,
            _aten.nan_to_num.default,
        ),
        movement.kept,
    ),
    _aten.dropout.default: movement.dropout,
}
"""Operations with one result, or whose first is used."""
