"""Layers of torch.nn, each inside a small network.

Of the classes that torch.nn exports those are left out that are losses, containers, bases, lazy, of
volumes (3d) or draw random numbers when they run; of what remains, by name, every second one.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo.entry import Entry

_MAPS, _SEQUENCES, _TOKENS, _FEATURES, _INDICES = (3, 16, 16), (8, 24), (12, 8), (16,), (10,)


class _Within(nn.Module):
    """A layer behind a first one; its result (the first, of several) goes into a classifier."""

    def __init__(self, stem: nn.Module, layer: nn.Module, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.stem, self.layer, self.run = stem, layer, run
        self.head = nn.LazyLinear(5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.run(self.layer, self.stem(x))
        y = y[0] if isinstance(y, tuple) else y
        return self.head(y.flatten(1))


def _plain(layer: nn.Module, y: Tensor) -> Any:
    return layer(y)


def _twice(layer: nn.Module, y: Tensor) -> Any:
    return layer(y, y.flip(1))


def _self(layer: nn.Module, y: Tensor) -> Any:
    return layer(y, y, y)


def _unpooled(layer: nn.Module, y: Tensor) -> Any:
    return layer(*nn.functional.max_pool2d(y, 2, return_indices=True))


def _stem(shape: tuple[int, ...]) -> nn.Module:
    return {
        _MAPS: nn.Conv2d(3, 8, 3, 2, 1),
        _SEQUENCES: nn.Conv1d(8, 8, 3, padding=1),
        _TOKENS: nn.Linear(8, 8),
        _FEATURES: nn.Linear(16, 8),
        _INDICES: nn.Identity(),
    }[shape]


_Case = tuple[tuple[int, ...], Callable[[], nn.Module], Callable[..., Any]]


def _maps(make: Callable[[], nn.Module], run: Callable[..., Any] = _plain) -> _Case:
    return _MAPS, make, run


def _sequences(make: Callable[[], nn.Module], run: Callable[..., Any] = _plain) -> _Case:
    return _SEQUENCES, make, run


def _tokens(make: Callable[[], nn.Module], run: Callable[..., Any] = _plain) -> _Case:
    return _TOKENS, make, run


def _features(make: Callable[[], nn.Module], run: Callable[..., Any] = _plain) -> _Case:
    return _FEATURES, make, run


def _indices(make: Callable[[], nn.Module], run: Callable[..., Any] = _plain) -> _Case:
    return _INDICES, make, run


CASES: Mapping[str, _Case] = {
    "AdaptiveAvgPool1d": _sequences(lambda: nn.AdaptiveAvgPool1d(5)),
    "AdaptiveMaxPool1d": _sequences(lambda: nn.AdaptiveMaxPool1d(5)),
    "AlphaDropout": _features(nn.AlphaDropout),
    "AvgPool2d": _maps(lambda: nn.AvgPool2d(3, 2, 1)),
    "BatchNorm2d": _maps(lambda: nn.BatchNorm2d(8)),
    "CELU": _features(nn.CELU),
    "CircularPad1d": _sequences(lambda: nn.CircularPad1d(3)),
    "ConstantPad1d": _sequences(lambda: nn.ConstantPad1d(2, 0.5)),
    "Conv1d": _sequences(lambda: nn.Conv1d(8, 12, 5, 2, 4, dilation=2, groups=4)),
    "ConvTranspose1d": _sequences(lambda: nn.ConvTranspose1d(8, 8, 4, 2, 1)),
    "CosineSimilarity": _tokens(lambda: nn.CosineSimilarity(2), _twice),
    "Dropout": _features(nn.Dropout),
    "Dropout2d": _maps(nn.Dropout2d),
    "Embedding": _indices(lambda: nn.Embedding(30, 8)),
    "FeatureAlphaDropout": _maps(nn.FeatureAlphaDropout),
    "Fold": _sequences(lambda: nn.Fold((5, 9), (2, 4), stride=1)),
    "GLU": _maps(lambda: nn.GLU(1)),
    "GRUCell": _features(lambda: nn.GRUCell(8, 6)),
    "Hardshrink": _features(nn.Hardshrink),
    "Hardswish": _maps(nn.Hardswish),
    "Identity": _features(nn.Identity),
    "InstanceNorm2d": _maps(lambda: nn.InstanceNorm2d(8, affine=True)),
    "LPPool2d": _maps(lambda: nn.LPPool2d(2, 3, 2)),
    "LSTMCell": _features(lambda: nn.LSTMCell(8, 6)),
    "LeakyReLU": _maps(nn.LeakyReLU),
    "LocalResponseNorm": _maps(lambda: nn.LocalResponseNorm(3)),
    "LogSoftmax": _features(lambda: nn.LogSoftmax(1)),
    "MaxPool2d": _maps(lambda: nn.MaxPool2d(3, 2, 1)),
    "MaxUnpool2d": _maps(lambda: nn.MaxUnpool2d(2), _unpooled),
    "MultiheadAttention": _tokens(lambda: nn.MultiheadAttention(8, 2, batch_first=True), _self),
    "PairwiseDistance": _tokens(nn.PairwiseDistance, _twice),
    "PixelUnshuffle": _maps(lambda: nn.PixelUnshuffle(2)),
    "RNN": _tokens(lambda: nn.RNN(8, 6, batch_first=True)),
    "ReLU": _maps(nn.ReLU),
    "ReflectionPad1d": _sequences(lambda: nn.ReflectionPad1d(3)),
    "ReplicationPad1d": _sequences(lambda: nn.ReplicationPad1d(3)),
    "SELU": _features(nn.SELU),
    "Sigmoid": _maps(nn.Sigmoid),
    "Softmax2d": _maps(nn.Softmax2d),
    "Softplus": _features(nn.Softplus),
    "Softsign": _features(nn.Softsign),
    "Tanh": _maps(nn.Tanh),
    "Threshold": _maps(lambda: nn.Threshold(0.1, -0.2)),
    "TransformerDecoder": _tokens(
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2),
        _twice,
    ),
    "TransformerEncoder": _tokens(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    ),
    "Unflatten": _features(lambda: nn.Unflatten(1, (2, 4))),
    "Upsample": _maps(lambda: nn.Upsample(scale_factor=2, mode="bicubic")),
    "UpsamplingNearest2d": _maps(lambda: nn.UpsamplingNearest2d(scale_factor=2)),
    "ZeroPad2d": _maps(lambda: nn.ZeroPad2d((1, 0, 2, -1))),
}


def _build(case: _Case) -> nn.Module:
    shape, make, run = case
    module = _Within(_stem(shape), make(), run).eval()
    kind = torch.int64 if shape == _INDICES else torch.float32
    module(torch.zeros(1, *shape, dtype=kind))  # gives the classifier its size
    return module


ENTRIES = [
    Entry(
        f"layer/{name}",
        partial(_build, case),
        (case[0],),
        vocabulary=30 if case[0] == _INDICES else 0,
    )
    for name, case in CASES.items()
]
