"""Random int8 networks that mix every kind of operator, and what TFLM says about them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from micronas.export.verify import verify_and_measure
from micronas.graph.ir import DataType, Graph, Kind, Op, Tensor
from micronas.graph.operators import OPERATORS
from micronas.hardware.targets import HOST, plan
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing import elements, map_networks
from testing.builder import Builder
from testing.graphs import quantize_randomly, random_inputs
from testing.map_networks import map_network
from testing.movement import MOVEMENT, move
from testing.products import multiply
from testing.recurrent import lstm

_INNER: tuple[Kind, ...] = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE"),
    *("CONCATENATION", "FULLY_CONNECTED", "MEAN"),
    *("SUM", "REDUCE_MAX", "TRANSPOSE_CONV", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"),
    *("SPACE_TO_DEPTH", "DEPTH_TO_SPACE"),
    *elements.PAIRS,
    *elements.SINGLE,
    "TABLE",
    *MOVEMENT,
    *("BATCH_MATMUL", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
)
_STEPS: Mapping[Kind, str] = {
    "TRANSPOSE_CONV": "transposed",
    **dict.fromkeys(("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"), "resized"),
    **dict.fromkeys(("SPACE_TO_DEPTH", "DEPTH_TO_SPACE"), "moved"),
}


@dataclass
class Agreement:
    """Disagreements of our predictions with TFLM; all but the first two should be 0."""

    networks: int = 0
    bytes: int = 0
    mismatches: int = 0
    wrong_heads: int = 0
    worst_total: int = 0
    """Largest difference of the predicted arena from TFLM's, bytes."""
    kinds: frozenset[str] = frozenset()


def agreement(seeds: range) -> Agreement:
    """Compare integer execution and the planned arena with TFLM, four examples a network."""
    found = Agreement()
    for seed in seeds:
        model = to_flatbuffer(random_network(seed))
        graph = read(model)
        checked, arena = verify_and_measure(model, random_inputs(graph, 4, seed))
        predicted = plan(graph, HOST)
        found.networks += 1
        found.bytes += checked.bytes_compared
        found.mismatches += checked.mismatches
        found.wrong_heads += predicted.head != arena.head
        found.worst_total = max(found.worst_total, abs(predicted.total - arena.total))
        found.kinds |= {op.kind for op in graph.ops}
    return found


