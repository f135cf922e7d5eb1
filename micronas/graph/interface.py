"""Inputs and outputs of a graph: one value, several by position, or several by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, Union

from micronas.errors import ConfigError, DataError, ExportError
from micronas.graph.ir import Graph

Value = TypeVar("Value")
Given = Union[Value, Sequence[Value], Mapping[str, Value]]  # noqa: UP007 (an alias with a variable)
"""A value alone, a tuple or list in the order of the graph, or a mapping by name."""


def by_name(graph: Graph, given: Given[Value]) -> dict[str, Value]:
    """Return the inputs of a graph by name, in its order.

    Raises DataError if they are not those that the graph takes.
    """
    names = graph.inputs
    if isinstance(given, Mapping):
        got, fits = f"{', '.join(map(str, given)) or 'none'}", set(given) == set(names)
        found = {name: given[name] for name in names} if fits else {}
    else:
        values = given if isinstance(given, list | tuple) else [given]
        got, fits = f"{len(values)} without names", len(values) == len(names)
        found = dict(zip(names, values, strict=False))
    if not fits:
        raise DataError(
            f"inputs must be one for each of {', '.join(names)}, but got {got}; "
            "pass a tuple in this order, or a mapping by these names"
        )
    return found


def alone_or_tuple(outputs: Mapping[str, Value]) -> Value | tuple[Value, ...]:
    """Return the only output of a graph, or a tuple of several in its order."""
    values = tuple(outputs.values())
    return values[0] if len(values) == 1 else values


def only_output(graph: Graph) -> str:
    """Return the name of the only output.

    Raises DataError if there are several.
    """
    if len(graph.outputs) != 1:
        raise DataError(
            f"one output is wanted here, but the network has {len(graph.outputs)} "
            f"({', '.join(graph.outputs)}); ask for all of them"
        )
    return graph.outputs[0]


def check_one_each(graph: Graph, who: str) -> None:
    """Raise ConfigError, which names `who`, unless a network has one input and one output."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ConfigError(
            f"{who} must take one tensor and give one, but takes {len(graph.inputs)} "
            f"({', '.join(graph.inputs)}) and gives {len(graph.outputs)} "
            f"({', '.join(graph.outputs)}); use a network of one input and output"
        )


def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return a graph with other names of tensors, by the present ones; operators keep theirs.

    Files, firmware and mappings use the names of inputs and outputs. Raises ExportError if no
    tensor has a name, or two would have the same.
    """
    now = {name: names.get(name, name) for name in graph.tensors}
    if missing := sorted({*names} - {*now}):
        raise ExportError(
            f"a tensor to be renamed must be in the graph, but {missing[0]!r} is not; "
            f"inputs and outputs are {', '.join((*graph.inputs, *graph.outputs))}"
        )
    if len({*now.values()}) < len(now):
        taken = next(new for new in names.values() if [*now.values()].count(new) > 1)
        raise ExportError(
            f"tensors must have names of their own, but two would be {taken!r}; choose another"
        )

    def new(listed: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(now[name] for name in listed)

    tensors = {now[name]: replace(each, name=now[name]) for name, each in graph.tensors.items()}
    ops = (replace(op, inputs=new(op.inputs), outputs=new(op.outputs)) for op in graph.ops)
    return Graph(tensors, tuple(ops), new(graph.inputs), new(graph.outputs))
