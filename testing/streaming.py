"""Random streaming networks, and their scores computed over a whole recording."""

import random
from typing import Any

import numpy as np
import numpy.typing as npt

from micronas.errors import ConfigError
from micronas.graph import integer
from micronas.graph.ir import Graph
from micronas.graph.streaming import recording
from micronas.space.space import Space
from testing.graphs import quantize_randomly

Codes = npt.NDArray[np.int8]


def random_streaming(seed: int) -> Graph:
    """Make a small int8 network that streams, of random blocks, strides and columns."""
    source = random.Random(seed)
    while True:
        columns = source.choice((1, 1, 1, 4, 5))
        described = {
            "input": [source.randint(12, 49), columns, source.randint(1, 6)],
            "classes": source.randint(2, 7),
            "streaming": True,
            "activation": source.choice(("relu", "relu6")),
            "stem": {"width": _width(source), **_window(source, columns)},
            "blocks": [_block(source, columns) for _ in range(source.randint(0, 4))],
            "head": {
                "width": source.choice((None, _width(source))),
                "classifier": source.choice(("dense", "conv")),
            },
        }
        try:
            graph = Space.model_validate(described).graph()
        except (ValueError, ConfigError):  # reads more than its window, or halves one channel
            continue
        return quantize_randomly(graph, seed)


def random_recording(graph: Graph, frames: int, seed: int) -> Codes:
    """Return random frames, int8 [frames, width, channels]."""
    shape = (frames, *graph.tensors[graph.inputs[0]].shape[2:])
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def over_the_whole(graph: Graph, frames: Codes) -> Codes:
    """Return the scores of the int8 graph over a whole recording, [rows, ...]."""
    whole = recording(graph, len(frames))
    found: Codes = integer.run(whole, frames[None])
    return found.reshape(-1, *graph.tensors[graph.outputs[0]].shape[1:])


def _width(source: random.Random) -> int:
    return source.randint(1, 12)


def _window(source: random.Random, columns: int) -> dict[str, Any]:
    kernel = source.choice((1, 2, 3, 3, 5, 9)), source.choice((1, 3)) if columns > 1 else 1
    stride = source.choice((1, 1, 1, 2, 2, 3)), source.choice((1, 2)) if columns > 1 else 1
    return {"kernel": list(kernel), "stride": list(stride)}


def _block(source: random.Random, columns: int) -> dict[str, Any]:
    window = _window(source, columns)
    kind = source.choice(("conv", "separable", "residual", "bottleneck", "shuffle", "pool"))
    if kind == "pool":
        step = source.choice((1, 2)), 1
        mode = source.choice(("max", "average"))
        return {"type": kind, "mode": mode, "window": list(step), "stride": list(step)}
    if kind in ("separable", "bottleneck", "shuffle"):  # depthwise kernels are odd
        window["kernel"] = [each | 1 for each in window["kernel"]]
    block = {"type": kind, **window}
    if kind == "bottleneck":
        block |= {"expansion": _width(source), "fused": source.random() < 0.3}
    if kind == "conv" or source.random() < 0.5:
        return {**block, "width": _width(source)}
    return {**block, "stride": [1, 1]}
