"""Random operators of the sizes that networks for microcontrollers have, one a network.

Those of `testing.graphs.random_op_graph` cover every corner and are tiny: what they take
is hardly more than what any call takes.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from micronas.graph.counts import count
from micronas.graph.ir import Graph, Kind, Op, Tensor
from micronas.graph.kernels import RULES
from micronas.graph.operators import OPERATORS, each_kind
from testing import elements
from testing.builder import Builder
from testing.graphs import quantize_randomly
from testing.map_operators import MAPS, map_op
from testing.movement import MOVEMENT, move
from testing.recurrent import lstm

_LEAST_ELEMENTS, _MOST_ELEMENTS = 100, 20_000
"""Of all activations: from hundreds to hundreds of thousands of instructions."""
_MOST_MACS = 400_000
_WINDOWS = ((3, 3), (3, 3), (5, 5), (2, 2), (3, 1), (9, 1), (10, 4), (1, 7))
_STRIDES = ((2, 2), (2, 2), (2, 1), (1, 2))


class _Draft:
    """The tensors of an operator that is being drawn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tensors: dict[str, Tensor] = {}

    def given(self, shape: tuple[int, ...], name: str = "input") -> str:
        """Add an activation that the operator reads."""
        self.tensors[name] = Tensor(name, shape)
        return name

    def written(self, shape: tuple[int, ...]) -> None:
        """Add the output, where the operator's other inputs do not say its shape."""
        self.tensors["output"] = Tensor("output", shape)

    def constant(self, name: str, shape: tuple[int, ...]) -> str:
        self.tensors[name] = Tensor(name, shape, constant=True)
        return name

    def operand(self, name: str, shape: tuple[int, ...]) -> str:
        """Add a constant that the operator computes with as with an activation."""
        data = self.rng.integers(-128, 128, shape).astype(np.int8)
        self.tensors[name] = Tensor(name, shape, constant=True, data=data)
        return name

    def table(self, name: str, values: npt.ArrayLike) -> str:
        data = np.asarray(values, np.int32)
        self.tensors[name] = Tensor(name, data.shape, "int32", constant=True, data=data)
        return name

    def happens(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def one_of(self, choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def size(self, low: int, high: int) -> int:
        """Draw a size from low to high, the smaller ones as often as the larger ones."""
        return int(low * (high / low) ** self.rng.random() + 0.5)

    def width(self) -> int:
        """Channels: four times something, mostly."""
        return self.size(1, 100) if self.happens(0.2) else 4 * self.size(1, 32)

    def map(self) -> tuple[int, int, int, int]:
        across = 1 if self.happens(0.15) else self.size(2, 48)
        return 1, self.size(2, 48), across, self.width()

    def any_shape(self) -> tuple[int, ...]:
        """A map, mostly; a series or a row."""
        shape = self.map()
        if self.happens(0.6):
            return shape
        return (1, *shape[2:]) if self.happens(0.5) else (1, shape[1] * shape[2])


Draw = Callable[[_Draft, Kind], Op]


def priced_operator(kind: Kind, seed: int, number: int, *, any_scale: bool = False) -> Graph:
    """Draw an int8 network of one operator, the same for the same arguments.

    Those of POSITIONS and TABLE write and read int32, which no other network may.

    Parameters
    ----------
    any_scale
        Read values that lie anywhere, up to 25 from zero; otherwise on both sides of it and up to
        10 away, as a layer writes them.
    """
    rng = np.random.default_rng((seed, number, zlib.crc32(kind.encode())))
    while True:
        graph = _looked_up(kind, rng) if kind in ("POSITIONS", "TABLE") else _drawn(kind, rng)
        if graph is not None and _is_of_usual_size(graph):
            break
    source = None if any_scale else (rng.uniform(0.02, 0.06), int(rng.integers(-40, 41)))
    graph = quantize_randomly(
        graph,
        int(rng.integers(2**31)),
        filters="int4" if rng.random() < 0.2 else "int8",
        source=source,
        by_output=bool(rng.random() < 0.4),
    )
    if len(graph.ops) == 1:
        return graph
    (op,) = (each for each in graph.ops if each.kind == kind)
    read = (*op.operands, *op.outputs, *op.inputs)
    return Graph({name: graph.tensors[name] for name in read}, (op,), op.operands, op.outputs)


def _drawn(kind: Kind, rng: np.random.Generator) -> Graph | None:
    draft = _Draft(rng)
    op = _DRAWS[kind](draft, kind)
    if "output" not in draft.tensors:
        draft.written(draft.tensors["input"].shape)
    inputs = tuple(name for name in op.operands if not draft.tensors[name].constant)
    shape = RULES[kind].shape(Graph(draft.tensors, (op,), inputs, ("output",)), op)
    if not isinstance(shape, tuple):  # this combination cannot be computed
        return None
    draft.written(shape)
    return Graph(draft.tensors, (op,), inputs, ("output",))


def _looked_up(kind: Kind, rng: np.random.Generator) -> Graph:
    """POSITIONS and TABLE go together."""
    _, height, width, depth = _Draft(rng).map()
    builder = Builder((height, width, depth))
    return builder.finish(builder.function(builder.input, "output", ""))


def _is_of_usual_size(graph: Graph) -> bool:
    activations = (each for each in graph.tensors.values() if not each.constant)
    elements = sum(each.elements for each in activations)
    return _LEAST_ELEMENTS <= elements <= _MOST_ELEMENTS and count(graph).macs <= _MOST_MACS


def _convolution(draft: _Draft, kind: Kind) -> Op:
    source, is_depthwise = draft.map(), kind == "DEPTHWISE_CONV_2D"
    depth = source[3]
    window = draft.one_of(_WINDOWS)
    if is_depthwise:
        channels = depth * (draft.one_of((2, 3, 4, 8)) if draft.happens(0.15) else 1)
        shape = (1, *window, channels)
    else:
        window = (1, 1) if draft.happens(0.5) else window
        groups = draft.one_of((2, 4, depth)) if draft.happens(0.15) else 1
        channels = groups * max(draft.width() // groups, 1)
        shape = (channels, *window, max(depth // groups, 1))
    inputs = [draft.given(source), draft.constant("weights", shape)]
    if draft.happens(0.9):
        inputs.append(draft.constant("bias", (channels,)))
    return Op(
        kind,
        "output",
        tuple(inputs),
        ("output",),
        draft.one_of(_STRIDES) if draft.happens(0.3) else (1, 1),
        padding="SAME" if draft.happens(0.75) else "VALID",
        activation=draft.one_of(("NONE", "RELU", "RELU6")),
        dilation=draft.one_of(_STRIDES) if draft.happens(0.1) else (1, 1),
    )


def _dense(draft: _Draft, kind: Kind) -> Op:
    depth, features = draft.size(8, 1024), draft.size(2, 128)
    rows = (draft.size(2, 64),) if draft.happens(0.3) else ()
    inputs = draft.given((1, *rows, depth)), draft.constant("weights", (features, depth))
    draft.written((1, *rows, features))
    return _op(kind, *inputs, draft.constant("bias", (features,)))


def _pair(draft: _Draft, kind: Kind) -> Op:
    """Two activations of a shape, or one and what is spread over it: a constant, or a gate."""
    shape = draft.any_shape()
    source = draft.given(shape)
    if kind != "PRELU" and draft.happens(0.4):
        return _op(kind, source, draft.given(shape, "other"))
    by_channel = (*(1 for _ in shape[1:]), shape[-1])
    other = draft.one_of((shape, (1,), shape[-1:], by_channel, (*shape[:-1], 1)))
    add = draft.given if kind != "PRELU" and draft.happens(0.3) and len(other) > 1 else None
    name = add(other, "other") if add else draft.operand("other", other)
    is_turned = kind != "PRELU" and draft.happens(0.3)
    return _op(kind, name, source) if is_turned else _op(kind, source, name)


def _pad(draft: _Draft, kind: Kind) -> Op:
    shape = draft.map()
    amounts = np.zeros((4, 2), np.int32)
    if draft.happens(0.75):
        amounts[1:3] = draft.rng.integers(0, 4, (2, 2))
    else:
        amounts[3, 1] = draft.size(1, 32)
    inputs = [draft.given(shape)]
    if kind == "PADV2":
        inputs.append(draft.operand("value", (1,)))
    return _op(kind, *inputs, draft.table("amounts", amounts))


def _pool(draft: _Draft, kind: Kind) -> Op:
    shape = draft.map()
    window = draft.one_of(((2, 2), (2, 2), (3, 3), (4, 1), (5, 5), shape[1:3]))
    stride = draft.one_of((window, window, (1, 1), (2, 2)))
    padding = "SAME" if draft.happens(0.4) and window != shape[1:3] else "VALID"
    return _op(kind, draft.given(shape), stride=stride, window=window, padding=padding)


def _reduction(draft: _Draft, kind: Kind) -> Op:
    shape = draft.map() if draft.happens(0.8) else (1, draft.size(4, 100), draft.width())
    axes = draft.one_of(((1, 2), (1, 2), (1,), (2,), (len(shape) - 1,)))
    is_kept = draft.happens(0.5)
    sizes = enumerate(shape)
    out = (1 if axis in axes else size for axis, size in sizes if is_kept or axis not in axes)
    draft.written(tuple(out))
    return _op(kind, draft.given(shape), draft.table("axes", axes))


def _on_map(draft: _Draft, kind: Kind) -> Op:
    """CMSIS-NN leaves the activation of a transposed convolution away."""
    draft.given(draft.map())
    return replace(map_op(kind, draft.tensors, draft.rng), activation="NONE")


def _single(draft: _Draft, kind: Kind) -> Op:
    alpha = draft.one_of((0.01, 0.1, 0.2, 0.3)) if kind == "LEAKY_RELU" else 0.0
    return _op(kind, draft.given(draft.any_shape()), alpha=float(np.float32(alpha)))


def _by_row(draft: _Draft, kind: Kind) -> Op:
    """Classes, or scores of attention."""
    places = draft.size(4, 64)
    choices = ((1, draft.size(100, 1000)), (1, places, places), (1, draft.size(2, 4), places, 16))
    return _op(kind, draft.given(draft.map() if draft.happens(0.25) else draft.one_of(choices)))


def _reshape(draft: _Draft, kind: Kind) -> Op:
    shape = draft.map()
    new = draft.one_of(((1, shape[1] * shape[2] * shape[3]), (1, shape[1] * shape[2], shape[3])))
    draft.written(new)
    return _op(kind, draft.given(shape), draft.table("shape", new))


def _concatenation(draft: _Draft, kind: Kind) -> Op:
    shape = draft.map()
    axis = 3 if draft.happens(0.7) else draft.one_of((1, 2))
    names = []
    for place in range(draft.size(2, 6)):
        size = draft.width() if axis == 3 else draft.size(1, 24)
        names.append(draft.given((*shape[:axis], size, *shape[axis + 1 :]), f"input{place}"))
    draft.written(shape)
    return _op(kind, *names, axis=axis)


def _cut(draft: _Draft, kind: Kind) -> Op:
    """Part of one axis, mostly, and all of the others."""
    shape = draft.any_shape()
    first, last, steps = [0 for _ in shape], list(shape), [1 for _ in shape]
    for axis in {int(axis) for axis in draft.rng.integers(1, len(shape), draft.size(1, 2))}:
        begin, end = sorted(int(place) for place in draft.rng.integers(0, shape[axis] + 1, 2))
        first[axis], last[axis] = begin, max(end, begin + 1)
        steps[axis] = draft.one_of((1, 1, 2, 3)) if kind == "STRIDED_SLICE" else 1
    source = draft.given(shape)
    if kind == "STRIDED_SLICE":
        tables = draft.table("begin", first), draft.table("end", last), draft.table("steps", steps)
        return _op(kind, source, *tables)
    sizes = [end - begin for begin, end in zip(first, last, strict=True)]
    return _op(kind, source, draft.table("begin", first), draft.table("size", sizes))


def _movement(draft: _Draft, kind: Kind) -> Op:
    draft.given(draft.any_shape())
    return move(kind, "input", "output", draft.tensors, draft.rng)


def _transpose(draft: _Draft, kind: Kind) -> Op:
    shape = draft.any_shape()
    tables, _ = MOVEMENT[kind](shape, draft.rng)
    return _op(kind, draft.given(shape), draft.table("order", tables["order"]))


def _gather(draft: _Draft, kind: Kind) -> Op:
    """Channels in another order, or some places of an axis."""
    shape = draft.map()
    axis = draft.one_of((1, 2, 3, 3))
    places = draft.rng.permutation(shape[axis])
    places = places if draft.happens(0.4) else places[: draft.size(1, shape[axis])]
    return _op(kind, draft.given(shape), draft.table("places", places), axis=axis)


def _repeat(draft: _Draft, kind: Kind) -> Op:
    target = draft.map()
    axes = draft.one_of(((1, 2), (1,), (2,), (3,), (1, 2, 3)))
    source = tuple(1 if axis in axes else size for axis, size in enumerate(target))
    return _op(kind, draft.given(source), draft.table("target", target))


def _product(draft: _Draft, kind: Kind) -> Op:
    """Of two activations, such as queries and keys, or of one and a constant."""
    outer = (1, draft.size(1, 4)) if draft.happens(0.5) else (1,)
    rows, depth, columns = draft.size(2, 64), draft.size(4, 64), draft.size(2, 64)
    is_turned = draft.happens(0.2), draft.happens(0.5)
    shapes = [(rows, depth), (depth, columns)]
    left, right = (
        (*outer, *(shape[::-1] if swap else shape))
        for shape, swap in zip(shapes, is_turned, strict=True)
    )
    add = draft.operand("other", right) if draft.happens(0.3) else draft.given(right, "other")
    return _op(kind, draft.given(left), add, transposed=is_turned)


def _lstm(draft: _Draft, kind: Kind) -> Op:
    steps, depth, units = draft.size(2, 50), draft.size(3, 48), draft.size(4, 48)
    return lstm(draft.given((1, steps, depth)), "output", (depth, units), draft.tensors)


def _op(kind: Kind, *inputs: str, **options: Any) -> Op:
    return Op(kind, "output", inputs, ("output",), **options)


_BY_ROW: tuple[Kind, ...] = ("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION")
_DRAWS: Mapping[Kind, Draw] = each_kind(
    "testing.priced_operators",
    {
        **dict.fromkeys(MOVEMENT, _movement),
        **dict.fromkeys(MAPS, _on_map),
        **dict.fromkeys(elements.PAIRS, _pair),
        **dict.fromkeys(elements.SINGLE, _single),
        **dict.fromkeys(_BY_ROW, _by_row),
        "CONV_2D": _convolution,
        "DEPTHWISE_CONV_2D": _convolution,
        "FULLY_CONNECTED": _dense,
        "PAD": _pad,
        "PADV2": _pad,
        "AVERAGE_POOL_2D": _pool,
        "MAX_POOL_2D": _pool,
        "MEAN": _reduction,
        "SUM": _reduction,
        "REDUCE_MAX": _reduction,
        "RESHAPE": _reshape,
        "CONCATENATION": _concatenation,
        "TRANSPOSE": _transpose,
        "SLICE": _cut,
        "STRIDED_SLICE": _cut,
        "GATHER": _gather,
        "BROADCAST_TO": _repeat,
        "BATCH_MATMUL": _product,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    },
    (kind for kind in OPERATORS if kind not in ("POSITIONS", "TABLE")),
)
