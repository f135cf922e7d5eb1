"""Time export: our writer against TensorFlow's converter on the same networks.

    python -m benchmarks.export_time [ROUNDS]

Both start from the same int8 graph in memory. In one process the two alternate after a warm-up of
each; "fresh" is a process of its own for each export, from its start to its end: imports, reading
the pickled graph, export. Medians. Needs tensorflow (2.21 was used).
"""

import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from micronas.tflite.writer import to_flatbuffer

_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def main(rounds: int = 5) -> None:
    from benchmarks.tensorflow_export import convert, with_snapped_scales
    from micronas.text import table

    os.environ.update(_ENVIRONMENT)
    rows = []
    for name, build in NETWORKS.items():
        graph = with_snapped_scales(build())
        ours, theirs = to_flatbuffer(graph), convert(graph)
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        fresh: dict[str, list[float]] = {"ours": [], "theirs": []}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.pickle"
            path.write_bytes(pickle.dumps(graph))
            for _ in range(rounds):
                times["ours"].append(_seconds(partial(to_flatbuffer, graph)))
                times["theirs"].append(_seconds(partial(convert, graph)))
                for side, values in fresh.items():
                    values.append(_seconds(partial(_fresh, side, path)))
        for label, found in (("in process", times), ("fresh", fresh)):
            mine, other = (statistics.median(found[side]) for side in ("ours", "theirs"))
            ratios = sorted(b / a for a, b in zip(found["ours"], found["theirs"], strict=True))
            rows.append(
                [
                    name,
                    label,
                    f"{1000 * mine:.1f} ms",
                    f"{1000 * other:.1f} ms",
                    f"{statistics.median(ratios):.1f}",
                    f"{ratios[0]:.1f}",
                    f"{len(ours)} B",
                    f"{len(theirs)} B",
                ]
            )
    header = ["network", "measured", "micronas", "TensorFlow", "ratio", "worst ratio"]
    print(table([*header, "our file", "their file"], rows))


def ds_cnn() -> Graph:
    """DS-CNN of MLPerf Tiny's shape: 49x10, 64 channels, four blocks, twelve classes."""
    builder = Builder((49, 10, 1))
    value = builder.conv(builder.input, "stem", 64, (10, 4), stride=(2, 2), activation="RELU")
    for block in range(4):
        value = builder.depthwise(value, f"block{block}/dw", (3, 3), activation="RELU")
        value = builder.conv(value, f"block{block}/pw", 64, activation="RELU")
    pooled = builder.global_average(value, "pool")
    return quantised(builder.finish(builder.dense(pooled, "classifier", 12)))


def mobilenet_v2() -> Graph:
    """MobileNetV2-like: 96x96x3, ReLU6, ten inverted residuals, two classes."""
    builder = Builder((96, 96, 3))
    value = builder.conv(builder.input, "stem", 16, (3, 3), stride=(2, 2), activation="RELU6")
    blocks = [(8, 1), (16, 2), (16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (40, 1), (56, 2)]
    for position, (width, step) in enumerate([*blocks, (56, 1)]):
        name = f"block{position}"
        depth = builder.shape(value)[-1]
        inner = builder.conv(value, f"{name}/expand", 4 * depth, activation="RELU6")
        inner = builder.depthwise(
            inner, f"{name}/dw", (3, 3), stride=(step, step), activation="RELU6"
        )
        inner = builder.conv(inner, f"{name}/project", width)
        residual = step == 1 and depth == width
        value = builder.add(value, inner, f"{name}/add") if residual else inner
    value = builder.conv(value, "last", 128, activation="RELU6")
    pooled = builder.global_average(value, "pool")
    return quantised(builder.finish(builder.dense(pooled, "classifier", 2)))


def quantised(shapes: Graph) -> Graph:
    """Draw weights that keep a signal's size, and ranges from random inputs."""
    import torch

    from micronas.train.quantize import QuantizedNetwork

    source, tensors = np.random.default_rng(0), dict(shapes.tensors)
    for op in shapes.ops:
        if len(op.inputs) == 3:
            weights, bias = (tensors[name] for name in op.inputs[1:])
            spread = np.sqrt(2 * bias.elements / weights.elements)
            for tensor, size in ((weights, spread), (bias, 0.1)):
                data = (size * source.standard_normal(tensor.shape)).astype(np.float32)
                tensors[tensor.name] = replace(tensor, data=data)
    network = QuantizedNetwork(replace(shapes, tensors=tensors))
    _, height, width, depth = tensors[shapes.inputs[0]].shape
    network.calibrate([torch.randn(8, depth, height, width, generator=torch.manual_seed(0))])
    return network.graph()


NETWORKS: dict[str, Callable[[], Graph]] = {"DS-CNN": ds_cnn, "MobileNetV2": mobilenet_v2}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _fresh(side: str, path: Path) -> None:
    arguments = [sys.executable, "-m", "benchmarks.export_time", side, str(path)]
    subprocess.run(
        arguments, check=True, env={**os.environ, **_ENVIRONMENT}, stderr=subprocess.DEVNULL
    )


def export(side: str, path: str) -> None:
    """Export once, importing what this side needs and no more."""
    graph = pickle.loads(Path(path).read_bytes())
    if side == "ours":
        model = to_flatbuffer(graph)
    else:
        from benchmarks.tensorflow_export import convert

        model = convert(graph)
    Path(path).with_suffix(".tflite").write_bytes(model)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        export(*sys.argv[1:])
    else:
        main(*map(int, sys.argv[1:]))
