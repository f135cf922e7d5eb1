"""Compare float with int8 layer by layer: which layer loses the accuracy, and in which channel."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from micronas.errors import ModelError
from micronas.graph import integer
from micronas.graph.batches import keeps_examples
from micronas.graph.interface import Given
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.operators import LEARNING, OPERATORS, WEIGHTED
from micronas.graph.requantize import requantized
from micronas.text import finite, percent, table
from micronas.train.convolutions import linear
from micronas.train.network import (
    from_tflite,
    interpret_outputs,
    recurrent_ops,
    weighted_ops,
    weights_of,
)
from micronas.train.operators import nchw, nhwc
from micronas.train.post_training import ratio_db
from micronas.train.recurrent import GATES, lstm

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Noise:
    """Signal-to-quantisation-noise ratios in dB: 10 log10(sum x^2 / sum (x - int8)^2)."""

    sqnr_db: float
    """Ratio over all values; inf where nothing differs."""
    median_channel_db: float
    """Ratio of the median channel, which a few channels of large values cannot hide."""
    worst_channel: int | None
    """Index of the channel with the lowest ratio; None if all channels are zero."""
    worst_channel_db: float


@dataclass(frozen=True)
class LayerError:
    """Error that quantisation adds to the output of one operator."""

    name: str
    kind: Kind
    cumulative: _Noise
    """Noise against the float network run on its own: errors of all layers before add up."""
    local: _Noise
    """Noise against the float operator fed with the int8 values this layer reads: its own share."""
    saturated: float
    """Share of the float network's values that lie outside what the int8 tensor can hold."""


def compare(
    float_graph: Graph, int8_graph: Graph, inputs: Given[npt.NDArray[np.int8]]
) -> list[LayerError]:
    """Compare a float network with its int8 form on the same inputs, in execution order.

    Parameters
    ----------
    float_graph
        Graph with float32 weights and biases, see `dequantized`; operators as in `int8_graph`.
    inputs
        int8 [N, height, width, channels], or [N, features]; a tuple of several inputs, or a mapping
        by name.

    Raises
    ------
    ModelError
        If the two are not the same network, or the float interpreter cannot run an operator.
    """
    float_graph = requantized(float_graph)
    if _outline(float_graph) != _outline(int8_graph):
        raise ModelError(
            "a float network must have the operators and shapes of the int8 one, but these two "
            f"({len(float_graph.ops)} and {len(int8_graph.ops)} operators) differ; "
            "compare a model with the network it was exported from"
        )
    codes = integer.run_all(int8_graph, inputs)
    _check_float(float_graph)
    restored = {name: _real(int8_graph, name, values) for name, values in codes.items()}
    alone = _run(float_graph, restored, int8_graph.inputs)
    fed = _run(float_graph, restored, tuple(restored))
    return [
        LayerError(
            op.name,
            op.kind,
            _noise(alone[op.outputs[0]], restored[op.outputs[0]]),
            _noise(fed[op.outputs[0]], restored[op.outputs[0]]),
            _saturated(int8_graph, op.outputs[0], alone[op.outputs[0]]),
        )
        for op in int8_graph.ops
        if op.kind != "UNKNOWN"  # never, since all have run
    ]


def culprit(errors: Sequence[LayerError]) -> LayerError | None:
    """Return the layer that adds most noise by itself, over all values or in its median channel.

    The first shows values cut off, the second small channels that one large channel coarsens.
    Operators of fixed scale (softmax, sigmoid) do not count. None if no layer adds noise.
    """
    noisy = [
        error
        for error in errors
        if OPERATORS[error.kind].scale != "fixed" and _lowest(error.local) < math.inf
    ]
    return min(noisy, key=lambda error: _lowest(error.local), default=None)


def dequantized(graph: Graph) -> Graph:
    """Return an int8 graph with its weights and biases as the float32 numbers they stand for."""
    real: dict[str, _Floats] = {}
    for op in weighted_ops(graph):
        weights = graph.constant_of(op)
        scales = _scale(graph, weights.name)
        shape = [1] * len(weights.shape)
        shape[weights_of(op).axis] = len(scales)
        factors = (scales.reshape(shape), _scale(graph, op.inputs[0]) * scales)
        for name, factor in zip(op.learnt, factors, strict=False):
            real[name] = factor * _codes(graph, name)
    for name in {name for op in recurrent_ops(graph) for name in op.learnt}:
        real[name] = _scale(graph, name) * _codes(graph, name)
    for name in {name for op in graph.ops for name in op.operands}:
        if graph.tensors[name].data is not None:
            real[name] = _real(graph, name, _codes(graph, name))
    tensors = dict(graph.tensors)
    for name, values in real.items():
        data = values.astype(np.float32)
        tensors[name] = replace(tensors[name], dtype="float32", quantization=None, data=data)
    return replace(graph, tensors=tensors)


def _codes(graph: Graph, name: str) -> _Floats:
    data = graph.tensors[name].data
    assert data is not None, f"{name}: integer execution takes constants with data"
    return data.astype(np.float32)


def _outline(graph: Graph) -> tuple[object, ...]:
    ops = [(op.kind, op.operands, op.outputs) for op in graph.ops]
    return ops, {tensor.name: tensor.shape for tensor in graph.tensors.values()}


