"""Random networks of operators on maps, or on series as maps [length, 1, channels]."""

from collections.abc import Callable, Mapping

import numpy as np

from micronas.graph.ir import Activation, Graph, Padding
from testing.builder import Builder

_ACTIVATIONS: tuple[Activation, ...] = ("NONE", "RELU", "RELU6")


def map_network(rng: np.random.Generator, *, series: bool) -> Graph:
    """Draw a network of a stem, four to eight operators of any kind, a reduction and a classifier.

    Kernels, strides and dilations of `series` are 1 across, as those of 1-D networks are.
    """
    side = int(rng.integers(6, 14))
    across = 1 if series else int(rng.integers(4, 12))
    builder = Builder((side, across, int(rng.integers(1, 5))))
    width = 4 * int(rng.integers(1, 4))
    value = builder.conv(builder.input, "stem", width, _size(rng, series, 1, 4), activation="RELU")
    for number in range(int(rng.integers(4, 9))):
        kind = str(rng.choice(list(STEPS)))
        value = STEPS[kind](builder, value, f"{kind}{number}", rng, series)
    ending = str(rng.choice(["MEAN", "SUM", "REDUCE_MAX", "pool"]))
    if ending == "pool":
        value = builder.global_average(value, "end")
    else:
        axes = [(1, 2), (1,), (3,), (2, 3)][int(rng.choice(4, p=(0.7, 0.1, 0.1, 0.1)))]
        keep = bool(rng.random() < 0.5)
        value = builder.reduce(value, "end", ending, axes, keep=keep)  # type: ignore[arg-type]
    return builder.finish(builder.dense(value, "classifier", int(rng.integers(2, 7))))


Step = Callable[[Builder, str, str, np.random.Generator, bool], str]


def _dilated(
    builder: Builder, value: str, name: str, rng: np.random.Generator, series: bool
) -> str:
    kernel, apart = _size(rng, series, 1, 4), _size(rng, series, 1, 4)
    channels = 4 * int(rng.integers(1, 4))
    return builder.conv(value, name, channels, kernel, dilation=apart, activation=_activation(rng))


def _grouped(
    builder: Builder, value: str, name: str, rng: np.random.Generator, series: bool
) -> str:
    depth = builder.shape(value)[3]
    groups = int(rng.choice([each for each in (2, 4, depth) if depth % each == 0] or [1]))
    stride, channels = _size(rng, series, 1, 3), groups * int(rng.integers(1, 4))
    kernel = _size(rng, series, 1, 4)
    return builder.conv(
        value, name, channels, kernel, stride=stride, groups=groups, activation=_activation(rng)
    )


def _depthwise(
    builder: Builder, value: str, name: str, rng: np.random.Generator, series: bool
) -> str:
    kernel, apart = _size(rng, series, 1, 6), _size(rng, series, 1, 3)
    return builder.depthwise(value, name, kernel, dilation=apart, activation=_activation(rng))


def _pooled(builder: Builder, value: str, name: str, rng: np.random.Generator, series: bool) -> str:
    kinds = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
    kind, window = kinds[int(rng.integers(2))], _size(rng, series, 1, 4)
    stride = _size(rng, series, 1, 3)
    fits = all(a <= b for a, b in zip(window, builder.shape(value)[1:3], strict=True))
    padding = "VALID" if fits and rng.random() < 0.5 else "SAME"
    return builder.pool(value, name, kind, window, stride=stride, padding=padding)  # type: ignore[arg-type]


def _transposed(
    builder: Builder, value: str, name: str, rng: np.random.Generator, series: bool
) -> str:
    stride = _size(rng, series, 1, 3)
    kernel = tuple(step + int(rng.integers(0, 2)) if step > 1 else 1 for step in stride)
    wide = (kernel[0], kernel[1])
    padding: Padding = "VALID" if rng.random() < 0.3 else "SAME"
    return builder.transposed(
        value, name, 6, wide, stride=stride, padding=padding, activation=_activation(rng)
    )


def _resized(
    builder: Builder, value: str, name: str, rng: np.random.Generator, series: bool
) -> str:
    _, height, width, _ = builder.shape(value)
    size = int(rng.integers(max(height // 2, 1), height + 6)), width if series else width + 2
    mode = int(rng.integers(3))
    kind = "RESIZE_BILINEAR" if rng.random() < 0.5 else "RESIZE_NEAREST_NEIGHBOR"
    return builder.resize(value, name, size, kind, align_corners=mode == 1, half_pixel=mode == 2)  # type: ignore[arg-type]


def _moved(builder: Builder, value: str, name: str, rng: np.random.Generator, series: bool) -> str:
    _, height, width, depth = builder.shape(value)
    if height % 2 == width % 2 == 0:
        return builder.fold(value, name, 2)
    return builder.unfold(value, name, 2) if depth % 4 == 0 and height < 16 else value


STEPS: Mapping[str, Step] = {
    "dilated": _dilated,
    "grouped": _grouped,
    "depthwise": _depthwise,
    "pool": _pooled,
    "transposed": _transposed,
    "resized": _resized,
    "moved": _moved,
}
"""Append an operator of a kind that reads a map, and return what it writes."""


def _size(rng: np.random.Generator, series: bool, low: int, high: int) -> tuple[int, int]:
    return int(rng.integers(low, high)), 1 if series else int(rng.integers(low, high))


def _activation(rng: np.random.Generator) -> Activation:
    return _ACTIVATIONS[int(rng.integers(3))]
