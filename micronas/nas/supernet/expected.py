"""Expected counts under gates: differentiable, exact when gates are one-hot.

An operator's features depend on the widths it reads and writes, its kernel and its bits. Each
combination is priced once, as an exported graph is; a step computes the sum over operators of
P(present) x E[features]. Sources: MicroNets (arXiv 2010.11267) equation 2 and section 5.1 for
counts and working memory; residuals that stay alive, which the paper's bound misses, are added.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

from micronas.graph.ir import Graph, Op
from micronas.graph.operators import MAKES, WEIGHTED
from micronas.hardware.board import Board
from micronas.hardware.features import FEATURES
from micronas.hardware.targets import Target
from micronas.nas.supernet.gates import Gates, Sample
from micronas.nas.supernet.width_distribution import WidthDistribution, joint, numbers
from micronas.space.channels import Channels
from micronas.space.choice_graph import Acts, ChoiceGraph, Selection, When, both
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable
from micronas.tflite.metadata import placeholder

_SOFTNESS = 0.02
"""Softness of the maximum over operators, as a share of it."""
_COLUMNS = (*FEATURES, "channels", "layers", "scratch")
"""Columns of an operator; the last three: output channels and number of layers with weights, and
scratch memory in bytes."""


@dataclass
class _Expected:
    """Expected counts of a network drawn from gates (float64 scalars).

    `features` has the names of `hardware.features`; `flash` and `sram` are smooth approximations of
    the file size and the arena, in bytes, up to a factor that `search` measures on samples (the
    exact planner has no gradient).
    """

    features: dict[str, Tensor]
    flash: Tensor
    sram: Tensor

    def by_limit(self, board: Board, kind: str) -> dict[str, Tensor]:
        """Return costs by name of limit, in the units of the limits."""
        return {
            "sram": self.sram,
            "flash": self.flash,
            "latency": board.latency_ms(self.features, space=kind),
            "macs": self.features["macs"],
        }


def expected(space: Searchable, gates: Sample, *, target: Target) -> _Expected:
    """Return the expected counts of a network drawn from gates.

    `gates` are probabilities, or a (soft or one-hot) sample, of each decision; `target` prices
    operators.
    """
    return _tables(space.choices, target).expected(gates)


@lru_cache(maxsize=16)
def _tables(choices: ChoiceGraph, target: Target) -> "CostTables":
    return CostTables(choices, target)


class CostTables:
    """Features of every operator of a graph with choices, at every combination of its sizes."""

    def __init__(self, choices: ChoiceGraph, target: Target) -> None:
        self._choices, self._target = choices, target
        ops = [step for step in choices.steps if isinstance(step, Op)]
        self._ops = [op for op in ops if op.outputs[0] in choices.when]
        tables: dict[Any, Tensor] = {}
        rows = [_Row(choices, op, tables, target) for op in self._ops]
        groups: dict[Any, list[int]] = {}
        for number, row in enumerate(rows):
            groups.setdefault(row.table_key, []).append(number)
        self._rows, self._groups = rows, list(groups.values())
        self._order = torch.tensor([number for group in self._groups for number in group])
        self._held = _held(choices, self._ops)
        self._zero_points = _ZeroPoints.of(choices, self._ops)
        self._rest = 0.0, 0.0
        largest = tuple(len(decision.options) - 1 for decision in choices.decisions)
        if choices.decisions:
            self._rest = self._missing(choices.resolve(largest), largest)

    def _missing(self, graph: Graph, choice: Choice) -> tuple[float, float]:
        """Return the bytes of file and arena that the expectation leaves out, for one network."""
        gates = Gates(self._choices.decisions).one_hot(choice)
        smooth, exact = self.expected(gates), self._target.plan(graph)
        labels = graph.tensors[graph.outputs[0]].elements
        channels = graph.tensors[graph.inputs[0]].shape[-1]
        size = self._target.model_bytes(graph, metadata=placeholder(labels, channels))
        return size - float(smooth.flash), exact.total - float(smooth.sram)

    def expected(self, gates: Sample) -> _Expected:
        distribution = WidthDistribution(self._choices, gates)
        present = torch.stack([distribution.probability(row.when) for row in self._rows])
        parts = []
        for group in self._groups:
            rows = [self._rows[number] for number in group]
            parts.append(rows[0].contract([joint(distribution, row.axes) for row in rows]))
        counted = torch.cat(parts)[torch.argsort(self._order)]
        total = present @ counted
        sums = dict(zip(_COLUMNS, total, strict=True))
        channels, layers = sums.pop("channels"), sums.pop("layers")
        del sums["scratch"]
        growth = self._target.growth
        alive = present * counted[:, -1] + self._held.bytes(distribution, len(self._ops))
        scale = _SOFTNESS * alive.detach().max()
        return _Expected(
            sums,
            flash=sums["weights_bytes"]
            + growth.flash_per_channel * channels
            + growth.flash_per_width * self._zero_points.count(distribution)
            + growth.flash_per_layer * layers
            + self._rest[0],
            sram=scale * (alive / scale).logsumexp(0)
            + growth.sram_per_channel * channels
            + growth.sram_per_layer * layers
            + self._rest[1],
        )


class _Row:
    """One operator: its independent sizes, and its table over them.

    `tables` are those of earlier operators, by key: layers of one shape share a table.
    """

    def __init__(
        self, choices: ChoiceGraph, op: Op, tables: dict[Any, Tensor], target: Target
    ) -> None:
        self.when = choices.when[op.outputs[0]]
        acts, out = choices.acts.get(op.name, Acts()), choices.channels[op.outputs[0]]
        sources = [choices.channels[name] for name in op.operands]
        makes = op.kind in MAKES or op.kind == "SLICE"
        widths = list(dict.fromkeys([*sources, out] if makes else sources))
        filters = {
            name: number
            for name in ("kernel", "bits")
            if (number := getattr(acts, name)) is not None
        }
        self.axes: tuple[Channels | int, ...] = (*widths, *filters.values())
        sizes = [each.values for each in widths]
        options = [range(len(choices.decisions[number].options)) for number in filters.values()]
        places = [widths.index(each) for each in sources]
        self.table_key = (
            replace(op, name="", inputs=(), outputs=(), activation="NONE"),
            op.name in choices.widening,
            tuple(choices.tensors[name].shape[:-1] for name in (*op.operands, *op.outputs)),
            _filter_key(choices, op, filters),
            tuple(sizes),
            tuple(places),
        )
        known = tables.get(self.table_key)
        if known is None:
            rows = []
            for picked in product(*sizes, *options):
                given = [picked[place] for place in places]
                width = picked[widths.index(out)] if makes else _written(choices, op, given)
                filtered = dict(zip(filters, picked[len(sizes) :], strict=True))
                alone = choices.alone(op, given, width, **filtered)
                rows.append(_price(alone, target))
            shape = (*map(len, sizes), *map(len, options), len(_COLUMNS))
            known = torch.tensor(rows, dtype=torch.float64).view(shape)
            tables[self.table_key] = known
        self._table = known

    def contract(
        self, distributions: "Sequence[Sequence[tuple[Tensor, Sequence[Tensor]]]]"
    ) -> Tensor:
        """Return expected columns [rows, columns] of rows that share this table.

        Each row has a list of weighted terms, each with one distribution per axis; rows with
        dependent axes have several terms.
        """
        found = []
        if all(len(each) == 1 for each in distributions):
            probabilities = [
                torch.stack([row[0][1][axis] for row in distributions])
                for axis in range(len(self.axes))
            ]
            return _contracted(self._table, probabilities, len(distributions))
        for row in distributions:
            total: Tensor | float = 0.0
            for weight, single in row:
                total = total + weight * _contracted(self._table, [e[None] for e in single], 1)
            found.append(total)
        return torch.cat(found)  # type: ignore[arg-type]


def _contracted(table: Tensor, probabilities: Sequence[Tensor], rows: int) -> Tensor:
    """Sum a table [axes ..., columns] over its axes, weighted by [rows, options] for each."""
    if not probabilities:
        return table.expand(rows, -1)
    first, *rest = probabilities
    shape = table.shape[1:]
    value = (first @ table.reshape(table.shape[0], -1)).view(rows, *shape)
    for each in rest:
        shape = value.shape[2:]
        value = torch.bmm(each[:, None], value.reshape(rows, each.shape[1], -1)).view(rows, *shape)
    return value


def _filter_key(choices: ChoiceGraph, op: Op, filters: Mapping[str, int]) -> Any:
    """Return a filter's part of a table's key: its size and bits, without widths."""
    own = [choices.tensors[name] for name in op.inputs[len(op.operands) :]]
    inner = [
        (each.shape[1:-1], each.dtype, each.shape if each.dtype == "int32" else ()) for each in own
    ]
    ratio = 0
    if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):  # groups, and outputs for each channel
        depth, part = choices.tensors[op.operands[0]].shape[-1], own[0].shape[-1]
        ratio = depth // part if op.kind == "CONV_2D" else part // depth
    chosen = {name: choices.decisions[number].options for name, number in filters.items()}
    tables = tuple(
        each.data.tobytes() for each in own if each.dtype == "int32" and each.data is not None
    )
    return tuple(inner), ratio, tuple(chosen.items()), tables


def _written(choices: ChoiceGraph, op: Op, operands: Sequence[int]) -> int:
    """Return the output channels of an operator from those of its operands."""
    source, out = (choices.tensors[name].shape[-1] for name in (op.operands[0], op.outputs[0]))
    if op.kind == "CONCATENATION" and op.axis == len(choices.tensors[op.outputs[0]].shape) - 1:
        return sum(operands)
    if len(operands) > 1:  # element by element, one channel broadcast over many included
        return max(operands)
    if op.kind == "PAD":
        return operands[0] + out - source
    return operands[0] * out // source


def _price(graph: Graph, target: Target) -> list[float]:
    counted = target.features(graph)
    weighted = any(op.kind in WEIGHTED for op in graph.ops)
    channels = graph.tensors[graph.outputs[0]].shape[-1] if weighted else 0
    scratch = sum(buffer.size for buffer in target.plan(graph).buffers if buffer.is_scratch)
    return [*(float(counted[name]) for name in FEATURES), channels, float(weighted), float(scratch)]


@dataclass(frozen=True)
class _ZeroPoints:
    """The lists of zero points in a file: one for each width that some filter writes."""

    conditions: dict[Channels, list[When]]
    """Conditions under which the filters of each `Channels` are present."""
    widths: Tensor
    """All possible widths, float64, in rising order."""

    @classmethod
    def of(cls, choices: ChoiceGraph, ops: Sequence[Op]) -> "_ZeroPoints":
        conditions: dict[Channels, list[When]] = {}
        for op in ops:
            if op.row.weights is not None and op.row.weights.per_channel:
                found = conditions.setdefault(choices.channels[op.outputs[0]], [])
                found.append(choices.when[op.outputs[0]])
        widths = sorted({width for each in conditions for width in each.values})
        return cls(conditions, torch.tensor(widths, dtype=torch.float64))

    def count(self, distribution: WidthDistribution) -> Tensor:
        """Return the expected number of zero points, as if widths were independent."""
        missing = torch.ones_like(self.widths)
        for channels, conditions in self.conditions.items():
            present = torch.stack([distribution.probability(each) for each in conditions]).max()
            place = torch.searchsorted(self.widths, numbers(channels.values))
            likely = torch.zeros_like(missing).index_add(
                0, place, present * distribution.widths(channels)
            )
            missing = missing * (1 - likely)
        return self.widths @ (1 - missing)


@dataclass(frozen=True)
class _Held:
    """Activations that are alive while each operator runs, and their conditions."""

    tensors: list[Channels]
    conditions: list[When]
    entries: Tensor
    """int64 [entries, 3]: operator, tensor, condition."""
    rows: Tensor
    """float64 [entries]: bytes of one channel."""

    def bytes(self, distribution: WidthDistribution, operators: int) -> Tensor:
        widths = torch.stack([distribution.mean(each) for each in self.tensors])
        likely = torch.stack([distribution.probability(each) for each in self.conditions])
        op, tensor, condition = self.entries.T
        amounts = likely[condition] * self.rows * widths[tensor]
        return torch.zeros(operators, dtype=torch.float64).index_add(0, op, amounts)


def _held(choices: ChoiceGraph, ops: Sequence[Op]) -> _Held:
    start = {choices.input: -1}
    uses: dict[str, list[tuple[int, When]]] = {}
    position = 0
    for step in choices.steps:
        if isinstance(step, Selection):
            start[step.name] = position  # the selected branch lives on under this name
        elif step.outputs[0] in choices.when:
            start[step.outputs[0]] = position
            for name in step.operands:
                uses.setdefault(name, []).append((position, choices.when[step.outputs[0]]))
            position += 1
    tensors: dict[Channels, int] = {}
    conditions: list[When] = []
    entries, rows = [], []
    for name, first in start.items():
        for number, op in enumerate(ops):
            own = choices.when[op.outputs[0]]
            later = [both(own, when) for use, when in uses.get(name, ()) if use >= number]
            if op.outputs[0] == name:
                later.append(own)
            possible = [each for each in later if each is not None]
            if number < first or not possible:
                continue
            alive = own if own in possible else possible[0]
            if alive not in conditions:
                conditions.append(alive)
            tensor = tensors.setdefault(choices.channels[name], len(tensors))
            entries.append((number, tensor, conditions.index(alive)))
            rows.append(float(prod(choices.tensors[name].shape[:-1])))
    held = torch.tensor(rows, dtype=torch.float64)
    return _Held(list(tensors), conditions, torch.tensor(entries), held)
