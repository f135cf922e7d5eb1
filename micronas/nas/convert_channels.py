"""Which channels of a network must come and go together, and the network without some of them.

A graph is followed operator by operator. Convolutions and linear layers make new channels; all
other operators pass on those they read, so that a channel is one thing through batch norm, ReLU,
depthwise convolution and pool. A sum makes one channel of the two it adds. What reaches the input,
the output or a softmax stays.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.operators import WEIGHTED
from micronas.space.search_space import Choice, Decision
from micronas.train.network import weighted_ops

Numbers = npt.NDArray[np.int64]

_MAKES = ("CONV_2D", "FULLY_CONNECTED")
"""Kinds whose output channels are new."""
ALWAYS = -1
"""Stands for the decision of channels that stay, in tables by decision."""
_STAYS = 0
"""Number of every channel that cannot be taken out."""
_TINY = 1e-30
_FEWEST = 2
"""A depthwise convolution of one channel would be another operator."""


@dataclass(frozen=True, eq=False)
class Channels:
    """The widths of a graph that can be chosen.

    Channels are numbered: 0 stands for all that stay; behind it those of each decision follow,
    the strongest first, so that a width of w keeps the first w of them.
    """

    graph: Graph
    decisions: tuple[Decision, ...]
    """A width each, named after the first layer that makes its channels; the last option is all."""
    numbers: Mapping[str, Numbers]
    """The channel of each entry of an activation's last axis."""

    @property
    def classes(self) -> int:
        """Elements of the output."""
        return self.graph.tensors[self.graph.outputs[0]].elements

    def kept(self, choice: Choice) -> npt.NDArray[np.bool_]:
        """By channel number: whether a choice keeps it."""
        widths = (
            np.arange(decision.options[-1]) < decision.options[index]
            for decision, index in zip(self.decisions, choice, strict=True)
        )
        return np.concatenate([[True], *widths])

    def read_by(self, op: Op) -> Numbers:
        """Channel numbers of what a convolution or linear layer reads, in the stored order."""
        numbers = self.numbers[op.inputs[0]]
        if op.kind != "FULLY_CONNECTED":
            return numbers
        elements: Numbers = np.tile(numbers, self.graph.input_of(op).elements // len(numbers))
        return elements

    def narrowed(self, choice: Choice) -> Graph:
        """Return the graph of a choice: shapes only, without weights."""
        kept = self.kept(choice)
        widths = {name: int(kept[numbers].sum()) for name, numbers in self.numbers.items()}
        return resized(self.graph, widths)

    @cached_property
    def widths(self) -> dict[str, dict[int, tuple[int, ...]]]:
        """For each activation its channels at each option, by the number of the decision.

        Channels that stay are under ALWAYS, which has one option.
        """
        starts = np.cumsum([1, *(decision.options[-1] for decision in self.decisions)])
        found: dict[str, dict[int, tuple[int, ...]]] = {}
        for name, numbers in self.numbers.items():
            owners = np.searchsorted(starts, numbers, side="right") - 1
            found[name] = {ALWAYS: (int((numbers == _STAYS).sum()),)}
            for owner in sorted({*owners.tolist()} - {ALWAYS}):
                ranks = numbers[owners == owner] - starts[owner]
                options = self.decisions[owner].options
                found[name][owner] = tuple(int((ranks < width).sum()) for width in options)
        return found


def resized(graph: Graph, widths: Mapping[str, int]) -> Graph:
    """Give the last axis of activations other sizes, and weights what follows from them."""
    tensors = dict(graph.tensors)
    for name, width in widths.items():
        tensors[name] = replace(tensors[name], shape=(*tensors[name].shape[:-1], width))
    for op in graph.ops:
        out = tensors[op.outputs[0]]
        if op.kind in WEIGHTED:
            weights, *bias = op.inputs[1:]
            shape = _filter_shape(op, graph.tensors[weights].shape, tensors[op.inputs[0]], out)
            tensors[weights] = replace(tensors[weights], shape=shape, data=None)
            for each in bias:
                tensors[each] = replace(tensors[each], shape=(out.shape[-1],), data=None)
        elif op.kind == "RESHAPE":
            target = np.array(out.shape, np.int32)
            tensors[op.inputs[1]] = replace(tensors[op.inputs[1]], data=target)
    return replace(graph, tensors=tensors)


def _filter_shape(op: Op, shape: tuple[int, ...], source: Tensor, out: Tensor) -> tuple[int, ...]:
    width = out.shape[-1]
    if op.kind == "CONV_2D":
        return (width, *shape[1:3], source.shape[-1])
    return (*shape[:3], width) if op.kind == "DEPTHWISE_CONV_2D" else (width, source.elements)


def find_channels(
    graph: Graph,
    *,
    strengths: Mapping[str, npt.NDArray[np.float64]],
    rigid: Collection[str],
    kept: Collection[str],
    shares: Iterable[float],
    step: int,
) -> Channels:
    """Group the channels of a graph into decisions on widths.

    Parameters
    ----------
    strengths
        For each operator with weights how much each of its output channels matters; one number a
        channel, comparable within the operator.
    rigid
        Operators that need all they read and write, such as grouped convolutions.
    kept
        Operators that keep all channels they write.
    shares, step
        Options are these shares of the largest width, rounded to multiples of `step`, and the
        largest width itself.
    """
    follow = _Follow(graph, rigid, kept)
    total = len(follow.channels.parents)
    free = {name: follow.settled(name) for name in follow.numbers}
    makers = [op for op in weighted_ops(graph) if op.kind in _MAKES]
    links, strength = _Sets(total), np.zeros(total)
    for op in makers:
        made = free[op.outputs[0]]
        made = made[made != _STAYS]
        links.join(made[:1].repeat(len(made)), made)
    for op in weighted_ops(graph):
        own = strengths[op.name]
        np.add.at(strength, free[op.outputs[0]], own / max(own.mean(), _TINY))
    groups: dict[int, list[int]] = {}
    for number in np.unique(np.concatenate(list(free.values()))).tolist():
        groups.setdefault(links.find(number), []).append(number)
    final = np.zeros(total, np.int64)
    decisions: list[Decision] = []
    for op in makers:
        group = np.array(groups.pop(links.find(int(free[op.outputs[0]].max())), []), np.int64)
        options = _options(len(group), shares, step)
        if _STAYS not in group and len(options) > 1:
            start = 1 + sum(decision.options[-1] for decision in decisions)
            strongest_first = group[np.argsort(-strength[group], kind="stable")]
            final[strongest_first] = start + np.arange(len(group))
            decisions.append(Decision(op.name, options))
    numbers = {name: final[each] for name, each in free.items()}
    return Channels(graph, tuple(decisions), numbers)


def _options(width: int, shares: Iterable[float], step: int) -> tuple[int, ...]:
    least = min(max(step, _FEWEST), width)
    rounded = (step * round(share * width / step) for share in shares)
    return tuple(sorted({*(min(max(each, least), width) for each in rounded), width}))


class _Sets:
    """Disjoint sets of numbers; the smallest stands for its set."""

    def __init__(self, size: int) -> None:
        self.parents = list(range(size))

    def fresh(self, count: int) -> Numbers:
        start = len(self.parents)
        self.parents += range(start, start + count)
        return np.arange(start, start + count)

    def find(self, number: int) -> int:
        while self.parents[number] != number:
            self.parents[number] = number = self.parents[self.parents[number]]
        return number

    def join(self, left: Numbers, right: Numbers) -> None:
        for one, other in zip(left.tolist(), right.tolist(), strict=True):
            low, high = sorted((self.find(one), self.find(other)))
            self.parents[high] = low


class _Follow:
    """One pass over a graph that numbers the channels of its activations."""

    def __init__(self, graph: Graph, rigid: Collection[str], kept: Collection[str]) -> None:
        self.graph = graph
        self.channels = _Sets(1)
        source = graph.tensors[graph.inputs[0]]
        self.numbers = {source.name: np.zeros(source.shape[-1], np.int64)}
        for op in graph.ops:
            out = self.numbers[op.outputs[0]] = self._written(op)
            if op.name in rigid:
                self._keep(self.numbers[op.inputs[0]])
            if op.name in rigid or op.name in kept or op.kind == "SOFTMAX":
                self._keep(out)
        self._keep(self.numbers[graph.outputs[0]])

    def settled(self, name: str) -> Numbers:
        """Numbers of a tensor's channels after all joins."""
        return np.array([self.channels.find(each) for each in self.numbers[name].tolist()])

    def _written(self, op: Op) -> Numbers:
        read = [self.numbers[name] for name in op.operands]
        out = self.graph.output_of(op)
        match op.kind:
            case "CONV_2D" | "FULLY_CONNECTED":
                return self.channels.fresh(out.shape[-1])
            case "DEPTHWISE_CONV_2D":
                return np.repeat(read[0], out.shape[-1] // len(read[0]))
            case "CONCATENATION" if op.axis == len(out.shape) - 1:
                return np.concatenate(read)
            case "PAD":
                amounts = self.graph.constant_of(op).data
                assert amounts is not None, f"{op.name}: a trace writes the amounts of PAD"
                return np.pad(read[0], tuple(amounts[-1].tolist()), constant_values=_STAYS)
            case "RESHAPE":
                return self._reshaped(op, read[0], out.shape[-1])
            case _:  # elementwise, pools, and parts joined in space
                widest = max(read, key=len)
                for other in read:
                    if len(other) == len(widest):  # one channel may be broadcast over many
                        self.channels.join(widest, other)
                return widest

    def _reshaped(self, op: Op, read: Numbers, width: int) -> Numbers:
        elements = np.tile(read, self.graph.input_of(op).elements // len(read))
        rows = elements.reshape(-1, width)
        first: Numbers = rows[0]
        if (rows == first).all():
            return first
        self._keep(read)
        return np.zeros(width, np.int64)

    def _keep(self, numbers: Numbers) -> None:
        self.channels.join(np.zeros_like(numbers), numbers)
