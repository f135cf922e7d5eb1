"""Quantization-aware training: a float graph with int8 arithmetic imitated, and its int8 graph."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from micronas.checkpoint import Checkpoint
from micronas.data import Split
from micronas.errors import ExportError, MicronasError
from micronas.graph import ir
from micronas.graph.ir import Graph, Op
from micronas.layers import (
    WEIGHTED,
    Network,
    interpret,
    submodule_names,
    weighted_ops,
)
from micronas.train.fake_quantize import HIGHEST, LOWEST, QuantizedUnit, Range, span_of
from micronas.train.loop import Epoch, Loss, fit, generator_for
from micronas.train.recipe import FINETUNE, Recipe

Bits = Literal[8, 4]
Ranges = Literal["gradient", "average"]

_SHARES = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE", "PAD")
"""Kinds whose output has, for TFLite, its input's scale and zero point."""
_MOMENTUM = 0.01
"""Weight of the newest batch in a moving average."""
_CALIBRATION_BATCHES = 8


class QuantizedNetwork(nn.Module):
    """A network that computes, in float32, what its int8 graph will.

    An operator's output differs by one step where integer arithmetic rounds twice; integer
    execution of the graph is the truth.

    Call `calibrate` before the first use.

    Parameters
    ----------
    graph
        float32, weights and biases with data.
    bits
        Of the weights of CONV_2D and FULLY_CONNECTED; those of DEPTHWISE_CONV_2D, which are few,
        are always int8, and so are activations.
    ranges
        Activation ranges are learnt by ``gradient`` or held as a moving ``average``.

    Raises
    ------
    ExportError
        If weights have no data.
    """

    calibrated: Tensor

    def __init__(self, graph: Graph, *, bits: Bits = 8, ranges: Ranges = "gradient") -> None:
        super().__init__()
        self._graph = graph
        self._unit_names = submodule_names(op.name for op in weighted_ops(graph))
        self.units = nn.ModuleDict()
        for op in weighted_ops(graph):
            weight, *bias = (_data(graph.tensors[name]) for name in op.inputs[1:])
            width = 8 if op.kind == "DEPTHWISE_CONV_2D" else bits
            unit = QuantizedUnit(op, weight, bias[0] if bias else None, width)
            self.units[self._unit_names[op.name]] = unit
        self._owners = _owners(graph)
        self._range_names = submodule_names(dict.fromkeys(self._owners.values()))
        self._on_grid = {op.outputs[0] for op in graph.ops if op.kind in ("RESHAPE", "PAD")}
        self._fixed = {op.outputs[0] for op in graph.ops if op.kind == "SOFTMAX"}
        self._following = self._range_names.keys() - self._fixed if ranges == "average" else set()
        nonnegative = _nonnegative(graph)
        self.ranges = nn.ModuleDict(
            {
                key: Range(
                    learnt=ranges == "gradient" and name not in self._fixed,
                    nonnegative=name in nonnegative,
                )
                for name, key in self._range_names.items()
            }
        )
        self.register_buffer("calibrated", torch.tensor(False))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32 [N, classes], on the output's grid.

        Raises
        ------
        MicronasError
            If `calibrate` was not called.
        """
        self._check()
        return interpret(self._graph, x, self._weighted, self._rounded).flatten(1)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Set the activation ranges from inputs [N, channels, height, width].

        A range is the mean over the batches of their lowest and highest value in float32.

        Raises
        ------
        MicronasError
            If there is no batch.
        """
        spans: dict[str, list[Tensor]] = {name: [] for name in self._range_names}

        def observe(name: str, value: Tensor) -> Tensor:
            if name in spans:
                spans[name].append(span_of(value))
            return value

        for batch in batches:
            interpret(self._graph, batch, lambda op, x: self._unit(op).exact(x), observe)
        if not spans[self._graph.inputs[0]]:
            raise MicronasError("calibration needs at least one batch of inputs: batches=0")
        producers = {op.outputs[0]: op for op in self._graph.ops}
        for name, found in spans.items():
            target = self._range(name)
            if name in self._fixed:
                target.cover(torch.tensor([0, 255 / 256]))
                continue
            if name in producers:
                target.finest.copy_(self._accumulator_step(producers[name]))
            span = torch.stack(found).mean(0)
            if not span.isfinite().all():
                raise MicronasError(
                    f"activations must be finite to have a range, but {name} spans "
                    f"{span.tolist()}; look for infinite inputs or weights"
                )
            target.cover(span)
        self.calibrated.fill_(True)

    def graph(self) -> Graph:
        """The int8 graph, ready to be written or run.

        Raises
        ------
        MicronasError
            If `calibrate` was not called.
        """
        self._check()
        tensors = dict(self._graph.tensors)
        for name in self._owners:
            quantization = self._range(name).quantization()
            tensors[name] = replace(tensors[name], dtype="int8", quantization=quantization)
        for op in weighted_ops(self._graph):
            source = self._range(op.inputs[0])
            tensors |= self._unit(op).constants(self._graph, source)
        return replace(self._graph, tensors=tensors)

    def _check(self) -> None:
        if not self.calibrated:
            raise MicronasError(
                "a quantised network needs its activation ranges first, but has none; "
                "call calibrate(batches) before"
            )

    def _weighted(self, op: Op, x: Tensor) -> Tensor:
        y: Tensor = self._unit(op)(x, self._range(op.inputs[0]))
        return y

    def _rounded(self, name: str, value: Tensor) -> Tensor:
        if name in self._on_grid:
            return value
        target = self._range(name)
        if self.training and name in self._following:
            target.cover(torch.lerp(target.span, span_of(value), _MOMENTUM))
        y: Tensor = target(value)
        return y

    def _accumulator_step(self, op: Op) -> Tensor:
        """The finest useful scale of an output; a finer one could overflow TFLM's multiplier."""
        sources = [self._range(name).scale for name in op.inputs if name in self._owners]
        if op.kind in WEIGHTED:
            return sources[0] * self._unit(op).scale(self._range(op.inputs[0])).max()
        return torch.stack(sources).max() / 256

    def _unit(self, op: Op) -> QuantizedUnit:
        unit = self.units[self._unit_names[op.name]]
        assert isinstance(unit, QuantizedUnit)
        return unit

    def _range(self, name: str) -> Range:
        found = self.ranges[self._range_names[self._owners[name]]]
        assert isinstance(found, Range)
        return found


