"""Published networks as graphs of shapes: their operations and arenas.

MicroNets (arXiv 2010.11267): Table 5, and for the visual ones the model files of ARM's ML-zoo.
MLPerf Tiny: the reference models of mlcommons/tiny. The others are the networks whose
instructions the census counted beside its random ones. Each graph has the operators of its file,
so that multiply-accumulates and the arena are the file's own.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from micronas import resources
from micronas.graph.ir import Graph, Quantization
from testing.builder import Builder

Chain = Sequence[tuple[int, int]]
"""Width and stride of each depthwise-separable block."""
Bottlenecks = Sequence[tuple[int, int, int]]
"""Expansion width, output width and stride of each inverted bottleneck."""


@dataclass(frozen=True)
class Published:
    """A network and the backbone it belongs to."""

    family: str
    graph: Graph


@dataclass(frozen=True)
class Measured:
    """What TFLM with CMSIS-NN took on a simulated Cortex-M4, a row of ``census_networks.csv``."""

    macs: int
    instructions: int
    arena_m4: int
    """Bytes, as the interpreter reports them."""
    arena_host: int
    """The same in the `tflite_micro` wheel: 64-bit pointers, reference kernels."""


_SAME_STAGE = frozenset({2, 4, 5, 7, 8, 9, 11, 12, 14, 15})  # of MobileNetV2's 17 bottlenecks
_MOBILENET_V1 = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)]
_MOBILENET_V1 += [(128, 1)] * 5 + [(256, 2), (256, 1)]  # at width 0.25
_STAGES = ((1, 16, 1), (2, 24, 2), (2, 32, 2), (2, 64, 2))  # blocks, width, stride


def keyword_network(stem: int, blocks: Chain, *, classes: int = 12) -> Graph:
    """Return a network of the keyword family: 49x10 input, 10x4 stem at stride 1."""
    return _separable((49, 10, 1), stem, (10, 4), blocks, classes)


def anomaly_network(stem: int, blocks: Chain) -> Graph:
    """Return a network of the anomaly family: 32x32 input, 3x3 stem at stride 1."""
    return _separable((32, 32, 1), stem, (3, 3), blocks, 8)


def visual_network(size: int, stem: int, blocks: Bottlenecks) -> Graph:
    """Return a network of the visual wake word family, residuals padded as in the files."""
    builder = Builder((size, size, 1))
    source = builder.conv(builder.input, "stem", stem, (3, 3), stride=(2, 2), activation="RELU6")
    for number, (expansion, width, stride) in enumerate(blocks):
        hidden = _bottleneck(builder, source, number, expansion, width, stride)
        if number in _SAME_STAGE:
            hidden = builder.add(source, hidden, f"add{number}")
        source = hidden
    source = builder.conv(source, "last", 128, activation="RELU6")
    return _with_shared_tables(_convolutional_head(builder, source, 2))


def person_detection() -> Graph:
    """Return TFLM's person detection example: MobileNetV1 at width 0.25, 96x96 gray."""
    builder = Builder((96, 96, 1))
    source = builder.depthwise(
        builder.input, "stem", (3, 3), stride=(2, 2), multiplier=8, activation="RELU6"
    )
    source = builder.global_average(_blocks(builder, source, _MOBILENET_V1), "pool")
    logits = builder.reshape(builder.conv(source, "head", 2), "logits", (1, 2))
    return builder.finish(builder.softmax(logits, "scores"))


def mlperf_anomaly() -> Graph:
    """Return ad01: a fully connected autoencoder."""
    builder = Builder((1, 1, 640))
    source = builder.input
    for number, width in enumerate([*[128] * 4, 8, *[128] * 4, 640]):
        source = builder.dense(source, f"dense{number}", width)
    return builder.finish(source)


