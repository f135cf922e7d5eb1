"""Which function lowers which operation of torch."""

from collections.abc import Callable, Mapping, Sequence
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
    rows,
    weighted,
)
from micronas.export.from_torch.tracer import Tracer

aten = torch.ops.aten

SEVERAL: Mapping[Any, Callable[[Tracer, Arguments], Sequence[Value]]] = {
    aten.lstm.input: recurrent.lstm,
    **dict.fromkeys(
        (
            aten.chunk.default,
            aten.split.Tensor,
            aten.split_with_sizes.default,
            aten.unbind.int,
            aten.tensor_split.sections,
        ),
        movement.divided,
    ),
}
"""Operations with several results."""

OPERATIONS: Mapping[Any, Callable[[Tracer, Arguments], Value | None]] = {
    aten.conv1d.default: weighted.convolution,
    aten.conv1d.padding: weighted.convolution,
    aten.conv2d.default: weighted.convolution,
    aten.conv2d.padding: weighted.convolution,
    aten.conv_transpose1d.default: weighted.transposed_convolution,
    aten.conv_transpose2d.input: weighted.transposed_convolution,
    aten.linear.default: weighted.linear,
    aten.batch_norm.default: affine.batch_norm,
    aten._native_batch_norm_legit_no_training.default: affine.batch_norm,
    aten.relu.default: elementwise.relu,
    aten.relu6.default: elementwise.relu6,
    aten.hardtanh.default: elementwise.clamp,
    aten.clamp.default: elementwise.clamp,
    aten.clamp_min.default: elementwise.clamp,
    aten.clamp_max.default: elementwise.clamp,
    aten.hardswish.default: elementwise.unary("HARD_SWISH"),
    aten.sigmoid.default: elementwise.unary("LOGISTIC"),
    aten.tanh.default: elementwise.unary("TANH"),
    aten.abs.default: elementwise.unary("ABS"),
    aten.rsqrt.default: elementwise.unary("RSQRT"),
    aten.leaky_relu.default: elementwise.leaky_relu,
    aten.prelu.default: elementwise.prelu,
    aten.elu.default: elementwise.elu,
    aten.silu.default: elementwise.silu,
    aten.gelu.default: elementwise.gelu,
    aten.mish.default: elementwise.looked_up("mish"),
    aten.hardsigmoid.default: elementwise.hardsigmoid,
    aten.selu.default: elementwise.looked_up("selu"),
    aten.celu.default: elementwise.looked_up("celu", "alpha"),
    aten.softplus.default: elementwise.looked_up("softplus", "beta"),
    aten.log_sigmoid.default: elementwise.looked_up("log_sigmoid"),
    aten.exp.default: elementwise.looked_up("exp"),
    aten.log.default: elementwise.looked_up("log"),
    aten.sqrt.default: elementwise.looked_up("sqrt"),
    aten.erf.default: elementwise.looked_up("erf"),
    aten.sin.default: elementwise.looked_up("sin"),
    aten.cos.default: elementwise.looked_up("cos"),
    **{
        getattr(aten, name).default: elementwise.looked_up(name)
        for name in ("reciprocal", "sign", "floor", "ceil", "round", "trunc", "log1p", "expm1")
    },
    aten.atan.default: elementwise.looked_up("atan"),
    aten.pow.Scalar: elementwise.exponential,
    **{
        getattr(aten, name).Scalar: elementwise.looked_up(name, "other")
        for name in ("gt", "ge", "lt", "le", "eq", "ne")
    },
    **{
        getattr(aten, name).Tensor: elementwise.compared(name)
        for name in ("gt", "ge", "lt", "le", "eq", "ne")
    },
    aten.add.Tensor: elementwise.add,
    aten.sub.Tensor: elementwise.subtract,
    aten.rsub.Scalar: elementwise.reversed_subtract,
    aten.mul.Tensor: elementwise.multiply,
    aten.div.Tensor: norms.divide,
    aten.neg.default: elementwise.negate,
    aten.pow.Tensor_Scalar: elementwise.power,
    aten.square.default: elementwise.power,
    aten.maximum.default: elementwise.greater,
    aten.minimum.default: elementwise.smaller,
    aten.pad.default: maps.pad,
    aten.constant_pad_nd.default: maps.pad,
    aten.avg_pool1d.default: maps.average_pool,
    aten.avg_pool2d.default: maps.average_pool,
    aten.max_pool1d.default: maps.max_pool,
    aten.max_pool2d.default: maps.max_pool,
    aten.max_pool2d_with_indices.default: maps.max_pool,
    aten.adaptive_avg_pool1d.default: maps.adaptive_average_pool,
    aten.adaptive_avg_pool2d.default: maps.adaptive_average_pool,
    aten._adaptive_avg_pool2d.default: maps.adaptive_average_pool,
    aten.adaptive_max_pool1d.default: maps.adaptive_max_pool,
    aten.adaptive_max_pool2d.default: maps.adaptive_max_pool,
    aten.upsample_nearest1d.vec: maps.nearest,
    aten.upsample_nearest2d.vec: maps.nearest,
    aten._upsample_nearest_exact2d.vec: maps.nearest_exact,
    aten.upsample_bilinear2d.vec: maps.bilinear,
    aten.mean.dim: maps.mean,
    aten.sum.dim_IntList: maps.total,
    aten.amax.default: maps.largest,
    aten.max.dim: maps.largest,
    aten.softmax.int: rows.softmax,
    aten._softmax.default: rows.softmax,
    aten.log_softmax.int: rows.log_softmax,
    aten._log_softmax.default: rows.log_softmax,
    aten.matmul.default: rows.matrix_product,
    aten.bmm.default: rows.matrix_product,
    aten.mm.default: rows.matrix_product,
    aten.scaled_dot_product_attention.default: rows.attention,
    aten.layer_norm.default: norms.layer_norm,
    aten.group_norm.default: norms.group_norm,
    aten.instance_norm.default: norms.instance_norm,
    aten.linalg_vector_norm.default: norms.length,
    aten.cat.default: movement.concatenation,
    aten.stack.default: movement.stack,
    **dict.fromkeys(
        (
            aten.view.default,
            aten._unsafe_view.default,
            aten.reshape.default,
            aten.flatten.using_ints,
            aten.unflatten.int,
            aten.permute.default,
            aten.transpose.int,
            aten.movedim.int,
            aten.t.default,
            aten.squeeze.default,
            aten.squeeze.dim,
            aten.squeeze.dims,
            aten.unsqueeze.default,
            aten.expand.default,
            aten.repeat.default,
            aten.slice.Tensor,
            aten.select.int,
            aten.narrow.default,
            aten.channel_shuffle.default,
            aten.pixel_shuffle.default,
            aten.pixel_unshuffle.default,
            aten.roll.default,
            aten.flip.default,
            aten.rot90.default,
            aten.unfold.default,
            aten.index_select.default,
            aten.index.Tensor,
            aten.repeat_interleave.self_int,
            aten.repeat_interleave.self_Tensor,
        ),
        movement.moved,
    ),
    aten.expand_as.default: movement.moved_like,
    **dict.fromkeys(
        (
            aten.clone.default,
            aten.alias.default,
            aten.contiguous.default,
            aten._to_copy.default,
            aten.nan_to_num.default,
        ),
        movement.kept,
    ),
    aten.dropout.default: movement.dropout,
}
"""Operations with one result, or of which the first is used."""
