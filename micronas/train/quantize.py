"""A float graph with int8 arithmetic imitated, and its int8 graph."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from micronas.errors import ExportError, MicronasError
from micronas.graph import ir
from micronas.graph.batches import check_batches
from micronas.graph.interface import Given
from micronas.graph.ir import Graph, Op
from micronas.graph.operators import WEIGHTED
from micronas.graph.requantize import requantized, shares
from micronas.graph.scaled import Scaled
from micronas.train.calibration import Method, Observer, check_method
from micronas.train.codes import codes_of
from micronas.train.fake_quantize import (
    HIGHEST,
    LOWEST,
    LinearScales,
    QuantizedUnit,
    Range,
    ScaledUnit,
    span_of,
)
from micronas.train.fake_recurrent import QuantizedRecurrentUnit
from micronas.train.finest import finest_read, finest_written
from micronas.train.inputs import Calibration, calibration_batches, in_parts
from micronas.train.layer_bits import LayerBits as LayerBits
from micronas.train.layer_bits import bits_of_layers
from micronas.train.network import (
    answers,
    interpret_outputs,
    recurrent_ops,
    submodule_names,
    weighted_ops,
)
from micronas.train.operators import unweighted
from micronas.train.range_plan import RangePlan
from micronas.train.versions import agree_on_scales

Ranges = Literal["gradient", "average"]
Run = Callable[[Op, Tensor], Tensor]
"""Function that runs an operator with weights, without its activation."""

_BELOW, _WIDE_BELOW = 8.0, 11.0
"""Distance of hidden values below all others: exp(-8) is less than a step of a softmax, exp(-11) of
one in int16."""
_MOMENTUM = 0.01
"""Weight of the newest batch in a moving average."""


class QuantizedNetwork(nn.Module):
    """Network that imitates its int8 graph in float32.

    An operator's output differs by one step where integer arithmetic rounds twice; integer
    execution of the graph is exact.

    Call `calibrate` before the first use. Raises ExportError if weights have no data, or no
    operator matches a pattern of `bits`; ConfigError if an operator mixes examples of a batch.

    Parameters
    ----------
    graph
        float32 graph with the data of weights and biases. Activations that it marks int16
        (`graph.wide`) become it, others int8.
    bits
        Bits of weights. One number is for CONV_2D and FULLY_CONNECTED:
        the few weights of DEPTHWISE_CONV_2D stay int8. A mapping from names of operators, or
        patterns such as ``features.*``, to bits is for every kind; the first match counts, and
        operators without one are int8. Weights that the graph marks int4, as in a mixed network,
        have 4 bits unless a pattern matches them.
    ranges
        Activation ranges are learnt by ``gradient`` or follow a moving ``average``; that of a
        constant operand covers its values.
    linear_scales
        Scales of FULLY_CONNECTED: one for all int8 weights (``tensor``) or one per ``output``; see
        `micronas.to_tflite`.
    copy
        Copy the weights. Otherwise they share the graph's memory, and must not be trained.
    """

    calibrated: Tensor

    def __init__(
        self,
        graph: Graph,
        *,
        bits: LayerBits = 8,
        ranges: Ranges = "gradient",
        linear_scales: LinearScales = "tensor",
        copy: bool = True,
    ) -> None:
        super().__init__()
        check_batches(graph)
        self._graph = graph = _with_int8_resizing(requantized(graph))
        widths = bits_of_layers(graph, bits)
        recurrent = recurrent_ops(graph)
        self._unit_names = submodule_names(op.name for op in (*weighted_ops(graph), *recurrent))
        self.units = nn.ModuleDict()
        for op in weighted_ops(graph):
            weight, *bias = (_data(graph.tensors[name]) for name in op.learnt)
            known = bias[0] if bias else None
            kind = ScaledUnit if isinstance(weight, Scaled) and not copy else QuantizedUnit
            unit = kind(op, weight, known, widths[op.name], linear_scales, copy=copy)
            self.units[self._unit_names[op.name]] = unit
        for op in recurrent:
            arrays = [_data(graph.tensors[name]) for name in op.learnt]
            self.units[self._unit_names[op.name]] = QuantizedRecurrentUnit(op, graph, arrays)
        self._plan = plan = RangePlan(graph)
        self._range_names = submodule_names(dict.fromkeys(plan.owners.values()))
        held = {*plan.fixed, *plan.given}
        self._following = self._range_names.keys() - held if ranges == "average" else set()
        self.ranges = nn.ModuleDict(
            {
                key: Range(
                    learnt=ranges == "gradient" and name not in held,
                    nonnegative=name not in plan.negative,
                    is_wide=graph.tensors[name].dtype == "int16",
                )
                for name, key in self._range_names.items()
            }
        )
        self._joined: dict[str, Tensor] = {}  # spans of a pass, where tensors share a range
        self.register_buffer("calibrated", torch.tensor(False))
        self._is_calibrated = False
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Given[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Return logits float32 [N, classes], on the output's grid; see `Network.forward`.

        Raises MicronasError if `calibrate` was not called.
        """
        self._check()
        self._joined.clear()
        found = answers(interpret_outputs(self._graph, x, self.weighted, self.rounded))
        for owner, span in self._joined.items():
            self._follow(owner, span)
        return found

    @torch.no_grad()
    def calibrate(
        self, batches: Calibration, *, method: Method = "mse", run: Run | None = None
    ) -> None:
        """Set the activation ranges from activations of inputs in float32.

        Raises MicronasError if there is no batch; ExportError if an activation is not finite, a
        batch is not a tensor of numbers, or there is no such method; DataError if a batch does not
        have the network's input shapes.

        Parameters
        ----------
        batches
            Inputs [N, channels, height, width], or [N, features]; for several inputs tuples in the
            network's order, or mappings by name. Labels beside them are ignored.
        method
            Rule by which ranges follow from the observed values, see `Method`.
        run
            Function in place of `exact`, which may record outputs of operators with weights.
        """
        check_method(method)
        is_counted = method not in ("average", "minmax")
        given = calibration_batches(self._graph, batches)
        observers = self.observe(given, counted=is_counted, run=run or self.exact)
        self.cover({name: self._span(name, each, method) for name, each in observers.items()})

    def _span(self, name: str, observer: Observer, method: Method) -> Tensor:
        """Return a range's span; in int16 twice that seen, as clipping costs more than a bit."""
        if name in self._plan.given:
            return observer.span("minmax")
        if not self._range(name).is_wide:
            return observer.span(method)
        return 2 * observer.span("minmax" if method == "mse" else method)

    @torch.no_grad()
    def observe(
        self, batches: Iterable[Given[Tensor]], *, counted: bool, run: Run
    ) -> dict[str, Observer]:
        """Return statistics of activations in float32, by the tensor that owns the range.

        With `counted`, fill histograms too. Errors are those of `calibrate`.
        """
        observers = {name: Observer.empty() for name in self._range_names}
        spans: dict[str, Tensor] = {}
        parts: list[dict[str, Tensor]] = []

        def follow(name: str, value: Tensor) -> Tensor:
            if name in self._plan.seen:
                owner, span = self._plan.owners[name], span_of(value)
                spans[owner] = _wider(spans.get(owner), span)
                if counted:
                    observers[owner].count(value, span, parts=len(parts))
            return value

        for batch in batches:
            spans.clear()
            parts = in_parts(self._graph, batch)
            for part in parts:
                interpret_outputs(self._graph, part, run, follow)
            for owner, span in spans.items():
                observers[owner].see(span)
        if not observers[self._plan.owners[self._graph.inputs[0]]].batches:
            raise MicronasError("calibration needs at least one batch of inputs: batches=0")
        for name, observer in observers.items():
            if not (observer.low.isfinite() and observer.high.isfinite()):
                raise ExportError(
                    f"activations must be finite to have a range, but {name} spans "
                    f"{[observer.low.item(), observer.high.item()]}; look for infinite inputs or "
                    "weights"
                )
        return observers

    @torch.no_grad()
    def cover(self, spans: Mapping[str, Tensor]) -> None:
        """Set every range, then widen those whose steps are too fine for TFLM."""
        self.calibrated.fill_(True)
        spans = dict(spans)
        for name, span in list(spans.items()):
            if name in self._plan.fixed:
                scale, zero_point = self._plan.fixed[name]
                codes = torch.tensor([self._range(name).lowest, self._range(name).highest])
                span = scale * (codes - zero_point)
            if name in self._plan.hiding:
                below = _WIDE_BELOW if self._range(name).is_wide else _BELOW
                span = spans[name] = span - torch.tensor([below, 0.0])
            self._range(name).cover(span)
        finest: dict[str, Tensor] = {}
        for op in self._graph.ops:
            name = self._plan.owners[op.outputs[0]]
            self._coarsen(op, spans, finest)
            if name in self._plan.fixed or shares(op):
                continue
            step = self._finest_step(op)
            finest[name] = step.maximum(finest.get(name, step))
            self._range(name).finest.copy_(finest[name])
            self._range(name).cover(spans[name])

    def _coarsen(
        self, op: Op, spans: Mapping[str, Tensor], finest: MutableMapping[str, Tensor]
    ) -> None:
        """Widen operands' ranges to steps that TFLM's kernel reads."""
        step = finest_read(op, self._scales(op))
        if step is None:
            return
        for operand in op.operands:
            found, name = self._range(operand), self._plan.owners[operand]
            if name not in self._plan.fixed and found.scale < step:
                finest[name] = step
                found.finest.copy_(step)
                found.cover(spans[name])

    def graph(self) -> Graph:
        """Return the int8 graph, ready to be written or run.

        Raises MicronasError if `calibrate` was not called.
        """
        self._check()
        agree_on_scales(self._graph, self._is_free, self._range)
        tensors = dict(self._graph.tensors)
        for name in self._plan.owners:
            tensor, quantization = tensors[name], self._range(name).quantization()
            if tensor.dtype == "int32":  # positions, which share their codes' range
                moved = replace(quantization, zero_point=quantization.zero_point - LOWEST)
                tensors[name] = replace(tensor, quantization=moved)
                continue
            dtype: ir.DataType = "int16" if self._range(name).is_wide else "int8"
            tensor = replace(tensor, dtype=dtype, quantization=quantization)
            data = None if tensor.data is None else codes_of(tensor.data, tensor)
            tensors[name] = replace(tensor, data=data)
        for op in (*weighted_ops(self._graph), *recurrent_ops(self._graph)):
            tensors |= self._any_unit(op).constants(self._graph, *self._ends(op))
        for op in self._graph.ops:
            if op.kind == "TABLE":
                tensors[op.inputs[1]] = self._looked_up(op)
        return replace(self._graph, tensors=tensors)

    def _is_free(self, name: str) -> bool:
        """Return whether a tensor may have another scale."""
        return self._plan.owners[name] not in self._plan.fixed

    def _looked_up(self, op: Op) -> ir.Tensor:
        """Return the table of an operator: its function of every code."""
        source = self._range(op.inputs[0]).quantization()
        output = self._range(op.outputs[0]).quantization()
        codes = torch.arange(LOWEST, HIGHEST + 1) - source.zero_point
        values = unweighted(self._graph, op, [codes * torch.tensor(source.scale)])
        table = replace(self._graph.constant_of(op), dtype="int8", quantization=output)
        data = codes_of(np.nan_to_num(values.numpy(), posinf=1e30, neginf=-1e30), table)
        return replace(table, data=data)

    def _check(self) -> None:
        # read only until it is true, as every pass would wait for the device
        self._is_calibrated = self._is_calibrated or bool(self.calibrated)
        if not self._is_calibrated:
            raise MicronasError(
                "a quantised network needs its activation ranges first, but has none; "
                "call calibrate(batches) before"
            )

    @property
    def float_graph(self) -> Graph:
        """Imitated graph, QUANTIZE included, with its initial weights."""
        return self._graph

    def weighted(self, op: Op, x: Tensor) -> Tensor:
        """Run an operator with its weights rounded, without its activation."""
        y: Tensor = self._any_unit(op)(x, *self._ends(op))
        return y

    def exact(self, op: Op, x: Tensor) -> Tensor:
        """Run an operator with its weights as they are, without its activation."""
        return self._any_unit(op).exact(x)

    def rounded(self, name: str, value: Tensor) -> Tensor:
        """Round an activation to its grid, unless it is already on it."""
        if name in self._plan.on_grid:
            return value
        owner = self._plan.owners[name]
        if self.training and owner in self._following and name in self._plan.seen:
            if self._plan.sources[owner] > 1:
                self._joined[owner] = _wider(self._joined.get(owner), span_of(value))
            else:
                self._follow(owner, span_of(value))
        y: Tensor = self._range(name)(value)
        return y

    def _follow(self, owner: str, span: Tensor) -> None:
        target = self._range(owner)
        target.cover(torch.lerp(target.span, span, _MOMENTUM))

    def _scales(self, op: Op) -> Tensor:
        """Return the scales of an operator's operands."""
        return torch.stack([self._range(name).scale for name in op.operands])

    def _finest_step(self, op: Op) -> Tensor:
        weights = None
        if op.kind in WEIGHTED:
            weights = self.unit(op).scale(self._range(op.inputs[0]))
        is_wide = self._range(op.outputs[0]).is_wide
        return finest_written(op, self._scales(op), weights, is_wide=is_wide)

    def unit(self, op: Op) -> QuantizedUnit:
        """Return the weights and bias of an operator with weights."""
        unit = self._any_unit(op)
        assert isinstance(unit, QuantizedUnit)
        return unit

    def _any_unit(self, op: Op) -> QuantizedUnit | QuantizedRecurrentUnit:
        unit = self.units[self._unit_names[op.name]]
        assert isinstance(unit, QuantizedUnit | QuantizedRecurrentUnit)
        return unit

    def _ends(self, op: Op) -> tuple[Range, Range]:
        """Return the ranges of an operator's input and output."""
        return self._range(op.inputs[0]), self._range(op.outputs[0])

    def _range(self, name: str) -> Range:
        found = self.ranges[self._range_names[self._plan.owners[name]]]
        assert isinstance(found, Range)
        return found


@torch.no_grad()
def float_outputs(network: QuantizedNetwork, x: Given[Tensor]) -> dict[str, Tensor]:
    """Compute the outputs of a network's float32 graph by name; nothing is rounded."""
    return interpret_outputs(network.float_graph, x, network.exact)


def _wider(span: Tensor | None, other: Tensor) -> Tensor:
    return other if span is None else torch.stack((span.minimum(other)[0], span.maximum(other)[1]))


def _data(tensor: ir.Tensor) -> ir.Array:
    if tensor.data is None:
        raise ExportError(
            f"a network can be quantised only with its weights, but {tensor.name} has no data; "
            "pass the graph of a trained network"
        )
    return tensor.data


def _with_int8_resizing(graph: Graph) -> Graph:
    """Mark outputs of RESIZE_BILINEAR int8, so that positions are the device's."""
    names = [op.outputs[0] for op in graph.ops if op.kind == "RESIZE_BILINEAR"]
    marked = {name: replace(graph.tensors[name], dtype="int8") for name in names}
    return replace(graph, tensors={**graph.tensors, **marked})
