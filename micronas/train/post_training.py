"""Improve a network before and after it is rounded to int8, without training.

Cross-layer equalisation and bias correction follow Nagel et al. 2019 (arXiv 1906.04721). Weights of
convolutions have a scale per output channel here, so equalisation serves activations, which have
one scale in all: their ranges are taken from data.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from micronas.errors import MicronasError
from micronas.graph.interface import Given, by_name
from micronas.graph.ir import Graph, Op
from micronas.graph.operators import WEIGHTED
from micronas.train.calibration import EXAMPLES, Method
from micronas.train.clamps import HIDES, hidden
from micronas.train.convolutions import linear
from micronas.train.fake_quantize import LinearScales
from micronas.train.inputs import examples_of, in_parts
from micronas.train.network import interpret_outputs
from micronas.train.operators import nhwc
from micronas.train.quantize import LayerBits, QuantizedNetwork, float_outputs
from micronas.train.scaling import Pair, scalable_pairs, shares_of_columns, with_factors

_METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse")
_HELD = 2**24
"""Most elements of the largest activation to correct biases by."""
_CLEAN_DB = 60.0
"""Ratio from which signals count as equal: more than that of int8 itself."""
_SMALLEST = 1e-3
"""Part of the largest channel below which others are not enlarged further: they may be dead."""


class Loss(NamedTuple):
    """Operator in which rounding costs most, with ratios of signal to noise in dB.

    Those of its operand and output are means over channels: otherwise large channels of one scale
    would hide that small ones are lost.
    """

    name: str
    before_db: float
    """Ratio of the worst operand."""
    after_db: float
    """Ratio of the operator's output."""
    outputs_db: float
    """Ratio of the network's worst output."""


def sqnr_db(wanted: npt.ArrayLike, got: npt.ArrayLike) -> float:
    """Return the signal-to-quantisation-noise ratio: 10 log10(sum x^2 / sum (x - got)^2)."""
    signal, other = np.asarray(wanted, np.float64), np.asarray(got, np.float64)
    return ratio_db((signal**2).sum(), ((signal - other) ** 2).sum())


def ratio_db(power: float, noise: float) -> float:
    """Return 10 log10(power / noise); inf without noise, else -inf without power."""
    if noise == 0 or power == 0:
        return math.inf if noise == 0 else -math.inf
    return 10 * math.log10(power / noise)


@torch.no_grad()
def equalised(graph: Graph, batches: Iterable[Given[Tensor]]) -> Graph:
    """Return an equivalent float32 graph with channels of more equal ranges.

    Where only operators with weights read an operator's output, directly or through pools and the
    like, a channel can be divided by any factor by which their weights are multiplied. The factor
    is the root of the channel's range over its share in those weights, so that both are as equal as
    possible; it is the range where the weights are depthwise, whose scales are per channel. The
    graph has the data of weights and biases; batches are those of `QuantizedNetwork.calibrate`.
    Raises MicronasError if there is none.
    """
    pairs = scalable_pairs(graph)
    wanted = {pair.source.outputs[0] for pair in pairs}
    found: dict[str, Tensor] = {}

    def see(name: str, value: Tensor) -> Tensor:
        if name in wanted:
            channels = _by_channel(value).abs().amax(0)
            found[name] = channels.maximum(found.get(name, channels))
        return value

    network = QuantizedNetwork(graph)
    for batch in batches:
        interpret_outputs(network.float_graph, batch, network.exact, see)
    if pairs and not found:
        raise MicronasError("equalisation needs at least one batch of inputs: batches=0")
    factors = {pair: _factors(graph, pair, found[pair.source.outputs[0]].numpy()) for pair in pairs}
    for pair, values in factors.items():
        graph = with_factors(graph, pair, values)
    return graph