def random_network(seed: int) -> Graph:
    """Make a network of 4 to 15 operators of any kind, branches and all."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.25:
        return quantize_randomly(map_network(rng, series=bool(rng.random() < 0.3)), seed)
    side = rng.integers(2, 15, 2)
    builder = Builder((int(side[0]), int(side[1]), int(rng.integers(1, 9))))
    live = [builder.input]
    for number in range(int(rng.integers(2, 12))):
        kind = _INNER[int(rng.integers(len(_INNER)))]
        live.append(_grow(builder, kind, f"op{number}", live, rng))
    output = live[-1]
    if rng.random() < 0.5:
        output = builder.dense(live[-1], "classifier", int(rng.integers(2, 13)))
    if rng.random() < 0.5:
        output = _append(builder, str(rng.choice(["SOFTMAX", "LOGISTIC"])), "scores", output)
    if output == builder.input:  # steps that found nothing to do
        output = _append(builder, "RELU", "only", output)
    filters: DataType = "int4" if rng.random() < 1 / 3 else "int8"
    by_output = bool(rng.random() < 0.5)
    return quantize_randomly(builder.finish(output), seed, filters=filters, by_output=by_output)


def _grow(
    builder: Builder, kind: Kind, name: str, live: list[str], rng: np.random.Generator
) -> str:
    """Append an operator that reads a live tensor, mostly the last; return its output."""
    source = live[-1] if rng.random() < 0.7 else str(rng.choice(live))
    _, height, width, depth = builder.shape(source)
    activation = elements.ACTIVATIONS[int(rng.integers(4))]
    kernel = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    window = (min(kernel[0], height), min(kernel[1], width))
    if kind in _STEPS:
        return map_networks.STEPS[_STEPS[kind]](builder, source, name, rng, False)
    if kind in ("MEAN", "SUM", "REDUCE_MAX"):
        axes = [(1, 2), (1,), (2,), (3,)][int(rng.choice(4, p=(0.7, 0.1, 0.1, 0.1)))]
        return builder.reduce(source, name, kind, axes, keep=True)
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and rng.random() < 0.4:
        step = (
            "depthwise" if kind == "DEPTHWISE_CONV_2D" else str(rng.choice(["dilated", "grouped"]))
        )
        return map_networks.STEPS[step](builder, source, name, rng, False)
    if kind == "CONV_2D":
        channels = int(rng.integers(1, 20))
        return builder.conv(source, name, channels, kernel, stride=stride, activation=activation)
    if kind == "DEPTHWISE_CONV_2D":
        return builder.depthwise(source, name, kernel, stride=stride, activation=activation)
    if kind in elements.PAIRS:
        return _join(builder, kind, name, source, live, rng)
    if kind == "TABLE":
        return builder.function(source, name, "gelu")
    if kind == "RSQRT":
        return _append(builder, kind, name, _append(builder, "ABS", f"{name}/abs", source))
    if kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        sizes = [(a - b) // c + 1 for a, b, c in zip((height, width), window, stride, strict=True)]
        op = Op(kind, name, (source,), (name,), stride, window, "VALID", activation)
        return builder.append(op, (1, sizes[0], sizes[1], depth))
    if kind == "RESHAPE":
        return builder.reshape(source, name, (1, width, height, depth))
    if kind == "FULLY_CONNECTED":
        flat = builder.dense(source, f"{name}/dense", int(rng.integers(1, 20)))
        return builder.reshape(flat, name, (1, 1, 1, builder.shape(flat)[1]))
    if kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return _recur(builder, name, source, rng)
    if kind in (*MOVEMENT, "BATCH_MATMUL"):
        return _move(builder, kind, name, source, rng)
    if kind == "CONCATENATION":
        return _concatenate(builder, name, source, rng)
    return _append(builder, kind, name, source, elements.alpha_of(kind, rng))


def _join(
    builder: Builder, kind: Kind, name: str, source: str, live: list[str], rng: np.random.Generator
) -> str:
    """Append an operator on a tensor and another one, or a constant, that fits it."""
    shape = builder.shape(source)
    if kind == "ADD" and rng.random() < 0.3:  # with the narrower one padded
        fitting = [each for each in live if builder.shape(each)[:3] == shape[:3]]
        return builder.add(source, str(rng.choice(fitting)), name)
    if kind == "PRELU" or rng.random() < 0.5:
        sizes = [(1,), (shape[3],), (1, 1, 1, shape[3]), shape]
        values = np.zeros(sizes[int(rng.integers(4))], np.float32)
        other = builder.constant(f"{name}/other", values)
    else:
        other = str(
            rng.choice(
                [each for each in live if each == source or _broadcasts(builder, each, source)]
            )
        )
        if OPERATORS[kind].scale == "identical" and other != source:
            other = _append(builder, "QUANTIZE", f"{name}/other", other)
    activation = elements.ACTIVATIONS[int(rng.integers(4))]
    fuses = OPERATORS[kind].fuses
    op = Op(kind, name, (source, other), (name,), activation=activation if fuses else "NONE")
    return builder.append(op, shape)


def _move(builder: Builder, kind: Kind, name: str, source: str, rng: np.random.Generator) -> str:
    """Append one that moves or multiplies values, and a RESHAPE where what it gives is no map."""
    tensors = {source: Tensor(source, builder.shape(source))}
    if kind == "BATCH_MATMUL":
        op = multiply(source, f"{name}/product", tensors, rng)
    else:
        op = move(kind, source, f"{name}/moved", tensors, rng)
    for table, tensor in tensors.items():
        data = tensor.data
        if data is None:
            continue
        builder.constant(table, data.astype(np.float32) if data.dtype == np.int8 else data)
    shape = tensors[op.outputs[0]].shape
    moved = builder.append(op, shape)
    if len(shape) == 4 and shape[0] == 1:
        return moved
    *rest, height, width = (1, 1, *shape)
    return builder.reshape(moved, name, (1, int(np.prod(rest)), height, width))


def _recur(builder: Builder, name: str, source: str, rng: np.random.Generator) -> str:
    """Append an LSTM along the rows of a map, whose columns are features."""
    _, height, width, depth = builder.shape(source)
    units = int(rng.integers(1, 9))
    rows = builder.reshape(source, f"{name}/rows", (1, height, width * depth))
    tensors: dict[str, Tensor] = {}
    op = lstm(rows, f"{name}/lstm", (width * depth, units), tensors)
    for tensor in tensors.values():
        builder.learnt(tensor)
    return builder.reshape(builder.append(op, (1, height, units)), name, (1, 1, height, units))


def _broadcasts(builder: Builder, name: str, source: str) -> bool:
    """Whether a tensor can be spread over another, by CMSIS-NN's loops too."""
    shape, whole = builder.shape(name), builder.shape(source)
    fits = all(size in (1, most) for size, most in zip(shape, whole, strict=True))
    return shape == whole or (fits and not (shape[2:] == (1, 1) and shape[1] > 1))


def _append(builder: Builder, kind: str, name: str, source: str, alpha: float = 0.0) -> str:
    """Append an operator without parameters that keeps the shape."""
    op = Op(kind, name, (source,), (name,), alpha=alpha)  # type: ignore[arg-type]
    return builder.append(op, builder.shape(source))


def _concatenate(builder: Builder, name: str, source: str, rng: np.random.Generator) -> str:
    """Join convolutions of one source, which nothing else reads: they must share a scale."""
    axis = int(rng.integers(1, 4))
    widths = rng.integers(1, 9, int(rng.integers(1, 6)))
    widths = widths if axis == 3 else np.full_like(widths, widths[0])
    parts = tuple(
        builder.conv(source, f"{name}/part{number}", int(width), (1, 1 + number % 3))
        for number, width in enumerate(widths)
    )
    shape = list(builder.shape(parts[0]))
    shape[axis] = sum(builder.shape(part)[axis] for part in parts)
    return builder.append(Op("CONCATENATION", name, parts, (name,), axis=axis), tuple(shape))
