"""Decompose operators without a lowering into others, by torch's decompositions or by ours.

Torch's go down to primitives, branch on infinities or build indices where plain arithmetic
suffices; ours replace those that matter. An operator without either stays, and is refused by name.
"""

import math
import operator
from collections.abc import Callable, Container, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram, default_decompositions
from torch.fx import Node

from micronas.export.from_torch.operations import named

_aten = torch.ops.aten
_MOST_ROUNDS = 6
"""Most rounds: a decomposition may need others, such as an LSTM cell's linear layers."""
_MOST_FACTORS = 32
"""Most factors of a product that becomes single multiplications."""
_EXTREME = 1e3

_Dims = int | Sequence[int] | None


def decomposed(program: ExportedProgram, plain: Container[object]) -> ExportedProgram:
    """Decompose operators that depend on an input and are not `plain`.

    In-place operators become functional, too. An operator without a decomposition stays.
    """
    tried: set[Any] = set()
    for _ in range(_MOST_ROUNDS):
        unknown = {each.target for each in _computed(program) if each.target not in plain}
        if unknown <= tried and not any(_changes(node) for node in program.graph.nodes):
            return program
        known = {**default_decompositions(), **_OURS} if unknown - tried else {}
        table = {target: known[target] for target in unknown - tried if target in known}
        tried |= unknown
        program = program.run_decompositions(table)
    return program


def _computed(program: ExportedProgram) -> list[Node]:
    """Return the nodes that depend on an input."""
    inputs = {*program.graph_signature.user_inputs}
    found: dict[Node, None] = {}
    for node in program.graph.nodes:
        if node.name in inputs or any(source in found for source in node.all_input_nodes):
            found[node] = None
    return [node for node in found if node.op == "call_function"]


def _changes(node: Node) -> bool:
    """Return whether an operator changes its operand."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _listed(x: Tensor, dim: _Dims) -> list[int]:
    if dim is None or dim == []:
        return list(range(x.ndim))
    return [dim] if isinstance(dim, int) else list(dim)


def _var(
    x: Tensor, dim: _Dims = None, *, correction: float | None = 1, keepdim: bool = False
) -> Any:
    dims, of = _listed(x, dim), 1 if correction is None else correction
    count = math.prod(x.shape[each] for each in dims)
    centred = x - x.mean(dims, keepdim=True)
    return (centred * centred).mean(dims, keepdim=keepdim) * (count / max(count - of, 1e-9))


def _std(x: Tensor, dim: _Dims = None, **options: Any) -> Any:
    return _var(x, dim, **options).sqrt()


def _var_mean(x: Tensor, dim: _Dims = None, **options: Any) -> tuple[Tensor, Tensor]:
    mean = x.mean(_listed(x, dim), keepdim=options.get("keepdim", False))
    return _var(x, dim, **options), mean


def _unbiased(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a correction as one of whether the estimate is unbiased."""

    def of(x: Tensor, dim: _Dims, unbiased: bool = True, keepdim: bool = False) -> Any:
        return function(x, dim, correction=float(unbiased), keepdim=keepdim)

    return of


def _lerp(x: Tensor, end: Tensor, weight: Any) -> Any:
    return x + (end - x) * weight


def _prod(x: Tensor, dim: int, keepdim: bool = False, **_: object) -> Any:
    if x.shape[dim] > _MOST_FACTORS:
        return NotImplemented
    product = reduce(operator.mul, x.unbind(dim))
    return product.unsqueeze(dim) if keepdim else product


def _cumsum(x: Tensor, dim: int, **_: object) -> Any:
    sums = torch.ones(x.shape[dim], x.shape[dim]).triu()
    return torch.matmul(x.movedim(dim, -1), sums).movedim(-1, dim)