def _factors(graph: Graph, pair: Pair, ranges: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the divisor of each channel."""
    largest = float(ranges.max()) or 1.0
    sizes = np.maximum(ranges / largest, _SMALLEST).astype(np.float64)
    shares = shares_of_columns(graph, pair)
    if shares is not None:
        sizes = np.sqrt(sizes / np.maximum(shares, _SMALLEST))
    factors: npt.NDArray[np.float64] = sizes
    return factors


class _Means:
    """Function that runs operators in float32 and keeps means of channels by example."""

    def __init__(self, network: QuantizedNetwork) -> None:
        self._network = network
        self._found: dict[str, list[Tensor]] = {}

    def __call__(self, op: Op, x: Tensor) -> Tensor:
        y = self._network.exact(op, x)
        self._found.setdefault(op.name, []).append(_by_example(y))
        return y

    def of(self, op: Op) -> Tensor:
        """Return means [examples, channels] of an operator's output."""
        return torch.cat(self._found[op.name])


@torch.no_grad()
def correct_biases(
    network: QuantizedNetwork, batches: Iterable[Given[Tensor]], means: "_Means | None" = None
) -> None:
    """Move biases so that each channel of an operator with weights has its mean of float32.

    Rounding of weights and of earlier outputs shifts an output's mean; operators are corrected in
    the order they run, so that each compensates for the remainder of those before. Differences
    between examples are chance: a shift is shrunk by the share of its standard error (James and
    Stein), so that few examples, or one, do no harm. The first 128 examples of the batches count,
    or fewer where activations are large; `means` are those in float32, if already computed.
    """
    given = [by_name(network.float_graph, batch) for batch in batches]
    count = min(EXAMPLES, examples_of(network.float_graph, _HELD))
    batch = {name: torch.cat([each[name] for each in given])[:count] for name in given[0]}
    wanted = means or _Means(network)
    if means is None:
        interpret_outputs(network.float_graph, batch, wanted)

    def corrected(op: Op, x: Tensor) -> Tensor:
        y = network.weighted(op, x)
        bias = network.unit(op).bias if op.kind in WEIGHTED else None
        if bias is None:
            return y
        shift = shrunk(wanted.of(op)[: len(y)] - _by_example(y))
        bias.add_(shift)
        return y + (shift.view(-1, 1, 1) if y.ndim == 4 else shift)

    with _held(network):
        interpret_outputs(network.float_graph, batch, corrected, network.rounded)


@torch.no_grad()
def tuned(
    graph: Graph,
    batches: Sequence[Mapping[str, Tensor]],
    *,
    bits: LayerBits = 8,
    linear_scales: LinearScales = "tensor",
) -> QuantizedNetwork:
    """Return the network nearest to float among those by several ways of post-training.

    It tries channels as given and equalised, each with ranges by each method, each without and with
    corrected biases, and compares errors of the outputs on the batches. Raises MicronasError if
    there is no batch.
    """
    graphs = [graph, equalised(graph, batches)] if scalable_pairs(graph) else [graph]
    tried = [
        calibrated(
            each,
            batches,
            method=method,
            is_corrected=is_corrected,
            bits=bits,
            linear_scales=linear_scales,
        )
        for each in graphs
        for method in _METHODS
        for is_corrected in (False, True)
    ]

    exact = [float_outputs(tried[0], each) for each in batches]  # tried[0] has the given biases

    def error(network: QuantizedNetwork) -> float:
        pairs = zip(batches, exact, strict=True)
        return sum(_error(wanted, _rounded(network, each)) for each, wanted in pairs)

    return min(tried, key=error).eval()


@torch.no_grad()
def calibrated(
    graph: Graph,
    batches: Sequence[Mapping[str, Tensor]],
    *,
    method: Method,
    is_corrected: bool = True,
    bits: LayerBits = 8,
    linear_scales: LinearScales = "tensor",
) -> QuantizedNetwork:
    """Return a network with ranges by a method, and with corrected biases if `is_corrected`.

    Its weights share the graph's memory. Raises MicronasError if there is no batch, ExportError if
    an activation is not finite.
    """
    network = QuantizedNetwork(
        graph, bits=bits, ranges="average", linear_scales=linear_scales, copy=False
    )
    if not is_corrected:
        network.calibrate(batches, method=method)
        return network
    means = _Means(network)
    network.calibrate(batches, method=method, run=means)
    correct_biases(network, batches, means)
    return network


@torch.no_grad()
def largest_loss(network: QuantizedNetwork, batch: Given[Tensor]) -> Loss:
    """Return the operator that loses most of the signal on inputs.

    Each input runs twice in one pass, exactly and rounded, so that activations are freed once read.
    """
    graph, powers = network.float_graph, dict[str, _Powers]()
    hides = {op.outputs[0] for op in graph.ops if hidden(graph, op)}

    def exact(op: Op, x: Tensor) -> Tensor:
        if op.kind not in WEIGHTED or not op.biases:
            return network.exact(op, x)
        own = torch.as_tensor(np.asarray(graph.tensors[op.biases[0]].data)).to(x)
        return linear(op, x, network.unit(op).weight, own)  # the unit's bias was corrected

    def both(op: Op, x: Tensor) -> Tensor:
        first, second = x.chunk(2)
        return torch.cat((exact(op, first), network.weighted(op, second)))

    def measure(name: str, value: Tensor) -> Tensor:
        is_constant = graph.tensors[name].constant  # the same for all examples
        wanted, got = (value, value) if is_constant else value.chunk(2)
        rounded = network.rounded(name, got)
        if name in hides:
            wanted = wanted.where(wanted > HIDES, rounded)
        powers.setdefault(name, _Powers()).see(wanted, rounded)
        if value.ndim == 1:
            return rounded
        count = len(twice[graph.inputs[0]]) // 2
        return torch.cat([x.expand(count, *x.shape[1:]) for x in (wanted, rounded)])

    with _held(network):
        for part in in_parts(graph, batch):
            twice = {name: torch.cat((each, each)) for name, each in part.items()}
            interpret_outputs(graph, twice, both, measure)
    outputs = min(powers[name].whole_db for name in graph.outputs)
    losses = [
        Loss(
            op.name,
            min(powers[name].kept_db for name in op.operands),
            powers[op.outputs[0]].kept_db,
            outputs,
        )
        for op in graph.ops
    ]
    return max(losses, key=lambda loss: loss.before_db - loss.after_db)


class _Powers:
    """Sums of squares of each channel's signal, and of its noise."""

    def __init__(self) -> None:
        self._signal = self._noise = torch.zeros(1)

    def see(self, wanted: Tensor, got: Tensor) -> None:
        rows = [x.reshape(-1, x.shape[-1]) for x in map(nhwc, (wanted, got))]
        self._signal = self._signal + rows[0].norm(dim=0) ** 2
        self._noise = self._noise + (rows[0] - rows[1]).norm(dim=0) ** 2

    @property
    def whole_db(self) -> float:
        """Ratio of signal to noise."""
        return ratio_db(float(self._signal.double().sum()), float(self._noise.double().sum()))

    @property
    def kept_db(self) -> float:
        """Mean ratio of channels, each at least 0 dB."""
        has_signal = self._signal > 0
        lost = (self._noise / self._signal.clamp(min=1e-30)).clamp(max=1)[has_signal]
        share = float(lost.mean()) if len(lost) else 0.0
        return min(-10 * float(np.log10(max(share, 1e-30))), _CLEAN_DB)


def _rounded(network: QuantizedNetwork, batch: Given[Tensor]) -> dict[str, Tensor]:
    """Return outputs with rounding."""
    with _held(network):
        return interpret_outputs(network.float_graph, batch, network.weighted, network.rounded)


@contextmanager
def _held(network: QuantizedNetwork) -> Iterator[None]:
    """Keep ranges constant, which otherwise follow inputs in training mode."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def _error(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> float:
    """Return the squared error relative to the signal, the mean over outputs."""
    shares = [
        ((wanted[name] - got[name]) ** 2).sum() / (wanted[name] ** 2).sum().clamp(min=1e-30)
        for name in wanted
    ]
    return float(torch.stack(shares).mean())


def _by_example(value: Tensor) -> Tensor:
    """Return the mean of each channel of each example, [N, channels]."""
    last = nhwc(value)
    return last.reshape(len(last), -1, last.shape[-1]).mean(1)


def shrunk(shifts: Tensor) -> Tensor:
    """Return the mean [channels] of shifts [N, channels], shrunk by the share of chance."""
    mean, count = shifts.mean(0), len(shifts)
    if count < 2:
        return torch.zeros_like(mean)
    chance = shifts.var(0) / count
    return mean * (1 - chance / mean.square().clamp(min=1e-30)).clamp(min=0)


def _by_channel(value: Tensor) -> Tensor:
    """Return rows of channels, [any, channels]."""
    return nhwc(value).flatten(0, -2)
