"""The supernet: one set of weights, at the largest width and kernel, shared by all networks."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from micronas.graph.ir import Graph, Op
from micronas.nas.supernet.gates import Sample
from micronas.nas.supernet.masked import MaskedPass
from micronas.nas.supernet.units import FreshUnit, LayerUnit, Part, SharedUnit, cut_kernel, part_of
from micronas.space.choice_graph import Acts
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable
from micronas.train.network import (
    Network,
    Unit,
    check_input,
    filter_layout,
    interpret,
    logits_of,
    round_weights,
    submodule_names,
    weighted_ops,
)

# Each set of widths is a new shape to oneDNN, which generates code for it and by default
# forgets all but 1024: a fifth of a step. The first convolution of a process reads the variable.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32768")

_REMEMBERED = 256
"""Number of recent graphs cached."""


class SharedNetwork(nn.Module):
    """All networks of a space.

    Inputs are float32 [N, channels, height, width], outputs logits [N, classes]. A user's own
    network keeps its weights, in a copy (`module`); other weights are drawn by torch's generator.

    With `running` a user's own batch norms keep their behaviour, in training and in eval mode; by
    default all take the statistics of the batch, see `units.SharedUnit`. `units` are those of
    another member of the family, by operator name, to share; their kernels may be larger. See
    `micronas.nas.strategies.family_training`.
    """

    def __init__(
        self,
        space: Searchable,
        *,
        running: bool = False,
        units: Mapping[str, SharedUnit] | None = None,
    ) -> None:
        super().__init__()
        self.space, self.running = space, running
        self._choices = space.choices
        graph = self._choices.largest
        self._ops = {op.name: op for op in weighted_ops(graph)}
        self._kernels: dict[str, tuple[int, ...]] = {
            op.name: filter_layout(op, graph.constant_of(op).shape)[2:] for op in self._ops.values()
        }
        own = space.own_layers()
        self.module: nn.Module | None = None
        self.units = nn.ModuleDict()
        self.by_name: dict[str, SharedUnit] = {}
        """Unit of each operator with weights."""
        if units is not None:
            self.by_name = dict(units)
        elif own is not None:
            self.module = own.module
            self.by_name = {layer.op.name: LayerUnit(layer, own.module) for layer in own.layers}
        else:
            (fresh,) = fresh_units([graph])
            self.by_name = {**fresh}
            # under names that torch allows
            keys = submodule_names(fresh)
            self.units = nn.ModuleDict({keys[name]: unit for name, unit in fresh.items()})
        self._remember()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes without the cache of graphs, so that Ray can send a network."""
        return {name: value for name, value in vars(self).items() if name != "_resolved"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._remember()

    def _remember(self) -> None:
        self._resolved = lru_cache(maxsize=_REMEMBERED)(self.space.resolve)

    def sliced(self, x: Tensor, choice: Choice) -> Tensor:
        """Return the logits of the chosen network, computed at its own size."""
        graph: Graph = self._resolved(choice)

        def weighted(op: Op, y: Tensor) -> Tensor:
            return self._cut(self._ops[op.name], y, choice)

        return interpret(graph, x, weighted).flatten(1)

    def masked(self, x: Tensor, gates: Sample) -> Tensor:
        """Return the logits under gates, with a gradient to every option."""
        x = x.unsqueeze(-1) if x.ndim == 3 else x
        check_input(self._choices.largest, self._choices.input, x, x)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return MaskedPass(self._choices, self.by_name, gates, running=self.running).run(x)

    def used(self, choice: Choice) -> Iterator[tuple[SharedUnit, tuple[int, int]]]:
        """Yield the unit of each operator of a network, and how many output and input channels it
        uses at least, from the first one."""
        for each in weighted_ops(self._resolved(choice)):
            op = self._ops[each.name]
            weight, out = self._part(op, choice, torch.device("cpu"))
            whole = self.by_name[op.name].largest()
            # positions that are no prefix, or that a flattened map has, may be anywhere
            in_order = isinstance(out, slice) and op.kind != "FULLY_CONNECTED"
            width, depth = (weight if in_order else whole).shape[:2]
            yield self.by_name[op.name], (width, depth)

    @torch.no_grad()
    def hand_down(self, network: Network, choice: Choice) -> None:
        """Copy these weights to a separate network, the one of the choice.

        Its batch norms get scales and shifts, and no statistics.
        """
        units = [each for each in network.units.values() if isinstance(each, Unit)]
        for op, unit in zip(weighted_ops(self._resolved(choice)), units, strict=True):
            shared = self.by_name[op.name]
            assert isinstance(shared, FreshUnit), "of a space; a user's network has its own weights"
            weight, out = self._part(self._ops[op.name], choice, unit.weight.device)
            unit.weight.copy_(weight)
            is_normed = isinstance(unit.norm, nn.BatchNorm2d)
            own = [*unit.norm.parameters()] if is_normed else [unit.bias]
            for parameter, value in zip(own, shared.offsets(out), strict=True):
                assert parameter is not None, "without batch norm there is a bias"
                parameter.copy_(value)

    def _cut(self, op: Op, x: Tensor, choice: Choice) -> Tensor:
        """Run an operator with the part of its weights that a choice uses."""
        choices, unit = self._choices, self.by_name[op.name]
        weight, out = self._part(op, choice, x.device)
        acts, decisions = choices.acts.get(op.name, Acts()), choices.decisions
        is_int4 = choices.tensors[op.inputs[1]].dtype == "int4"
        if acts.bits is not None:
            is_int4 = decisions[acts.bits].options[choice[acts.bits]] == 4
        weight = round_weights(weight) if is_int4 else weight
        return unit.run(op, x, weight, out, running=self.running)

    def _part(self, op: Op, choice: Choice, device: torch.device) -> tuple[Tensor, Part]:
        """Return the weights of an operator that a choice uses, not rounded, and their outputs."""
        choices = self._choices
        source, target = (choices.channels[name] for name in (op.inputs[0], op.outputs[0]))
        out = part_of(target, choice, device)
        weight = self.by_name[op.name].largest()[out]
        if op.kind != "DEPTHWISE_CONV_2D" and source.decisions:
            # a convolution may have been cut to fewer channels than its source has
            is_flat = op.kind == "FULLY_CONNECTED"
            positions = weight.shape[1] // source.size if is_flat else 1
            weight = weight[:, part_of(source, choice, device, repeats=positions)]
        if weight.ndim == 4:
            decision = choices.acts.get(op.name, Acts()).kernel
            kernel = self._kernels[op.name]
            if decision is not None:
                kernel = choices.decisions[decision].options[choice[decision]]
            # oneDNN takes strided filters by slow ways: half of the time of a depthwise network.
            # `contiguous` would leave one with a single input channel in the other layout.
            weight = cut_kernel(weight, kernel).clone(memory_format=torch.channels_last)
        return weight, out


def fresh_units(graphs: Sequence[Graph]) -> list[dict[str, FreshUnit]]:
    """Return units for each graph's operators with weights, by name, drawn by torch's generator.

    Operators of the same name, kind and channels share a unit with the largest of their kernels.
    """
    keys: list[dict[str, tuple[object, ...]]] = []
    shapes: dict[tuple[object, ...], tuple[int, ...]] = {}
    for graph in graphs:
        classifier = logits_of(graph, graph.outputs[0])
        keys.append({})
        for op in weighted_ops(graph):
            shape = filter_layout(op, graph.constant_of(op).shape)
            norm = op.kind != "FULLY_CONNECTED" and op.outputs[0] != classifier
            key = keys[-1][op.name] = (op.name, op.kind, shape[:2], norm)
            shapes[key] = tuple(map(max, shapes.get(key, shape), shape))
    units = {key: FreshUnit(shape, norm=bool(key[-1])) for key, shape in shapes.items()}
    return [{name: units[key] for name, key in each.items()} for each in keys]
