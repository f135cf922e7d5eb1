"""Positions of torch's elements in a stored tensor, and steps that bring them into another order.

A value of the recorded program is a stored tensor and, for each element in torch's order, its
position in the stored tensor. Permutations, reshapes and slices only move positions; a reader of
the value re-orders its weights, finds the elements already in its order, or has them moved on the
device by the steps found here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from micronas.arrays import Shape

_Order = npt.NDArray[np.int64]

_MOST_PICKED = 2
"""Most axes to pick from one after the other; one GATHER of blocks between two RESHAPEs costs less
than three GATHERs."""
_MOST_TURNED = 4
"""Most dimensions of CMSIS-NN's TRANSPOSE."""


@dataclass(frozen=True)
class Value:
    """A torch value: the stored tensor, and the positions of the value's elements in it."""

    tensor: str
    positions: Tensor
    """Positions, int64, in torch's shape."""

    @property
    def shape(self) -> Shape:
        return tuple(self.positions.shape)


@dataclass(frozen=True)
class Stack:
    """Values of one shape along a new first dimension, joined only where necessary."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Cut:
    """Take ``begin``, ``begin + step``, ... along each dimension of a tensor of ``shape``."""

    shape: Shape
    begin: Shape
    step: Shape
    size: Shape

    @property
    def is_whole(self) -> bool:
        return self.size == self.shape

    @property
    def most(self) -> int:
        """Most dimensions of TFLM's SLICE, or its STRIDED_SLICE."""
        return 5 if max(self.step) == 1 else 4


@dataclass(frozen=True)
class Turn:
    """Permute the dimensions of a tensor of ``shape``."""

    shape: Shape
    permutation: Shape

    @property
    def is_identity(self) -> bool:
        return self.permutation == tuple(range(len(self.permutation)))


@dataclass(frozen=True)
class Pick:
    """Gather ``indices`` along an axis of a tensor of ``shape``."""

    shape: Shape
    indices: _Order
    axis: int


Step = Cut | Turn | Pick


def nhwc(shape: Shape) -> Shape:
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def canonical(shape: Shape, channels: Tensor | None = None) -> Tensor:
    """Return the positions of a tensor of this (NHWC) shape in torch's order.

    With `channels`, torch's channels are at these places.
    """
    positions = _first(math.prod(shape)).reshape(shape)
    if len(shape) == 4:
        positions = positions.permute(0, 3, 1, 2)
    if channels is None or in_order(channels, positions.shape[1]):  # nothing is copied
        return positions
    return positions[:, channels]


def _first(count: int) -> Tensor:
    """Return positions from 0 on, which values share: positions never change in place."""
    return _numbers(count.bit_length())[:count]


def forget() -> None:
    """Free the positions that values share, once there are no values."""
    _numbers.cache_clear()


@lru_cache(maxsize=8)
def _numbers(bits: int) -> Tensor:
    return torch.arange(1 << bits)


def in_order(positions: Tensor, elements: int) -> bool:
    """Return whether positions are those of a stored tensor in order."""
    flat = positions.flatten()
    return flat.numel() == elements and torch.equal(flat, _first(elements))


def _held(positions: Tensor, elements: int) -> Tensor:
    """Return for each stored element whether it is among positions."""
    held = torch.zeros(elements, dtype=torch.bool)
    held[positions.flatten()] = True
    return held


def places(positions: Tensor, elements: int) -> Tensor:
    """Return positions in stored order, each once."""
    return _held(positions, elements).nonzero().flatten()


def covers(positions: Tensor, elements: int) -> bool:
    """Return whether every stored element is among positions."""
    return bool(_held(positions, elements).all())


def permutes(positions: Tensor, elements: int) -> bool:
    """Return whether every stored element is among positions once."""
    return positions.numel() == elements and covers(positions, elements)


def rows_of(positions: Tensor, elements: int) -> tuple[Tensor, Tensor] | None:
    """Find contiguous rows in the last dimension of `positions`; None if there are none.

    Return the number of each row, in the shape of the other dimensions, and the place in a row of
    each index of the last one.
    """
    size = positions.shape[-1]
    if positions.numel() != elements:
        return None
    rows = torch.div(positions[..., :1], size, rounding_mode="floor")
    order = positions.reshape(-1, size)[0] % size
    if not permutes(order, size) or not torch.equal(rows * size + order, positions):
        return None
    return (rows[..., 0], order) if permutes(rows, rows.numel()) else None


