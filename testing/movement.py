"""Random operators that only move values, on tensors of any rank TFLM takes there."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import DataType, Graph, Kind, Op, Tensor
from micronas.graph.kernels import RULES

Shape = tuple[int, ...]
Tables = dict[str, npt.ArrayLike]
"""Constants that follow the operand, by name; int8 ones are operands too."""


def movement_op(kind: Kind, tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """Make an operator of one of MOVEMENT's kinds from "input" to "output", which it adds."""
    least, most = _RANKS[kind]
    rank = int(rng.integers(least, most + 1))
    shape = (1, *(int(size) for size in rng.integers(1, 8, rank - 1)))
    tensors["input"] = Tensor("input", shape)
    return move(kind, "input", "output", tensors, rng)


def move(
    kind: Kind, source: str, name: str, tensors: dict[str, Tensor], rng: np.random.Generator
) -> Op:
    """Make an operator that reads a tensor; add its tables and its output, named alike."""
    tables, options = MOVEMENT[kind](tensors[source].shape, rng)
    inputs = [source]
    for table, values in tables.items():
        inputs.append(f"{name}/{table}")
        data = np.asarray(values)
        dtype: DataType = "int8" if data.dtype == np.int8 else "int32"
        tensors[inputs[-1]] = Tensor(
            inputs[-1], data.shape, dtype, constant=True, data=data.astype(dtype)
        )
    op = Op(kind, name, tuple(inputs), (name,), **options)
    tensors[name] = tensors[source]
    found = RULES[kind].shape(Graph(tensors, (op,), (), ()), op)
    assert isinstance(found, tuple), found
    tensors[name] = Tensor(name, found)
    return op


def _transpose(shape: Shape, rng: np.random.Generator) -> tuple[Tables, dict[str, Any]]:
    order = rng.permutation(len(shape))
    if (order == np.arange(len(shape))).all():
        order = order[::-1]
    return {"order": order}, {}


def _slice(shape: Shape, rng: np.random.Generator) -> tuple[Tables, dict[str, Any]]:
    begins = [int(rng.integers(0, size)) for size in shape]
    sizes = [
        -1 if rng.random() < 0.3 else int(rng.integers(1, size - begin + 1))
        for size, begin in zip(shape, begins, strict=True)
    ]
    return {"begin": begins, "size": sizes}, {}


def _strided_slice(shape: Shape, rng: np.random.Generator) -> tuple[Tables, dict[str, Any]]:
    """Begins and ends counted from either side, beyond it at times, and any masks."""
    rows: list[tuple[int, int, int]] = []
    for size in shape:
        first, last = sorted(int(place) for place in rng.integers(0, size, 2))
        step = int(rng.integers(1, 4))
        if rng.random() < 0.3 and first > 0:
            rows.append((last - size, first - 1, -step))
        else:
            end = size + 3 if rng.random() < 0.2 else last + 1
            rows.append((first, end, step))
    begin, end, dropped = (int(bits) for bits in rng.integers(0, 2 ** len(shape), 3))
    dropped &= sum(1 << axis for axis, (_, _, step) in enumerate(rows) if step > 0)
    if dropped == 2 ** len(shape) - 1 or rng.random() < 0.5:
        dropped = 0
    names = ("begin", "end", "steps")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    return {**columns}, {"masks": (begin, end, dropped)}


def _gather(shape: Shape, rng: np.random.Generator) -> tuple[Tables, dict[str, Any]]:
    axis = int(rng.integers(0, len(shape)))
    count = [int(size) for size in rng.integers(1, 6, 1 if rng.random() < 0.8 else 2)]
    return {"places": rng.integers(0, shape[axis], count)}, {"axis": axis}


def _broadcast_to(shape: Shape, rng: np.random.Generator) -> tuple[Tables, dict[str, Any]]:
    target = [
        int(rng.integers(1, 5)) if size == 1 and axis > 0 else size
        for axis, size in enumerate(shape)
    ]
    return {"target": [1] * int(rng.integers(0, 6 - len(shape))) + target}, {}


def _pad(shape: Shape, rng: np.random.Generator) -> tuple[Tables, dict[str, Any]]:
    amounts = rng.integers(0, 3, (len(shape), 2))
    amounts[0] = 0
    return {"amounts": amounts}, {}


def _mirror_pad(shape: Shape, rng: np.random.Generator) -> tuple[Tables, dict[str, Any]]:
    symmetric = bool(rng.random() < 0.5)
    most = [min(3, size - (not symmetric)) for size in shape]
    amounts = np.array([(0, 0), *(rng.integers(0, size + 1, 2) for size in most[1:])])
    return {"amounts": amounts}, {"symmetric": symmetric}


def _pad_with(shape: Shape, rng: np.random.Generator) -> tuple[Tables, dict[str, Any]]:
    value = rng.integers(-128, 128, 1).astype(np.int8)
    return {"value": value, **_pad(shape, rng)[0]}, {}


MOVEMENT: Mapping[Kind, Callable[[Shape, np.random.Generator], tuple[Tables, dict[str, Any]]]] = {
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
    "BROADCAST_TO": _broadcast_to,
    "PAD": _pad,
    "PADV2": _pad_with,
    "MIRROR_PAD": _mirror_pad,
}
"""Given the operand's shape, the tables and options of an operator."""
_RANKS: Mapping[Kind, tuple[int, int]] = {
    "TRANSPOSE": (2, 4),
    "SLICE": (1, 5),
    "STRIDED_SLICE": (1, 4),
    "GATHER": (1, 5),
    "BROADCAST_TO": (1, 5),
    "PAD": (1, 4),
    "PADV2": (1, 4),
    "MIRROR_PAD": (1, 5),
}