def mlperf_images() -> Graph:
    """Return pretrainedResnet: three stacks of one residual block, 32x32 RGB."""
    builder = Builder((32, 32, 3))
    source = builder.conv(builder.input, "stem", 16, (3, 3), activation="RELU")
    for number, (width, stride) in enumerate([(16, 1), (32, 2), (64, 2)]):
        hidden = builder.conv(
            source, f"first{number}", width, (3, 3), stride=(stride, stride), activation="RELU"
        )
        hidden = builder.conv(hidden, f"second{number}", width, (3, 3))
        if stride > 1:
            source = builder.conv(source, f"shortcut{number}", width, stride=(stride, stride))
        source = builder.add(source, hidden, f"add{number}")
    return _dense_head(builder, builder.global_average(source, "pool"), 10)


def mlperf_keywords() -> Graph:
    """Return kws_ref_model: a DS-CNN of width 64 whose stem has stride 2."""
    builder = Builder((49, 10, 1))
    source = builder.conv(builder.input, "stem", 64, (10, 4), stride=(2, 2), activation="RELU")
    source = _blocks(builder, source, [(64, 1)] * 4)
    return _dense_head(builder, builder.global_average(source, "pool"), 12)


def mlperf_visual() -> Graph:
    """Return vww_96: MobileNetV1 at width 0.25, 96x96 RGB."""
    builder = Builder((96, 96, 3))
    source = builder.conv(builder.input, "stem", 8, (3, 3), stride=(2, 2), activation="RELU")
    source = _blocks(builder, source, _MOBILENET_V1)
    return _dense_head(builder, builder.global_average(source, "pool"), 2)


def mlperf_streaming() -> Graph:
    """Return str_ww_ref_model: separable convolutions over 30 frames, none of them padded."""
    builder = Builder((30, 1, 40))
    source = builder.input
    for number, (taps, width) in enumerate([(3, 128), (5, 128), (10, 128), (15, 32)]):
        source = builder.depthwise(source, f"depthwise{number}", (taps, 1), padding="VALID")
        source = builder.conv(source, f"pointwise{number}", width, activation="RELU")
    return _dense_head(builder, source, 3)


def separable_with_mean(*widths: int, stride: tuple[int, int] = (2, 2)) -> Graph:
    """Return a DS-CNN, 49x10 input, its global average a MEAN: widths of stem and blocks."""
    builder = Builder((49, 10, 1))
    stem, *blocks = widths
    source = builder.conv(builder.input, "stem", stem, (10, 4), stride=stride, activation="RELU")
    return _mean_head(builder, _blocks(builder, source, [(width, 1) for width in blocks]), 12)


def mobilenet_with_mean(multiplier: float, size: int, expansion: int = 6) -> Graph:
    """Return a small MobileNetV2 on RGB, its global average a MEAN.

    Widths are `multiplier` x the base width, rounded to the nearest multiple of 8.
    """
    builder = Builder((size, size, 3))
    stem = _to_eight(32 * multiplier)
    source = builder.conv(builder.input, "stem", stem, (3, 3), stride=(2, 2), activation="RELU6")
    number = 0
    for stage, (blocks, base, first_stride) in enumerate(_STAGES):
        for position in range(blocks):
            hidden = _bottleneck(
                builder,
                source,
                number,
                expansion * builder.shape(source)[-1] if stage else None,
                _to_eight(base * multiplier),
                1 if position else first_stride,
            )
            source = builder.add(source, hidden, f"add{number}") if position else hidden
            number += 1
    source = builder.conv(source, "last", _to_eight(128 * multiplier), activation="RELU6")
    return _mean_head(builder, source, 10)


def _separable(
    size: tuple[int, int, int], stem: int, kernel: tuple[int, int], blocks: Chain, classes: int
) -> Graph:
    builder = Builder(size)
    source = builder.conv(builder.input, "stem", stem, kernel, activation="RELU")
    return _convolutional_head(builder, _blocks(builder, source, blocks), classes)


def _blocks(builder: Builder, source: str, blocks: Chain) -> str:
    for number, (width, stride) in enumerate(blocks):
        source = builder.depthwise(
            source, f"depthwise{number}", (3, 3), stride=(stride, stride), activation="RELU"
        )
        source = builder.conv(source, f"pointwise{number}", width, activation="RELU")
    return source