def reduced_axes(groups: Tensor) -> list[int] | None:
    """Return the axes of a stored tensor to reduce so that elements of each group are joined.

    None if the groups are not those of whole axes.
    """
    axes = [
        axis
        for axis, size in enumerate(groups.shape)
        if size > 1 and bool((groups == groups.narrow(axis, 0, 1)).all())
    ]
    for axis in axes:
        groups = groups.narrow(axis, 0, 1)
    return axes if len(np.unique(groups.numpy())) == groups.numel() else None


def rearrangement(order: _Order, stored: Shape) -> list[Step]:
    """Find the steps that bring stored elements into an order; any may be missing or repeated.

    They are steps on the stored axes, where possible; at most a cut and a turn of other axes, where
    the order is that of a slice with permuted dimensions; otherwise a pick, before a turn where all
    rows are in one order.
    """
    elements = math.prod(stored)
    if (steps := _of_axes(order, stored)) is not None:
        return steps
    dims = _digits(order)
    if dims is None or any(stride <= 0 for _, stride in dims):
        return _picked_and_turned(order, stored) or [_pick(order, elements)]
    if (whole := _turn_of_axes(dims, stored)) is not None:
        return [whole]
    cut, turn = _cut(dims, int(order[0]), elements), _turn(dims)
    if cut is None or len(cut.shape) > cut.most or len(turn.shape) > _MOST_TURNED:
        return [_pick(order, elements)]
    steps = [] if cut.is_whole else [cut]
    if turn.is_identity:
        return steps
    picked = _pick_of_rows(order, elements)
    return [*steps, turn] if picked is None or cut.is_whole else [picked]


def _of_axes(order: _Order, stored: Shape) -> list[Step] | None:
    """Return a cut of the stored axes, or picks along one or two of them; None if impossible."""
    axes: list[_Order] = []
    inner = 1
    for places in reversed(np.unravel_index(order, stored)):
        axes.insert(0, _period(places[::inner]))
        inner *= len(axes[0])
    if inner != len(order):
        return None
    if not np.array_equal(np.ravel_multi_index(np.ix_(*axes), stored).ravel(), order):
        return None
    paces = [int(axis[1] - axis[0]) if len(axis) > 1 else 1 for axis in axes]
    cut = Cut(stored, tuple(int(axis[0]) for axis in axes), tuple(paces), tuple(map(len, axes)))
    is_even = all((np.diff(axis) == pace).all() for axis, pace in zip(axes, paces, strict=True))
    if is_even and min(paces) > 0:
        return [cut] if len(stored) <= cut.most else None
    changed = [k for k, axis in enumerate(axes) if not np.array_equal(axis, np.arange(stored[k]))]
    if len(changed) > _MOST_PICKED:
        return None
    shapes = [stored]
    for k in changed:
        shapes.append((*shapes[-1][:k], len(axes[k]), *shapes[-1][k + 1 :]))
    return [Pick(shape, axes[k], k) for shape, k in zip(shapes, changed, strict=False)]


def _period(values: _Order) -> _Order:
    """Return the shortest beginning that is repeated throughout."""
    sizes = (size for size in _divisors(len(values)) if size < len(values))
    repeated = (size for size in sizes if np.array_equal(values[size:], values[:-size]))
    return values[: next(repeated, len(values))]


