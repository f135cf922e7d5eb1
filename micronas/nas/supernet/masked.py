"""One forward pass under gates: everything at its largest, times masks that carry gradients.

Gates train on this pass, since every option has a gradient. For one-hot gates, work on the masks'
zeros stays outside of autograd (`one_hot`); output and gradients are the same.

The place of the mask decides whether gates can grow (measured, with one-hot samples): folded into
batch norm or put on both sides of a ReLU, wider options get a gradient of zero. So a width is
masked once, just before its channels are mixed: after the following depthwise convolution's ReLU,
on a linear projection, or after the pool.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from micronas.graph.ir import Op
from micronas.graph.operators import WEIGHTED
from micronas.nas.supernet.gates import Gates, Sample, is_one_hot
from micronas.nas.supernet.masks import Masks, add_padded, along_channels, weighted_sum
from micronas.nas.supernet.one_hot import choose, convolve_shown, mix_shown, shown_of
from micronas.nas.supernet.units import SharedUnit
from micronas.space.channels import Units
from micronas.space.choice_graph import Acts, ChoiceGraph, Selection, holds, written
from micronas.space.decisions import Choice
from micronas.train.network import round_weights
from micronas.train.operators import activate, constant, unweighted


class Feature(NamedTuple):
    """A feature map at its largest."""

    values: Tensor
    mask_pending: bool = False
    """Mask not applied yet."""
    hidden: Tensor | None = None
    """Channels after those of `values`, if they are kept apart: see `one_hot`."""

    def each(self, function: Callable[[Tensor, slice], Tensor]) -> "Feature":
        """Apply a channelwise function to each part, given the slice of its channels."""
        shown = self.values.shape[1]
        values = function(self.values, slice(0, shown))
        if self.hidden is None:
            return self._replace(values=values)
        with torch.no_grad():
            hidden = function(self.hidden, slice(shown, shown + self.hidden.shape[1]))
        return self._replace(values=values, hidden=hidden)

    def whole(self) -> "Feature":
        """Put the two parts together."""
        if self.hidden is None:
            return self
        return self._replace(values=torch.cat([self.values, self.hidden], 1), hidden=None)


class MaskedPass:
    """A pass through all operators of a graph with choices.

    `units` are by operator name. `plain` does all the work even where gates are one-hot.
    """

    def __init__(
        self,
        choices: ChoiceGraph,
        units: Mapping[str, SharedUnit],
        gates: Sample,
        *,
        running: bool = False,
        plain: bool = False,
    ) -> None:
        self._choices, self._units, self._gates = choices, units, gates
        self._running = running
        prefix = all(each.is_prefix for each in choices.channels.values())
        self._choice: Choice | None = None
        if prefix and not plain and is_one_hot(gates):
            self._choice = Gates.choice_of(gates)
        self._values: dict[str, Feature] = {}
        self._shown: set[str] = set()
        """Tensors present in the sample, through which gradients pass."""

    def run(self, x: Tensor) -> Tensor:
        """Return the output [N, classes]."""
        choices, choice = self._choices, self._choice
        self._masks = Masks(choices, self._gates, x.device)
        self._values = {choices.input: Feature(x)}
        for step in choices.steps:
            for name in step.operands if isinstance(step, Op) else ():
                if choices.tensors[name].constant:
                    self._values[name] = Feature(constant(choices.tensors[name], x))
        steps = [step for step in choices.steps if written(step) in choices.when]
        read = [step.branches if isinstance(step, Selection) else step.operands for step in steps]
        last_use = {name: number for number, names in enumerate(read) for name in names}
        is_training = torch.is_grad_enabled()
        self._shown = {choices.input} if is_training else set()
        for number, step in enumerate(steps):
            out = written(step)
            if is_training and (choice is None or holds(choices.when[out], choice)):
                self._shown.add(out)
            with torch.set_grad_enabled(out in self._shown):
                self._values[out] = self._step(step)
            for name in read[number]:
                if last_use[name] == number:
                    self._values.pop(name, None)
        return self._values[choices.output].whole().values.flatten(1)

    def _step(self, step: Op | Selection) -> Feature:
        if isinstance(step, Selection):
            return self._select(step)
        channels = self._choices.channels
        if step.kind in WEIGHTED:
            feature = self._weighted(step)
        elif step.name in self._choices.widening:
            left, right = (self._mixed(name).whole().values for name in step.operands)
            feature = Feature(add_padded(left, right))
        elif step.row.by_channel and self._keeps_channels(step):
            constants = [self._values[name].values for name in step.operands[1:]]
            source = self._values[step.operands[0]]
            feature = source.each(lambda x, _: self._plain(step, [x, *constants]))
        elif step.kind == "MUL" and len({channels[name] for name in step.operands}) == 1:
            factors = [self._values[name].whole() for name in step.operands]
            product = self._plain(step, [each.values for each in factors])
            # one mask is enough
            feature = Feature(product, all(each.mask_pending for each in factors))
        elif step.kind == "CONCATENATION":
            parts = [self._values[name].whole() for name in step.operands]
            joined = self._plain(step, [each.values for each in parts])
            feature = Feature(joined, any(each.mask_pending for each in parts))
        else:  # channels meet, or move
            sources = [self._mixed(name).whole().values for name in step.operands]
            feature = Feature(self._plain(step, sources))
        return feature.each(lambda y, _: activate(step, y))

    def _keeps_channels(self, op: Op) -> bool:
        channels = self._choices.channels
        return channels[op.outputs[0]] == channels[op.operands[0]]

    def _plain(self, op: Op, sources: list[Tensor]) -> Tensor:
        return unweighted(self._choices.largest, op, sources)

    def _mixed(self, name: str) -> Feature:
        """Return a feature map with its mask applied, for a reader that mixes channels."""
        feature = self._values[name]
        if feature.mask_pending:
            if self._choices.channels[name].decisions:
                # other readers may need its gradient: the sample decides, not this reader
                with torch.set_grad_enabled(name in self._shown):
                    feature = self._masked(feature, name)
            feature = self._values[name] = feature._replace(mask_pending=False)
        return feature

    def _masked(self, feature: Feature, name: str) -> Feature:
        mask = self._masks.of(name)
        if self._choice is None:
            return Feature(feature.values * along_channels(mask, feature.values))
        kept = self._choices.channels[name].width(self._choice)
        values, hidden = mix_shown(feature.values, feature.hidden, mask, kept=kept)
        return Feature(values, hidden=hidden)

    def _select(self, step: Selection) -> Feature:
        branches = [self._values[name] for name in step.branches]
        weights = self._masks.gates(step.decision)
        mask_pending = any(each.mask_pending for each in branches)
        if self._choice is None or not mask_pending:
            whole = [each.whole().values for each in branches]
            return Feature(weighted_sum(weights, whole), mask_pending)
        # the later mask stops gradients beyond the chosen branch's channels
        parts = [(each.values, each.hidden) for each in branches]
        size = self._choices.channels[step.name].size
        values, hidden = choose(weights, self._choice[step.decision], parts, size)
        return Feature(values, mask_pending, hidden)

    def _weighted(self, op: Op) -> Feature:
        unit = self._units[op.name]
        if op.kind == "DEPTHWISE_CONV_2D":
            weight = self._filter(op, unit.largest(), None)
            feature = self._values[op.operands[0]]
            if len(weight) != len(feature.values[0]) + _count(feature.hidden):
                feature = feature.whole()  # several outputs per channel
                return Feature(
                    unit.run(op, feature.values, weight, slice(None), running=self._running), True
                )
            return feature.each(
                lambda x, part: unit.run(op, x, weight[part], part, running=self._running)
            )._replace(mask_pending=True)
        source, mask = self._mixed(op.operands[0]), None
        if self._choices.channels[op.operands[0]].decisions:
            mask = self._masks.of(op.operands[0])
        weight = self._filter(op, unit.largest(), mask)
        shown = size = len(weight)
        channels = self._choices.channels[op.outputs[0]]
        if self._choice is not None and isinstance(channels, Units) and channels.owned:
            shown = shown_of(channels.width(self._choice), size)
        values = self._part(op, unit, source, weight, slice(0, shown))
        if shown == size:
            return Feature(values, True)
        with torch.no_grad():
            return Feature(values, True, self._part(op, unit, source, weight, slice(shown, size)))

    def _part(
        self, op: Op, unit: SharedUnit, source: Feature, weight: Tensor, out: slice
    ) -> Tensor:
        is_pointwise = weight.shape[2:] == (1, 1) and op.stride == (1, 1)
        if source.hidden is not None and is_pointwise:
            y = convolve_shown(source.values, source.hidden, weight[out])
            bias = unit.bias_of(out)
            y = y if bias is None else y + bias.view(1, -1, 1, 1)
            return unit.normalise(y, out, running=self._running)
        return unit.run(op, source.whole().values, weight[out], out, running=self._running)

    def _filter(self, op: Op, weight: Tensor, present: Tensor | None) -> Tensor:
        """Return a filter with its kernel masked and its bits mixed."""
        acts = self._choices.acts.get(op.name, Acts())
        if acts.kernel is not None:
            weight = weight * self._masks.kernel(acts.kernel).to(weight.dtype)
        if acts.bits is not None:
            options = self._choices.decisions[acts.bits].options
            versions = [
                round_weights(weight, present=present) if bits == 4 else weight for bits in options
            ]
            return weighted_sum(self._masks.gates(acts.bits), versions)
        if self._choices.tensors[op.inputs[1]].dtype == "int4":
            return round_weights(weight, present=present)
        return weight


def _count(hidden: Tensor | None) -> int:
    return 0 if hidden is None else hidden.shape[1]