def _bottleneck(
    builder: Builder, source: str, number: int, expansion: int | None, width: int, stride: int
) -> str:
    if expansion is not None:
        source = builder.conv(source, f"expand{number}", expansion, activation="RELU6")
    source = builder.depthwise(
        source, f"depthwise{number}", (3, 3), stride=(stride, stride), activation="RELU6"
    )
    return builder.conv(source, f"project{number}", width)


def _convolutional_head(builder: Builder, source: str, classes: int) -> Graph:
    logits = builder.conv(builder.global_average(source, "pool"), "head", classes)
    return builder.finish(builder.reshape(logits, "logits", (1, classes)))


def _dense_head(builder: Builder, source: str, classes: int) -> Graph:
    flat = builder.reshape(source, "flat", (1, builder.shape(source)[-1]))
    return builder.finish(builder.softmax(builder.dense(flat, "head", classes), "scores"))


def _mean_head(builder: Builder, source: str, classes: int) -> Graph:
    """As Keras without a bias converts: the classifier has a scale a channel."""
    logits = builder.dense(builder.mean(source, "mean"), "head", classes)
    graph = builder.finish(builder.softmax(logits, "scores"))
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name != "head/bias"}
    scales = Quantization(np.ones(classes, np.float32), axis=0)
    tensors["head/weights"] = replace(tensors["head/weights"], quantization=scales)
    ops = tuple(replace(op, inputs=op.inputs[:2]) if op.name == "head" else op for op in graph.ops)
    return replace(graph, tensors=tensors, ops=ops)


def _with_shared_tables(graph: Graph) -> Graph:
    """As in the files: equal PAD amounts are one tensor."""
    first: dict[bytes, str] = {}
    names: dict[str, str] = {}
    for name, tensor in graph.tensors.items():
        names[name] = name
        if tensor.data is not None and name.endswith("/amounts"):
            names[name] = first.setdefault(tensor.data.tobytes(), name)
    kept = {name: tensor for name, tensor in graph.tensors.items() if names[name] == name}
    ops = tuple(replace(op, inputs=tuple(names[name] for name in op.inputs)) for op in graph.ops)
    return replace(graph, tensors=kept, ops=ops)