def _divisors(number: int) -> list[int]:
    low = [part for part in range(1, math.isqrt(number) + 1) if number % part == 0]
    return sorted({*low, *(number // part for part in low)})


def broadcast_shape(order: _Order) -> Shape | None:
    """Return dimensions so fine that `order` repeats along whole ones; None if there are none."""
    dims = _digits(order)
    return None if dims is None else (1, *(size for size, _ in dims))


def _digits(order: _Order) -> list[tuple[int, int]] | None:
    """Return sizes and strides, outermost first, of an order that is a strided view, or None."""
    dims: list[tuple[int, int]] = []
    rest = order
    while len(rest) > 1:
        stride = int(rest[1] - rest[0])
        differs = np.flatnonzero(np.diff(rest) != stride)
        size = int(differs[0]) + 1 if len(differs) else len(rest)
        if len(rest) % size:
            return None
        rows = rest.reshape(-1, size)
        if not np.array_equal(rows, rows[:, :1] + stride * np.arange(size)):
            return None
        dims.insert(0, (size, stride))
        rest = rows[:, 0]
    return dims


def _cut(dims: Sequence[tuple[int, int]], base: int, elements: int) -> Cut | None:
    """Return the slice, in stored order, of dimensions from `base` on."""
    axes, block = [(1, 0, 1, 1)], elements
    for count, stride in sorted(dims, key=lambda dim: -dim[1]):
        unit = math.gcd(block, stride)
        length, pace = block // unit, stride // unit
        start = base // unit % length
        if start + (count - 1) * pace >= length:
            return None
        axes.append((length, start, pace, count))
        block = unit
    if block > 1:
        axes.append((block, base % block, 1, 1))
    return Cut(*zip(*axes, strict=True))


def _turn_of_axes(dims: Sequence[tuple[int, int]], stored: Shape) -> Turn | None:
    """Return a permutation of the stored axes, if it suffices."""
    strides = [math.prod(stored[axis + 1 :]) for axis in range(len(stored))]
    order = [axis for axis, size in enumerate(stored) if size > 1]
    permutation = []
    for size, stride in dims:
        parts = [axis for axis in order if stride <= strides[axis] < size * stride]
        if math.prod(stored[axis] for axis in parts) != size:
            return None
        permutation += parts
    if sorted(permutation) != order or len(stored) > _MOST_TURNED:
        return None
    for axis, size in enumerate(stored):  # axes of 1 stay where they are
        if size == 1:
            permutation.insert(axis, axis)
    return Turn(stored, tuple(permutation))


def _turn(dims: Sequence[tuple[int, int]]) -> Turn:
    """Return the permutation from stored order, with neighbours that stay so merged."""
    ranked = sorted(range(len(dims)), key=lambda k: -dims[k][1])
    groups: list[list[int]] = []
    for axis in map(ranked.index, range(len(dims))):
        if groups and groups[-1][-1] + 1 == axis:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    stored = sorted(groups)
    shape = (1, *(math.prod(dims[ranked[axis]][0] for axis in group) for group in stored))
    return Turn(shape, (0, *(stored.index(group) + 1 for group in groups)))


def _picked_and_turned(order: _Order, stored: Shape) -> list[Step] | None:
    """Return a pick of the same places of each stored row, and a turn; None if impossible."""
    height = math.prod(stored[:-1])
    if len(order) % height:
        return None
    rows, places = np.divmod(order, stored[-1])
    ranked = np.argsort(rows, kind="stable")
    count = len(order) // height
    first = places[ranked[:count]]
    alike = np.array_equal(rows[ranked], np.repeat(np.arange(height), count))
    if not alike or (places[ranked].reshape(height, count) != first).any():
        return None
    picked = np.empty_like(order)
    picked[ranked] = np.arange(len(order))
    dims = _digits(picked)
    if dims is None or any(stride <= 0 for _, stride in dims):
        return None
    turn = _turn(dims)
    steps: list[Step] = [Pick(stored, first, len(stored) - 1), turn]
    return steps if len(turn.shape) <= _MOST_TURNED and not turn.is_identity else None


def _pick(order: _Order, elements: int) -> Pick:
    """Return a gather in equal rows, or of the longest blocks of elements that stay contiguous."""
    picked = _pick_of_rows(order, elements)
    if picked is not None:
        return picked
    most = math.gcd(len(order), elements)
    block = next(size for size in reversed(_divisors(most)) if _blocks(order, size))
    return Pick((1, elements // block, block), order[::block] // block, 1)


def _blocks(order: _Order, size: int) -> bool:
    """Return whether an order consists of blocks of a size."""
    rows = order.reshape(-1, size)
    is_whole = not (rows[:, 0] % size).any()
    return is_whole and bool((rows == rows[:, :1] + np.arange(size)).all())


def _pick_of_rows(order: _Order, elements: int) -> Pick | None:
    """Return a gather of the same places of each row, for the shortest rows, or None."""
    for size in range(2, elements // 2 + 1):
        count = elements // size
        if elements % size or len(order) % count:
            continue
        rows = order.reshape(count, -1)
        if np.array_equal(rows[1], rows[0] + size) and np.array_equal(
            rows, rows[0] + size * np.arange(count)[:, None]
        ):
            return Pick((1, count, size), rows[0], 2)
    return None
