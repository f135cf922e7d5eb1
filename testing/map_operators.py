"""Random operators on maps: reductions, transposed convolutions, resizing, blocks of pixels."""

import numpy as np

from micronas.graph.ir import Array, Kind, Op, Padding, Tensor
from micronas.graph.resizing import between
from micronas.graph.transposing import is_computed
from testing.elements import ACTIVATIONS

MAPS: tuple[Kind, ...] = (
    "MEAN",
    "SUM",
    "REDUCE_MAX",
    "TRANSPOSE_CONV",
    "RESIZE_NEAREST_NEIGHBOR",
    "RESIZE_BILINEAR",
    "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE",
)


def map_op(kind: Kind, tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """Add constants and the output of a random operator that reads ``input``, and return it."""
    if kind in ("MEAN", "SUM", "REDUCE_MAX"):
        return _reduction(kind, tensors, rng)
    if kind in ("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"):
        return _resize(kind, tensors, rng)
    return _transposed(tensors, rng) if kind == "TRANSPOSE_CONV" else _blocks(kind, tensors, rng)


def _reduction(kind: Kind, tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """Any axes but the first, kept or dropped, of maps, rows and longer shapes."""
    shapes = [tensors["input"].shape, (1, 7), (1, 5, 6), (1, 3, 2, 4, 5)]
    shape = shapes[int(rng.choice(4, p=(0.7, 0.1, 0.1, 0.1)))]
    tensors["input"] = Tensor("input", shape)
    rank = len(shape)
    axes = rng.choice(np.arange(1, rank), int(rng.integers(1, rank)), replace=False)
    signed = np.where(rng.random(len(axes)) < 0.3, axes - rank, axes)
    _table(tensors, "axes", signed)
    if rng.random() < 0.5:
        out = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    else:
        out = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    tensors["output"] = Tensor("output", out)
    return Op(kind, "output", ("input", "axes"), ("output",))


def _transposed(tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    _, height, width, depth = tensors["input"].shape
    if rng.random() < 0.3:  # CMSIS-NN's other way
        depth = int(rng.integers(17, 20))
        tensors["input"] = Tensor("input", (1, height, width, depth))
    while True:
        padding: Padding = "SAME" if rng.random() < 0.6 else "VALID"
        stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        taps = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        down, across = (
            int(rng.integers(1, step + 1)) + (0 if padding == "SAME" else many - 1)
            for step, many in zip(stride, taps, strict=True)
        )
        if is_computed((height, width), taps, stride, (down, across), depth):
            break
    channels = int(rng.integers(1, 8))
    shape = (1, (height - 1) * stride[0] + down, (width - 1) * stride[1] + across, channels)
    tensors["weights"] = Tensor("weights", (channels, *taps, depth), constant=True)
    tensors["bias"] = Tensor("bias", (channels,), constant=True)
    bias = ("bias",) if rng.random() < 0.8 else ()
    if not bias:
        del tensors["bias"]
    _table(tensors, "shape", np.array(shape))
    tensors["output"] = Tensor("output", shape)
    return Op(
        "TRANSPOSE_CONV",
        "output",
        ("input", "weights", *bias, "shape"),
        ("output",),
        stride,
        padding=padding,
        activation=ACTIVATIONS[int(rng.integers(4))],
        reach=(down, across),
    )


def _resize(kind: Kind, tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    source = tensors["input"].shape
    mode = int(rng.integers(3 if kind == "RESIZE_BILINEAR" else 4))
    op = Op(
        kind,
        "output",
        ("input", "size"),
        ("output",),
        align_corners=mode in (1, 3),
        half_pixel=mode in (2, 3),
    )
    sizes = [
        size * int(rng.integers(1, 4)) if rng.random() < 0.5 else int(rng.integers(1, 25))
        for size in source[1:3]
    ]
    if kind == "RESIZE_BILINEAR":
        sizes = [
            out if between(size, out, op)[0].max() < size else size
            for size, out in zip(source[1:3], sizes, strict=True)
        ]
    _table(tensors, "size", np.array(sizes))
    tensors["output"] = Tensor("output", (1, *sizes, source[3]))
    return op


def _blocks(kind: Kind, tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    _, height, width, depth = tensors["input"].shape
    block = int(rng.integers(1, 4))
    large, small = (1, height * block, width * block, depth), (1, height, width, depth * block**2)
    source, out = (large, small) if kind == "SPACE_TO_DEPTH" else (small, large)
    tensors["input"], tensors["output"] = Tensor("input", source), Tensor("output", out)
    return Op(kind, "output", ("input",), ("output",), block=block)


def _table(tensors: dict[str, Tensor], name: str, values: Array) -> None:
    data = values.astype(np.int32)
    tensors[name] = Tensor(name, data.shape, "int32", constant=True, data=data)