def _slice_scatter(
    x: Tensor,
    src: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    size = x.shape[dim]
    places = range(size)[start:end:step]
    if step == 1:
        parts = (
            x.narrow(dim, 0, places.start),
            src,
            x.narrow(dim, places.stop, size - places.stop),
        )
        return torch.cat([part for part in parts if part.shape[dim]], dim)
    own = torch.arange(size)
    distance = own - places.start
    is_given = (distance >= 0) & (own < places.stop) & (distance % step == 0)
    order = torch.where(is_given, size + distance // step, own)
    return torch.cat((x, src), dim).index_select(dim, order)


def _select_scatter(x: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    index %= x.shape[dim]
    return _slice_scatter(x, src.unsqueeze(dim), dim, index, index + 1)


def _copy(x: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    return src.expand_as(x).clone()


def _logsumexp(x: Tensor, dim: _Dims, keepdim: bool = False) -> Any:
    dims = _listed(x, dim)
    largest = x.amax(dims, keepdim=True)
    found = (x - largest).exp().sum(dims, keepdim=True).log() + largest
    return found if keepdim else found.squeeze(dims)


def _amin(x: Tensor, dim: _Dims = (), keepdim: bool = False) -> Tensor:
    return -(-x).amax(_listed(x, dim), keepdim=keepdim)


def _rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Any:
    dims = list(range(x.ndim - len(shape), x.ndim))
    small = torch.finfo(torch.float32).eps if eps is None else eps
    found = x * ((x * x).mean(dims, keepdim=True) + small).rsqrt()
    return found if weight is None else found * weight


def _addmm(x: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return torch.mm(left, right) * alpha + x * beta


def _clamp(x: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Any:
    x = x if min is None else torch.maximum(x, min)
    return x if max is None else torch.minimum(x, max)


def _is_extreme(value: object) -> bool:
    """Return whether a number stands for infinity: 256 codes up to it distinguish nothing else."""
    return isinstance(value, int | float) and not abs(value) < _EXTREME


def _numbered(mask: Tensor, x: Any, other: Any) -> Tensor:
    """Return a mask as 0 and 1, whole for whole operands, which may be indices."""
    kind = torch.result_type(x, other)
    return mask.to(torch.float32 if kind == torch.bool or kind.is_floating_point else kind)


def _where(mask: Tensor, x: Any, other: Any) -> Any:
    """Return a choice by arithmetic: a mask is 0 or 1 on the device."""
    if _is_extreme(x) or _is_extreme(other):
        return NotImplemented
    chosen = _numbered(mask, x, other)
    if isinstance(other, int | float) and other == 0:
        return chosen * x
    if isinstance(x, Tensor) and isinstance(other, Tensor):
        # one may be a constant so far below zero that the other would be lost in a difference
        return chosen * x.nan_to_num() + (1 - chosen) * other.nan_to_num()
    return chosen * (x - other) + other


def _masked_fill(x: Tensor, mask: Tensor, value: Any) -> Any:
    if _is_extreme(value):
        return NotImplemented
    chosen = _numbered(mask, x, x)
    value = value.nan_to_num() if isinstance(value, Tensor) else value
    return x * (1 - chosen) + chosen * value


def _truth(x: Tensor) -> Tensor:
    """Return whether a number is not zero."""
    return x if x.dtype == torch.bool else x != 0


def _cdist(x: Tensor, other: Tensor, p: float, mode: int | None = None) -> Any:
    differences = x.unsqueeze(-2) - other.unsqueeze(-3)
    if p == 1:
        return differences.abs().sum(-1)
    return (differences * differences).sum(-1).sqrt() if p == 2 else NotImplemented


def _pool_of_channels(
    x: Tensor, window: Sequence[int], stride: Sequence[int] = (), *others: Any
) -> Any:
    """Average over neighbouring channels by a product, for a local response norm."""
    plain = window[1:] == [1, 1] and set(stride) <= {1} and not any(others[0] if others else ())
    if not plain:
        return NotImplemented
    size, taps = x.shape[2], window[0]
    share = torch.ones(size, size - taps + 1)
    share = (share.tril() - share.tril(-taps)) / taps
    return torch.matmul(x.movedim(2, -1), share).movedim(-1, 2)


def _folded(
    x: Tensor,
    size: Sequence[int],
    window: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    """Add up windows by a transposed convolution with one tap per channel."""
    sides = list(zip(size, window, dilation, padding, stride, strict=True))
    counts = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in sides]
    more = [
        n - ((count - 1) * s - 2 * p + d * (k - 1) + 1)
        for count, (n, k, d, p, s) in zip(counts, sides, strict=True)
    ]
    taps = torch.eye(x.shape[-2]).view(x.shape[-2], -1, *window)
    maps = x.reshape(x.shape[0], x.shape[-2], *counts)
    return torch.nn.functional.conv_transpose2d(
        maps, taps, None, stride, padding, more, 1, dilation
    )


_OURS: Mapping[Any, Callable[..., Any]] = {
    _aten.var.correction: _var,
    _aten.var.dim: _unbiased(_var),
    _aten.std.correction: _std,
    _aten.std.dim: _unbiased(_std),
    _aten.var_mean.correction: _var_mean,
    _aten.var_mean.dim: _unbiased(_var_mean),
    _aten.lerp.Scalar: _lerp,
    _aten.lerp.Tensor: _lerp,
    _aten.prod.dim_int: _prod,
    _aten.cumsum.default: _cumsum,
    _aten.slice_scatter.default: _slice_scatter,
    _aten.select_scatter.default: _select_scatter,
    _aten.copy.default: _copy,
    _aten.logsumexp.default: _logsumexp,
    _aten.amin.default: _amin,
    _aten.rms_norm.default: _rms_norm,
    _aten.addmm.default: _addmm,
    _aten._cdist_forward.default: _cdist,
    _aten.avg_pool3d.default: _pool_of_channels,
    _aten.col2im.default: _folded,
    **dict.fromkeys(named("where.self where.ScalarSelf where.ScalarOther where.Scalar"), _where),
    **dict.fromkeys(named("masked_fill.Scalar masked_fill.Tensor"), _masked_fill),
    _aten.logical_not.default: lambda x: ~_truth(x),
    _aten.logical_and.default: lambda x, y: _truth(x) & _truth(y),
    _aten.clamp.Tensor: _clamp,
}
"""Decompositions that suit the device."""
