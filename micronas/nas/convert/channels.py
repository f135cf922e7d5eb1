"""Group the channels of a network that must come and go together.

A graph is followed operator by operator. Convolutions and linear layers make new channels; all
other operators pass on those they read, so that a channel is one thing through batch norm, ReLU,
depthwise convolution and pool. A sum makes one channel of the two it adds. What reaches the input,
the output or a softmax stays.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from micronas.errors import ConfigError
from micronas.graph.interface import check_one_each
from micronas.graph.ir import Graph, Op
from micronas.graph.operators import MAKES
from micronas.space.channels import ALWAYS, Numbers, Units
from micronas.space.choice_graph import ChoiceGraph
from micronas.space.decisions import Decision
from micronas.text import listed
from micronas.train.network import weighted_ops

_STAYS = 0
"""Number of every channel that cannot be taken out."""
_TINY = 1e-30
_FEWEST = 2
"""A depthwise convolution of one channel would be another operator."""


def find_channels(
    graph: Graph,
    *,
    strengths: Mapping[str, npt.NDArray[np.float64]],
    orders: Mapping[str, Numbers | None],
    kept: Collection[str],
    shares: Iterable[float],
    step: int,
) -> ChoiceGraph:
    """Group the channels of a graph into decisions on widths, strongest channels first.

    `strengths` are numbers per output channel of each operator with weights, comparable within the
    operator; `orders` the module's place of each of its inputs, None where all are needed, as by
    grouped convolutions. Operators in `kept` keep all their output channels. Options are `shares`
    of the largest width, rounded to multiples of `step`, and the largest width itself. Raises
    ConfigError if the network has several inputs or outputs, or no channels that may go.
    """
    check_one_each(graph, "a module whose widths are searched")
    follow = _Follow(graph, orders, kept)
    total = len(follow.channels.parents)
    free = {name: follow.settled(name) for name in follow.numbers}
    makers = [op for op in weighted_ops(graph) if op.kind in MAKES]
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
    owners: Numbers = np.full(total, ALWAYS, np.int64)
    ranks: Numbers = np.arange(total, dtype=np.int64)
    decisions: list[Decision] = []
    for op in makers:
        group = np.array(groups.pop(links.find(int(free[op.outputs[0]].max())), []), np.int64)
        options = _options(len(group), shares, step)
        if _STAYS not in group and len(options) > 1:
            strongest_first = group[np.argsort(-strength[group], kind="stable")]
            owners[strongest_first] = len(decisions)
            ranks[strongest_first] = np.arange(len(group))
            decisions.append(Decision(op.name, "width", options))
    if not decisions:
        needing = [f"{op.kind} '{op.name}'" for op in follow.holders]
        raise ConfigError(
            "a network must have channels between its layers to be searched, but of its "
            f"{len(strengths)} layers none has more than {step} that may go"
            + (
                f", as {listed(needing)} takes all there are; compute that channel by channel, "
                "such as by + in place of torch.stack, or"
                if needing
                else ";"
            )
            + " lower step, take names out of keep or add layers"
        )
    widths = [each.options for each in decisions]
    known: dict[Units, Units] = {}
    channels = {}
    for name, numbers in free.items():
        mine: Numbers = owners[numbers]
        order: Numbers = ranks[numbers].copy()
        order[mine == ALWAYS] = np.flatnonzero(mine == ALWAYS)
        units = Units(mine, order, widths)
        # one object for equal ones, by which costs are cached
        channels[name] = known.setdefault(units, units)
    return ChoiceGraph(
        graph.tensors, graph.ops, graph.inputs[0], graph.outputs[0], tuple(decisions), channels
    )


def _options(width: int, shares: Iterable[float], step: int) -> tuple[int, ...]:
    least = min(max(step, _FEWEST), width)
    rounded = (step * round(share * width / step) for share in shares)
    return tuple(sorted({*(min(max(each, least), width) for each in rounded), width}))


def _is_shuffled(channels: Numbers, order: Numbers | None) -> bool:
    """Return whether fewer channels would come in another order than those of this one."""
    if order is None:
        return True
    # those that stay are told apart, too: others may be among them
    channels = np.where(channels == _STAYS, -1 - np.arange(len(channels)), channels)
    stored = np.tile(channels, len(order) // len(channels)).tolist()
    counts, seen = Counter(stored), Counter[int]()
    lines: dict[tuple[int, int], list[int]] = {}
    for channel, place in zip(stored, order.tolist(), strict=True):
        lines.setdefault((counts[channel], seen[channel]), []).append(place)
        seen[channel] += 1
    return any(len({*np.diff(line)}) > 1 for line in lines.values())


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

    def __init__(
        self, graph: Graph, orders: Mapping[str, Numbers | None], kept: Collection[str]
    ) -> None:
        self.graph = graph
        self.holders: list[Op] = []
        """Operators that need all channels they read."""
        self.channels = _Sets(1)
        source = graph.tensors[graph.inputs[0]]
        self.numbers = {source.name: np.zeros(source.shape[-1], np.int64)}
        for op in graph.ops:
            for name in op.operands:  # the rest are constants
                if name not in self.numbers:
                    self.numbers[name] = np.zeros(graph.tensors[name].shape[-1], np.int64)
            out = self.numbers[op.outputs[0]] = self._written(op)
            read = self.numbers[op.inputs[0]]
            if op.name in orders and _is_shuffled(read, orders[op.name]):
                self._hold(op, read)
            if op.name in kept:
                self._keep(out)
        self._keep(self.numbers[graph.outputs[0]])

    def settled(self, name: str) -> Numbers:
        """Return the numbers of a tensor's channels after all joins."""
        return np.array([self.channels.find(each) for each in self.numbers[name].tolist()])

    def _written(self, op: Op) -> Numbers:
        read = [self.numbers[name] for name in op.operands]
        out = self.graph.output_of(op)
        row = op.row
        match op.kind:
            case kind if kind in MAKES:
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
            case kind if row.spreads or kind == "CONCATENATION":  # the latter in space
                widest = max(read, key=len)
                for other in read:
                    if len(other) == len(widest):  # one channel may be broadcast over many
                        self.channels.join(widest, other)
                return widest
            case _ if row.by_channel and len(read[0]) == out.shape[-1]:
                return read[0]
            case _:  # rows as a whole, and elements that change places
                self._hold(op, *read)
                return np.zeros(out.shape[-1], np.int64)

    def _reshaped(self, op: Op, read: Numbers, width: int) -> Numbers:
        elements = np.tile(read, self.graph.input_of(op).elements // len(read))
        rows = elements.reshape(-1, width)
        first: Numbers = rows[0]
        if (rows == first).all():
            return first
        self._hold(op, read)
        return np.zeros(width, np.int64)

    def _hold(self, op: Op, *read: Numbers) -> None:
        if any(each.any() for each in read) and op.outputs[0] != self.graph.outputs[0]:
            self.holders.append(op)
        for each in read:
            self._keep(each)

    def _keep(self, numbers: Numbers) -> None:
        self.channels.join(np.zeros_like(numbers), numbers)