def _check_float(graph: Graph) -> None:
    """Refuse operators that integer execution takes and the float interpreter does not."""
    for op in graph.ops:
        if op.kind == "TABLE" and not op.function:
            raise ModelError(
                f"layers can be compared where tables name their function, but {op.name!r} has "
                "none, as read from a file; pass the graph it was exported from"
            )
        if not keeps_examples(graph, op):
            source, output = graph.input_of(op), graph.output_of(op)
            raise ModelError(
                "layers can be compared where operators leave dimension 0 alone, as one example's, "
                f"but {op.kind} {op.name!r} goes from {source.shape} to {output.shape} in another "
                "way; verify the model without --layers"
            )


def _run(graph: Graph, restored: dict[str, _Floats], replaced: Sequence[str]) -> dict[str, _Floats]:
    """Return all activations of the float network; readers of `replaced` ones get int8 values."""
    seen: dict[str, _Floats] = {}
    weights = {
        op.name: [_constant(graph, op, position) for position in range(1, 1 + len(op.learnt))]
        for op in graph.ops
        if op.kind in LEARNING
    }

    def weighted(op: Op, x: Tensor) -> Tensor:
        if op.kind not in WEIGHTED:
            chunks = (weights[op.name][place : place + GATES] for place in range(0, 12, GATES))
            return lstm(x, *(torch.cat(chunk) for chunk in chunks))
        weight, *bias = weights[op.name]
        return linear(op, x, weight, bias[0] if bias else None)

    def after(name: str, value: Tensor) -> Tensor:
        seen[name] = nhwc(value).numpy()
        return nchw(torch.tensor(restored[name])) if name in replaced else value

    with torch.inference_mode():
        given = {name: nchw(torch.tensor(restored[name])) for name in graph.inputs}
        interpret_outputs(graph, given, weighted, after)
    return seen


def _constant(graph: Graph, op: Op, position: int) -> Tensor:
    data = graph.constant_of(op, position).data
    if data is None:
        raise ModelError(
            f"a float network must have its weights to be compared, but {op.name!r} has none; "
            "pass the graph of a trained network"
        )
    return from_tflite(op, data) if position == 1 else torch.tensor(data)


def _scale(graph: Graph, name: str) -> _Floats:
    quantization = graph.tensors[name].quantization
    assert quantization is not None, f"{name}: integer execution takes quantised tensors"
    return quantization.scale


def _zero_point(graph: Graph, name: str) -> int:
    quantization = graph.tensors[name].quantization
    return quantization.zero_point if quantization else 0


def _real(graph: Graph, name: str, codes: npt.NDArray[Any]) -> _Floats:
    values: _Floats = _scale(graph, name) * (codes.astype(np.float32) - _zero_point(graph, name))
    return values


def _saturated(graph: Graph, name: str, values: _Floats) -> float:
    codes = values / _scale(graph, name) + _zero_point(graph, name)
    return float(((codes < -128.5) | (codes > 127.5)).mean())


def _lowest(noise: _Noise) -> float:
    return min(noise.sqnr_db, noise.median_channel_db)


def _noise(exact: _Floats, restored: _Floats) -> _Noise:
    signal = exact.reshape(-1, exact.shape[-1]).astype(np.float64)
    noise = signal - restored.reshape(signal.shape)
    powers, losses = (signal**2).sum(axis=0), (noise**2).sum(axis=0)
    ratios = np.array([ratio_db(*pair) for pair in zip(powers, losses, strict=True)])
    nonzero = np.flatnonzero(powers)  # a channel of zeros has no ratio
    worst = int(nonzero[ratios[nonzero].argmin()]) if len(nonzero) else None
    return _Noise(
        ratio_db(powers.sum(), losses.sum()),
        float(np.sort(ratios[nonzero])[(len(nonzero) - 1) // 2]) if len(nonzero) else math.inf,
        worst,
        math.inf if worst is None else float(ratios[worst]),
    )


def layers_view(errors: Sequence[LayerError], *, reference: str, samples: int) -> dict[str, Any]:
    """Return what ``micronas verify --layers --json`` prints; null stands for infinite."""
    worst = culprit(errors)
    return {
        "reference": reference,
        "samples": samples,
        "culprit": worst.name if worst else None,
        "layers": [finite(asdict(error)) for error in errors],
    }


def layers_table(errors: Sequence[LayerError], *, width: int | None = None) -> str:
    """Return the table of each layer's signal-to-noise ratios, with a mark at the culprit.

    `width` is the most columns of text that it may take.
    """
    worst = culprit(errors)
    rows = [
        [
            error.name,
            error.kind,
            _cell(error.cumulative.sqnr_db),
            _cell(error.local.sqnr_db),
            _cell(error.local.median_channel_db),
            _cell(error.local.worst_channel_db),
            "-" if error.local.worst_channel is None else str(error.local.worst_channel),
            percent(error.saturated),
            "<-" if error is worst else "",
        ]
        for error in errors
    ]
    header = ["layer", "op", "so far", "here", "median channel", "worst", "channel", "saturated"]
    drop = ("channel", "worst", "median channel", "op")
    return table([*header, ""], rows, width=width, drop=drop)


def _cell(ratio: float) -> str:
    return f"{ratio:.1f} dB" if math.isfinite(ratio) else "exact" if ratio > 0 else "lost"
