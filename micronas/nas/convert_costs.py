"""Expected costs of a network whose widths are decided by gates: exact, by enumeration.

An operator's costs depend on a few widths, and those on a few decisions. All sets of widths an
operator can have are listed once, and each is priced as an exported graph is; what is left for a
step is the probability of each. So the expectation is the mean over all networks, whatever the
operator, and with certain gates it is the count on the exported graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from micronas.graph.counts import count
from micronas.graph.ir import Graph, Op
from micronas.hardware.features import FEATURES, features
from micronas.hardware.targets import plan
from micronas.nas.convert_channels import ALWAYS, Channels, resized
from micronas.nas.cost import Expected
from micronas.nas.gates import Sample
from micronas.tflite.metadata import placeholder
from micronas.tflite.writer import flatbuffer_bytes

_SOFTNESS = 0.02
"""Of the maximum over operators, as a share of it."""


@dataclass(frozen=True)
class _Table:
    """Costs of one operator at every set of widths its tensors can have."""

    spread: tuple[tuple[int, Tensor], ...]
    """For one decision after another: [sets so far, options], the set that both lead to."""
    costs: Tensor
    """[sets, features + 1]: FEATURES, then bytes of scratch memory."""

    def expected(self, weights: Mapping[int, Tensor]) -> Tensor:
        probability = torch.ones(1, dtype=torch.float64)
        for decision, leads_to in self.spread:
            joint = probability[:, None] * weights[decision]
            sets = torch.zeros(int(leads_to.max()) + 1, dtype=torch.float64)
            probability = sets.index_add(0, leads_to.flatten(), joint.flatten())
        return probability @ self.costs


class CostTables:
    """Costs of all networks with some of a graph's channels.

    Features are exact expectations. The file and the arena are smooth stand-ins, as for a search
    space: bytes a channel and in all are taken from the smallest and the largest network.
    """

    def __init__(self, channels: Channels) -> None:
        self._tables = [_table(channels, op) for op in channels.graph.ops]
        self._alive = _alive(channels)
        last = tuple(len(decision.options) - 1 for decision in channels.decisions)
        ends = [channels.narrowed(choice) for choice in (tuple(0 for _ in last), last)]
        biases = [float(_biases(count(graph).features)) for graph in ends]
        files = [
            flatbuffer_bytes(graph, metadata=placeholder(channels.classes))
            - count(graph).weights_bytes
            for graph in ends
        ]
        self._file = _line(biases, files)
        self._tail = _line(biases, [plan(graph).tail for graph in ends])

    def expected(self, gates: Sample) -> Expected:
        """Return the expected costs of a network drawn from gates.

        Parameters
        ----------
        gates
            Probabilities, or a (soft or one-hot) sample, of each decision, in their order.
        """
        weights = {ALWAYS: torch.ones(1, dtype=torch.float64)}
        weights |= {number: each.double() for number, each in enumerate(gates.values())}
        rows = torch.stack([table.expected(weights) for table in self._tables])
        counted = dict(zip(FEATURES, rows.sum(0)[:-1], strict=True))
        held = torch.stack([weights[owner] @ held for owner, held in self._alive.items()])
        alive = held.sum(0) + rows[:, -1]
        scale = _SOFTNESS * alive.detach().max()
        biases = _biases(counted)
        return Expected(
            counted,
            flash=counted["weights_bytes"] + self._file[0] + self._file[1] * biases,
            sram=scale * (alive / scale).logsumexp(0) + self._tail[0] + self._tail[1] * biases,
        )


def _table(channels: Channels, op: Op) -> _Table:
    names = tuple(dict.fromkeys((*op.operands, *op.outputs)))
    widths = [channels.widths[name] for name in names]
    sets = [tuple(each[ALWAYS][0] for each in widths)]
    spread: list[tuple[int, Tensor]] = []
    for owner in sorted({owner for each in widths for owner in each} - {ALWAYS}):
        none = (0,) * len(channels.decisions[owner].options)
        gains = list(zip(*(each.get(owner, none) for each in widths), strict=True))
        reached = [
            [tuple(a + b for a, b in zip(start, gain, strict=True)) for gain in gains]
            for start in sets
        ]
        sets = list(dict.fromkeys(found for row in reached for found in row))
        numbers = {found: number for number, found in enumerate(sets)}
        leads_to = torch.tensor([[numbers[found] for found in row] for row in reached])
        spread.append((owner, leads_to))
    tensors = {name: channels.graph.tensors[name] for name in (*op.inputs, *op.outputs)}
    alone = Graph(tensors, (op,), op.operands, op.outputs)
    rows = [_price(resized(alone, dict(zip(names, found, strict=True)))) for found in sets]
    return _Table(tuple(spread), torch.tensor(rows, dtype=torch.float64))


def _price(graph: Graph) -> list[float]:
    counted = features(graph)
    scratch = sum(buffer.size for buffer in plan(graph).buffers if buffer.is_scratch)
    return [*(float(counted[name]) for name in FEATURES), float(scratch)]


def _alive(channels: Channels) -> dict[int, Tensor]:
    """Bytes that each decision's options hold while each operator runs: [options, operators]."""
    graph, layout = channels.graph, plan(channels.graph)
    sizes = {ALWAYS: 1} | {n: len(each.options) for n, each in enumerate(channels.decisions)}
    alive = {
        owner: torch.zeros(size, len(graph.ops), dtype=torch.float64)
        for owner, size in sizes.items()
    }
    for position in range(len(graph.ops)):
        for buffer in layout.live(position):
            if buffer.is_scratch:
                continue
            tensor = graph.tensors[buffer.name]
            for owner, widths in channels.widths[buffer.name].items():
                rows = tensor.elements // tensor.shape[-1]
                alive[owner][:, position] += rows * torch.tensor(widths)
    return alive


def _biases(counted: Mapping[str, Tensor] | Mapping[str, int]) -> Tensor:
    """Biases of a network without int4 weights: they alone take four bytes."""
    return torch.as_tensor((counted["weights_bytes"] - counted["weights"]) / 3)


def _line(x: list[float], y: list[int]) -> tuple[float, float]:
    """Intercept and slope of the line through two points."""
    slope = (y[1] - y[0]) / (x[1] - x[0])
    return y[0] - slope * x[0], slope
