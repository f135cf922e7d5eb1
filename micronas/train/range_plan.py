"""Ranges of a float graph's activations: tensors that share one, and what sets each."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from micronas.graph.ir import Graph
from micronas.graph.requantize import owners
from micronas.train.clamps import hidden, unseen
from micronas.train.fake_quantize import LOWEST
from micronas.train.functions import HIT, PLACE, ROWS
from micronas.train.network import nonnegative_tensors


@dataclass(frozen=True)
class RangePlan:
    """Ranges of a graph; each has the name of the tensor that owns it."""

    graph: Graph

    @cached_property
    def owners(self) -> dict[str, str]:
        """Owner of each tensor's range."""
        return owners(self.graph)

    @cached_property
    def hiding(self) -> set[str]:
        """Ranges with constants that hide values from a softmax."""
        clamps = [op for op in self.graph.ops if op.kind == "MINIMUM"]
        return {self.owners[name] for op in clamps for name in hidden(self.graph, op)}

    @cached_property
    def seen(self) -> set[str]:
        """Tensors whose values determine their range."""
        return self.owners.keys() - unseen(self.graph)

    @cached_property
    def sources(self) -> Counter[str]:
        """Number of tensors that determine each range."""
        return Counter(self.owners[name] for name in self.seen)

    @cached_property
    def on_grid(self) -> set[str]:
        """Tensors whose values are on their grid as they are computed."""
        return {op.outputs[0] for op in self.graph.ops if op.row.on_grid}

    @cached_property
    def fixed(self) -> dict[str, tuple[float, int]]:
        """Scale and zero point of the ranges that operators fix."""
        graph = self.graph
        found = {
            self.owners[op.outputs[0]]: fixed
            for op in graph.ops
            if (fixed := op.row.fixed_in(graph.output_of(op).dtype)) is not None
        }
        numbers = {op.inputs[0] for op in graph.ops if op.function == ROWS}
        numbers |= {op.outputs[0] for op in graph.ops if op.function in (HIT, PLACE)}
        return found | {self.owners[name]: (1.0, LOWEST) for name in numbers}

    @cached_property
    def given(self) -> set[str]:
        """Ranges of constants alone."""
        tensors = self.graph.tensors
        moving = {owner for name, owner in self.owners.items() if not tensors[name].constant}
        return {*self.owners.values()} - moving

    @cached_property
    def negative(self) -> set[str]:
        """Ranges that may hold a value below zero."""
        nonnegative = nonnegative_tensors(self.graph)
        found = {owner for name, owner in self.owners.items() if name not in nonnegative}
        return found - {self.owners[op.inputs[0]] for op in self.graph.ops if op.kind == "RSQRT"}