def finetune(
    network: Network,
    split: Split,
    recipe: Recipe = FINETUNE,
    *,
    seed: int,
    bits: Bits = 8,
    ranges: Ranges = "gradient",
    section: str = "quantize",
    checkpoint: Checkpoint | None = None,
    progress: Callable[[Epoch], None] | None = None,
    loss: Loss | None = None,
) -> QuantizedNetwork:
    """Fold batch norm, calibrate on augmented training batches and train with rounding.

    Batch norm stays folded with its running statistics. See `fit` for the other parameters; a
    resumed run ends in the same weights here too.
    """
    quantized = QuantizedNetwork(network.graph(), bits=bits, ranges=ranges)
    quantized.calibrate(_calibration_batches(split, recipe.batch_size, seed, section))
    return fit(
        quantized,
        split,
        recipe,
        seed=seed,
        section=section,
        checkpoint=checkpoint,
        progress=progress,
        loss=loss,
    )


def quantize_inputs(graph: Graph, x: Tensor) -> npt.NDArray[np.int8]:
    """The int8 input [N, height, width, channels] of float32 [N, channels, height, width].

    Raises
    ------
    ExportError
        If the graph's input is not quantised.
    """
    quantization = graph.tensors[graph.inputs[0]].quantization
    if quantization is None:
        raise ExportError(
            "inputs can be quantised only for an int8 graph, but this one is float32; "
            "quantise the network first"
        )
    steps = np.rint(x.numpy().transpose(0, 2, 3, 1) / quantization.scale)
    codes: npt.NDArray[np.int8] = np.clip(steps + quantization.zero_point, LOWEST, HIGHEST).astype(
        np.int8
    )
    return codes


def _calibration_batches(split: Split, size: int, seed: int, section: str) -> Iterator[Tensor]:
    generator = generator_for(seed, section, "calibration")
    order = torch.randperm(len(split.labels), generator=generator)
    for index in torch.split(order, size)[:_CALIBRATION_BATCHES]:
        yield split.batch(index, generator)


def _data(tensor: ir.Tensor) -> ir.Array:
    if tensor.data is None:
        raise ExportError(
            f"a network can be quantised only with its weights, but {tensor.name} has no data; "
            "pass the graph of a trained network"
        )
    return tensor.data


def _owners(graph: Graph) -> dict[str, str]:
    """For each activation tensor the one whose range it shares, in execution order."""
    owners = {graph.inputs[0]: graph.inputs[0]}
    for op in graph.ops:
        out = op.outputs[0]
        owners[out] = owners[op.inputs[0]] if op.kind in _SHARES else out
    return owners


def _nonnegative(graph: Graph) -> set[str]:
    """Activation tensors that cannot hold a value below zero."""
    found: set[str] = set()
    for op in graph.ops:
        activations = [name for name in op.inputs if not graph.tensors[name].constant]
        kept = op.kind not in WEIGHTED and found.issuperset(activations)
        if kept or op.kind == "SOFTMAX" or op.activation != "NONE":
            found.add(op.outputs[0])
    return found