def _to_eight(width: float) -> int:
    return max(8, int(width + 4) // 8 * 8)


def _chain(text: str) -> Chain:
    """Read Table 5's notation: ``248@2 276`` is 248 channels at stride 2, then 276."""
    pairs = (word.partition("@") for word in text.split())
    return [(int(width), int(stride or 1)) for width, _, stride in pairs]


def _bottlenecks(text: str) -> Bottlenecks:
    triples = ([int(number) for number in word.split(",")] for word in text.split())
    return [(expansion, width, stride) for expansion, width, stride in triples]


_VISUAL_2 = _bottlenecks(
    "4,8,1 28,24,2 28,20,1 128,28,2 152,16,1 152,28,1 152,24,2 112,24,1 112,12,1 "
    "76,32,1 76,16,1 56,28,1 56,28,1 56,16,2 96,16,1 96,16,1 96,32,1"
)
_VISUAL_3 = _bottlenecks(
    "3,6,1 9,14,2 28,16,1 28,32,2 115,25,1 115,32,1 172,51,2 307,51,1 307,44,1 "
    "307,57,1 230,48,1 288,48,1 288,76,1 115,16,2 96,16,1 96,16,1 96,32,1"
)
_VISUAL_4 = _bottlenecks(
    "4,4,1 8,12,2 14,16,1 28,32,2 96,28,1 96,28,1 152,44,2 268,40,1 268,52,1 "
    "268,44,1 192,68,1 172,68,1 172,48,1 288,16,2 96,16,1 96,32,1 96,32,1"
)

_KEYWORDS: dict[str, Graph] = {
    "MicroNet-KWS-L": keyword_network(276, _chain("248@2 276 276 248 248 248 248")),
    "MicroNet-KWS-M": keyword_network(140, _chain("140@2 140 140 112 196")),
    "MicroNet-KWS-S": keyword_network(84, _chain("112@2 84 84 84 196")),
    "DSCNN-L": keyword_network(276, _chain("276@2 276 276 276 276")),
    "DSCNN-M": keyword_network(172, _chain("172@2 172 172 172")),
    "DSCNN-S": keyword_network(64, _chain("64@2 64 64 64")),
    "MLPerf-KWS": mlperf_keywords(),
    "ds_16x2": separable_with_mean(*[16] * 3),
    "ds_24x3": separable_with_mean(*[24] * 4),
    "ds_odd27x3": separable_with_mean(*[27] * 4),
    "ds_mix": separable_with_mean(24, 40, 56, 72),
    "ds_32x4": separable_with_mean(*[32] * 5),
    "ds_48x4": separable_with_mean(*[48] * 5),
    "ds_64x1": separable_with_mean(*[64] * 2),
    "ds_64x4": separable_with_mean(*[64] * 5),
    "ds_64x4_s1": separable_with_mean(*[64] * 5, stride=(2, 1)),
    "ds_96x4": separable_with_mean(*[96] * 5),
    "ds_128x5": separable_with_mean(*[128] * 6),
}
_ANOMALY: dict[str, Graph] = {
    "MicroNet-AD-L": anomaly_network(276, _chain("248@2 276 276 248@2 248@2")),
    "MicroNet-AD-M": anomaly_network(192, _chain("276@2 276 276 276@2 276@2")),
    "MicroNet-AD-S": anomaly_network(72, _chain("164@2 220 276@2 276@2")),
}
_VISUAL: dict[str, Graph] = {
    "MicroNet-VWW-2": visual_network(50, 12, _VISUAL_2),
    "MicroNet-VWW-3": visual_network(128, 9, _VISUAL_3),
    "MicroNet-VWW-4": visual_network(128, 8, _VISUAL_4),
    "mn_a35_48": mobilenet_with_mean(0.35, 48),
    "mn_a35_96": mobilenet_with_mean(0.35, 96),
    "mn_a50_48_t3": mobilenet_with_mean(0.5, 48, 3),
    "mn_a50_64_t4": mobilenet_with_mean(0.5, 64, 4),
    "mn_a75_64": mobilenet_with_mean(0.75, 64),
    "mn_a100_48": mobilenet_with_mean(1.0, 48),
}

NETWORKS: dict[str, Published] = {
    **{name: Published("kws", graph) for name, graph in _KEYWORDS.items()},
    **{name: Published("ad", graph) for name, graph in _ANOMALY.items()},
    **{name: Published("vww", graph) for name, graph in _VISUAL.items()},
    "TFLM person detection": Published("mobilenet_v1", person_detection()),
    "MLPerf-VWW": Published("mobilenet_v1", mlperf_visual()),
    "MLPerf-IC": Published("resnet", mlperf_images()),
    "MLPerf-AD": Published("autoencoder", mlperf_anomaly()),
    "MLPerf-SWW": Published("streaming", mlperf_streaming()),
}
"""Published networks of known architecture."""

GRAPHS: dict[str, Graph] = {name: network.graph for name, network in NETWORKS.items()}

NOT_REBUILT: dict[str, str] = {
    "MicroNet-VWW-1": "its architecture is published as a picture alone",
    "MBNETV2-M": "its architecture is not published",
    "MBNETV2-S": "its architecture is not published",
    "FC-AE": "operations and file size are MLPerf-AD's, but its latencies are whole milliseconds",
}
"""Networks of ``published_latencies.csv`` without a graph, and why."""


def _census() -> dict[str, Measured]:
    path = resources.folder("latency_models") / "census_networks.csv"
    with path.open(newline="") as file:
        return {
            row.pop("network"): Measured(**{key: int(value) for key, value in row.items()})
            for row in csv.DictReader(file)
        }


CENSUS = _census()
"""The networks whose file was run, by name; none of them is in a fit of instructions."""
