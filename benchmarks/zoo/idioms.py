"""Small networks as people write them by habit, each around one idiom of ordinary PyTorch."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo import forwards
from benchmarks.zoo.entry import Entry, Shape

_SOUND, _SERIES, _IMAGE, _TEXT, _TOKENS = (1, 49, 10), (20, 6), (3, 32, 32), (12,), (16, 24)


class _Written(nn.Module):
    """A function of inputs, and of layers by name."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run, self.n = forward, nn.ModuleDict(layers)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self.n, *inputs)


_Case = tuple[Callable[..., Any], Callable[[], dict[str, nn.Module]], tuple[Shape, ...], int]
CASES: Mapping[str, _Case] = {
    "gru cells in a loop": (
        forwards.loop_of_cells,
        lambda: {"cell": nn.GRUCell(6, 12), "head": nn.Linear(12, 3)},
        (_SERIES,),
        0,
    ),
    "lstm cells in a loop": (
        forwards.lstm_cells,
        lambda: {"cell": nn.LSTMCell(6, 12), "head": nn.Linear(12, 3)},
        (_SERIES,),
        0,
    ),
    "last states of both directions": (
        forwards.both_ends,
        lambda: {
            "lstm": nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True),
            "head": nn.Linear(16, 3),
        },
        (_SERIES,),
        0,
    ),
    "states in and out": (
        forwards.streaming,
        lambda: {"lstm": nn.LSTM(6, 8, batch_first=True), "head": nn.Linear(8, 3)},
        ((4, 6), (1, 8), (1, 8)),
        0,
    ),
    "words, masked mean": (
        forwards.masked_mean,
        lambda: {"embed": nn.Embedding(30, 8, padding_idx=0), "head": nn.Linear(8, 2)},
        (_TEXT,),
        30,
    ),
    "words, convolution": (
        forwards.words,
        lambda: {
            "embed": nn.Embedding(30, 8),
            "conv": nn.Conv1d(8, 12, 3),
            "head": nn.Linear(12, 2),
        },
        (_TEXT,),
        30,
    ),
    "words, gru": (
        forwards.gru_text,
        lambda: {
            "embed": nn.Embedding(30, 8),
            "gru": nn.GRU(8, 10, 2, batch_first=True),
            "head": nn.Linear(10, 2),
        },
        (_TEXT,),
        30,
    ),
    "masked with minus infinity": (
        forwards.causal,
        lambda: {"qkv": nn.Linear(24, 72), "head": nn.Linear(24, 24)},
        (_TOKENS,),
        0,
    ),
    "decoder of tokens": (
        forwards.gpt,
        lambda: {
            "tokens": nn.Embedding(30, 16),
            "places": nn.Embedding(12, 16),
            "norm": nn.LayerNorm(16),
            "qkv": nn.Linear(16, 48),
            "head": nn.Linear(16, 30),
        },
        (_TEXT,),
        30,
    ),
    "attention pooling": (
        forwards.attention_pool,
        lambda: {"lift": nn.Linear(24, 16), "score": nn.Linear(16, 1), "head": nn.Linear(24, 4)},
        (_TOKENS,),
        0,
    ),
    "statistics pooling": (
        forwards.statistics,
        lambda: {"conv": nn.Conv1d(6, 12, 5), "head": nn.Linear(24, 4)},
        (_SERIES,),
        0,
    ),
    "reversible instance norm": (forwards.revin, lambda: {"mix": nn.Linear(20, 20)}, (_SERIES,), 0),
    "chomped": (
        forwards.chomp,
        lambda: {
            "one": nn.Conv1d(6, 12, 3, padding=2),
            "two": nn.Conv1d(12, 12, 3, padding=4, dilation=2),
            "head": nn.Linear(12, 3),
        },
        (_SERIES,),
        0,
    ),
    "gated and skipped": (
        forwards.wavenet,
        lambda: {
            "in": nn.Conv1d(6, 8, 1),
            **{k: nn.Conv1d(8, 16, 2, dilation=d) for k, d in (("a", 1), ("b", 2), ("c", 4))},
            "head": nn.Linear(8, 3),
        },
        (_SERIES,),
        0,
    ),
    "filter bank": (
        forwards.frames,
        lambda: {"bank": nn.Conv1d(1, 8, 32, 16, bias=False), "head": nn.LazyLinear(4)},
        (_SOUND,),
        0,
    ),
    "greedy decoding": (
        forwards.greedy,
        lambda: {
            "net": nn.Sequential(nn.Conv1d(6, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 9, 1))
        },
        (_SERIES,),
        0,
    ),
    "crnn": (
        forwards.crnn,
        lambda: {
            "conv": nn.Sequential(forwards.conv(1, 8, 2), forwards.conv(8, 8, 2)),
            "gru": nn.GRU(104, 12, bidirectional=True, batch_first=True),
            "head": nn.Linear(24, 11),
        },
        (_SOUND,),
        0,
    ),
    "u-net": (
        forwards.unet,
        lambda: {
            "down1": forwards.conv(3, 8),
            "down2": forwards.conv(8, 16),
            "up": nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1),
            "out": nn.Conv2d(16, 2, 1),
        },
        (_IMAGE,),
        0,
    ),
    "squeeze and excite": (
        forwards.squeeze,
        lambda: {
            "conv": forwards.conv(3, 16, 2),
            "fc": nn.Sequential(
                nn.Linear(16, 4, bias=False), nn.ReLU(), nn.Linear(4, 16, bias=False), nn.Sigmoid()
            ),
            "head": nn.Linear(16, 5),
        },
        (_IMAGE,),
        0,
    ),
    "spatial gate": (
        forwards.cbam,
        lambda: {
            "conv": forwards.conv(3, 16, 2),
            "gate": nn.Conv2d(2, 1, 7, padding=3),
            "head": nn.Linear(16, 5),
        },
        (_IMAGE,),
        0,
    ),
    "channel gate": (
        forwards.eca,
        lambda: {
            "conv": forwards.conv(3, 16, 2),
            "gate": nn.Conv1d(1, 1, 3, padding=1, bias=False),
            "head": nn.Linear(16, 5),
        },
        (_IMAGE,),
        0,
    ),
    "coordinate gate": (
        forwards.coordinates,
        lambda: {
            "conv": forwards.conv(3, 16, 2),
            "mix": nn.Conv2d(16, 16, 1),
            "head": nn.Linear(16, 5),
        },
        (_IMAGE,),
        0,
    ),
    "pyramid": (
        forwards.pyramid,
        lambda: {
            "one": forwards.conv(3, 8, 2),
            "two": forwards.conv(8, 12, 2),
            "three": forwards.conv(12, 16, 2),
            "a": nn.Conv2d(8, 8, 1),
            "b": nn.Conv2d(12, 8, 1),
            "c": nn.Conv2d(16, 8, 1),
        },
        (_IMAGE,),
        0,
    ),
    "spatial pyramid pooling": (
        forwards.spp,
        lambda: {"conv": forwards.conv(3, 8, 2), "head": nn.Linear(112, 5)},
        (_IMAGE,),
        0,
    ),
    "yolo head": (
        forwards.yolo,
        lambda: {
            "conv": nn.Sequential(
                forwards.conv(3, 8, 2), forwards.conv(8, 16, 2), forwards.conv(16, 16, 2)
            ),
            "head": nn.Conv2d(16, 14, 1),
        },
        (_IMAGE,),
        0,
    ),
    "soft argmax": (
        forwards.keypoints,
        lambda: {"conv": forwards.conv(3, 16, 4), "head": nn.Conv2d(16, 5, 1)},
        (_IMAGE,),
        0,
    ),
    "mean and deviation": (
        forwards.vae,
        lambda: {
            "enc": nn.Sequential(forwards.conv(3, 8, 4), forwards.conv(8, 8, 4)),
            "mean": nn.Linear(32, 6),
            "var": nn.Linear(32, 6),
        },
        (_IMAGE,),
        0,
    ),
    "two towers": (
        forwards.siamese,
        lambda: {"net": nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 16))},
        ((24,), (24,)),
        0,
    ),
    "squared distances": (
        forwards.prototypes,
        lambda: {"net": nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 32))},
        ((24,),),
        0,
    ),
    "distances": (
        forwards.distances,
        lambda: {"net": nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 32))},
        ((24,),),
        0,
    ),
    "experts": (
        forwards.experts,
        lambda: {"gate": nn.Linear(24, 3), **{k: nn.Linear(24, 6) for k in "abc"}},
        ((24,),),
        0,
    ),
    "largest and its class": (
        forwards.top,
        lambda: {"conv": forwards.conv(3, 16, 2), "head": nn.Linear(16, 5)},
        (_IMAGE,),
        0,
    ),
    "class token": (
        forwards.class_token,
        lambda: {
            "patch": nn.Conv2d(3, 16, 8, 8),
            "token": nn.Embedding(1, 16),
            "layer": nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True),
            "head": nn.Linear(16, 5),
        },
        (_IMAGE,),
        0,
    ),
    "super resolution": (
        forwards.super_resolution,
        lambda: {"net": nn.Sequential(forwards.conv(3, 8), nn.Conv2d(8, 12, 3, padding=1))},
        (_IMAGE,),
        0,
    ),
    "blurred pooling": (
        forwards.blur,
        lambda: {"conv": forwards.conv(3, 8, 2), "head": nn.Linear(8, 5)},
        (_IMAGE,),
        0,
    ),
    "scaled to its range": (
        forwards.standardised,
        lambda: {"conv": forwards.conv(3, 16, 2), "head": nn.Linear(16, 5)},
        (_IMAGE,),
        0,
    ),
    "linear attention": (forwards.memory, lambda: {"qkv": nn.Linear(24, 36)}, (_TOKENS,), 0),
    "residuals to centres": (
        forwards.vlad,
        lambda: {"assign": nn.Linear(24, 4), "centres": nn.Embedding(4, 24)},
        (_TOKENS,),
        0,
    ),
    "error of an autoencoder": (
        forwards.anomaly,
        lambda: {"net": nn.Sequential(nn.Linear(120, 32), nn.ReLU(), nn.Linear(32, 120))},
        (_SERIES,),
        0,
    ),
}


def _build(case: _Case) -> nn.Module:
    forward, layers, shapes, vocabulary = case
    module = _Written(forward, **layers()).eval()
    kind = torch.int64 if vocabulary else torch.float32
    module(*(torch.zeros(1, *shape, dtype=kind) for shape in shapes))  # gives sizes to lazy layers
    return module


ENTRIES = [
    Entry(f"idiom/{name}", partial(_build, case), case[2], vocabulary=case[3])
    for name, case in CASES.items()
]
