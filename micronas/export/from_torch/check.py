"""Compare an int8 network with its float network on examples."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from micronas.arrays import Floats
from micronas.errors import ExportError
from micronas.graph import integer
from micronas.graph.interface import Given
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import scale, zero_point
from micronas.train.codes import quantize_all_inputs
from micronas.train.inputs import by_input
from micronas.train.post_training import sqnr_db
from micronas.train.quantize import QuantizedNetwork, float_outputs

Labelled = Iterable[tuple[Given[Tensor], Tensor | None]]
"""Batches of inputs and labels, as from a loader; None where there are no labels."""


@dataclass(frozen=True)
class _Check:
    """Comparison of an int8 network, bit for bit as on the device, with float."""

    examples: int
    sqnr_db: float
    """Signal-to-quantisation-noise ratio of the first output."""
    float_accuracy: float | None
    """Share of labels with the largest score; None without labels."""
    int8_accuracy: float | None
    """Likewise in integers, whose activations have `bits`."""
    bits: int = 8

    def __str__(self) -> str:
        text = f"{self.sqnr_db:.1f} dB on {self.examples} examples"
        if self.float_accuracy is None or self.int8_accuracy is None:
            return text
        return f"float {self.float_accuracy:.2%}, int{self.bits} {self.int8_accuracy:.2%}, {text}"


class Exported(bytes):
    """Contents of a ``.tflite`` file, with a comparison with float if requested."""

    check: _Check | None = None


def compare(graph: Graph, reference: QuantizedNetwork, data: Labelled) -> _Check:
    """Run examples in the device's integers and in float32, with `reference`, and compare outputs.

    Raises ExportError if a batch is no pair, or labels are not classes of the first output, and
    MicronasError if inputs are not those of the network.
    """
    wanted: list[Floats] = []
    got: list[Floats] = []
    right: list[tuple[float, float]] = []
    if not isinstance(data, Iterable):
        raise ExportError(
            f"data of a check must be batches, but is {type(data).__name__}; pass a loader"
        )
    for pair in data:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ExportError(
                "batches to check on must be pairs of inputs and labels, but one is "
                f"{type(pair).__name__}; pass a loader, or [(inputs, None)] without labels"
            )
        inputs = by_input(reference.float_graph, pair[0])
        exact = next(iter(float_outputs(reference, inputs).values())).numpy().astype(np.float64)
        rounded = next(iter(int8_outputs(graph, inputs).values())).reshape(exact.shape)
        wanted.append(exact)
        got.append(rounded)
        if pair[1] is not None:
            right.append((_right(exact, pair[1]), _right(rounded, pair[1])))
    if not wanted:
        raise ExportError("a check needs at least one batch: batches=0")
    total = sum(map(len, wanted))
    shares: tuple[Any, Any] = (None, None)
    if len(right) == len(wanted):
        float_right, int8_right = map(sum, zip(*right, strict=True))
        shares = float_right / total, int8_right / total
    ratio = sqnr_db(np.concatenate(wanted), np.concatenate(got))
    is_wide = graph.tensors[graph.inputs[0]].dtype == "int16"
    return _Check(total, ratio, *shares, bits=16 if is_wide else 8)


def int8_outputs(graph: Graph, inputs: Given[Tensor]) -> dict[str, Floats]:
    """Compute the outputs of an int8 graph by name, as real numbers.

    Inputs are those of `quantize_all_inputs`; maps are [N, channels, height, width].
    """
    found = {}
    for name, codes in integer.run_outputs(graph, quantize_all_inputs(graph, inputs)).items():
        output = graph.tensors[name]
        real = (codes.astype(np.float64) - zero_point(output)) * scale(output)
        found[name] = np.moveaxis(real, -1, 1) if real.ndim == 4 else real
    return found


def _right(scores: Floats, labels: Tensor) -> float:
    """Return the number of examples whose label has the largest score, on maps by position."""
    wanted = (len(scores), *scores.shape[2:])
    classes = scores.shape[1] if scores.ndim > 1 else 1
    is_whole = isinstance(labels, Tensor) and not labels.is_floating_point()
    if not is_whole or tuple(labels.shape) != wanted or classes < 2:
        is_tensor = isinstance(labels, Tensor)
        shape = f"{labels.dtype} {list(labels.shape)}" if is_tensor else type(labels).__name__
        raise ExportError(
            f"labels must be whole numbers {list(wanted)} of 2 or more classes, but are {shape} "
            f"where the first output has {classes}; pass None in their place to compare outputs"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ExportError(
            f"labels must be 0 to {classes - 1}, as the first output has {classes} classes, but "
            f"are {int(labels.min())} to {int(labels.max())}; number them from 0"
        )
    return float((scores.argmax(1) == labels.numpy()).reshape(len(scores), -1).mean(1).sum())
