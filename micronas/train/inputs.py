"""Check inputs of callers and loaders, and return them by the names of a graph."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Union

import torch
from torch import Tensor

from micronas.errors import ExportError
from micronas.graph.interface import Given, by_name
from micronas.graph.ir import Graph

Calibration = Union[Tensor, Iterable[Union[Given[Tensor], tuple[Given[Tensor], object]]]]  # noqa: UP007
"""Typical inputs: one tensor of examples, or batches of them, with or without labels."""
_AT_ONCE = 64
"""Examples per batch of a tensor of examples."""
_HELD = 2**20
"""Most elements of the largest activation to compute at once."""


def calibration_batches(graph: Graph, calibration: Calibration) -> Iterator[dict[str, Tensor]]:
    """Yield inputs by name.

    `calibration` is a tensor of examples; or an iterable, such as a DataLoader, of batches: a
    tensor, a tuple of one for each input, a mapping by name, or any of these in a pair with labels,
    which are ignored. Raises ExportError if it is neither, or an input is not a dense tensor of
    numbers with examples, DataError if there are not as many as the graph takes.
    """
    if isinstance(calibration, Tensor):
        calibration = torch.split(calibration, _AT_ONCE) if calibration.ndim else ()
    if not isinstance(calibration, Iterable) or isinstance(calibration, str | bytes):
        raise ExportError(
            f"calibration must be inputs, but is {type(calibration).__name__}; pass a tensor of "
            "examples, a list of batches or a DataLoader"
        )
    for batch in calibration:
        yield by_input(graph, _without_labels(batch, len(graph.inputs)))


def in_parts(graph: Graph, batch: Given[Tensor]) -> list[dict[str, Tensor]]:
    """Split a batch into parts, of few examples where activations are large."""
    given = by_name(graph, batch)
    splits = (torch.split(each, examples_of(graph, _HELD)) for each in given.values())
    return [dict(zip(given, each, strict=True)) for each in zip(*splits, strict=True)]


def examples_of(graph: Graph, numbers: int) -> int:
    """Return how many examples have `numbers` elements of the largest activation, at least one."""
    largest = max(each.elements for each in graph.tensors.values() if not each.constant)
    return max(1, numbers // largest)


def by_input(graph: Graph, batch: object) -> dict[str, Tensor]:
    """Return a batch's inputs by name, as the graph stores them: sequences as maps of width 1.

    Raises ExportError if one is not a dense tensor of numbers with examples, DataError if there are
    not as many as the graph takes.
    """
    if not isinstance(batch, Tensor | Mapping | list | tuple):
        raise ExportError(
            f"batches must be of tensors, but one is {type(batch).__name__}; pass tensors"
        )
    found = {}
    for name, value in by_name(graph, batch).items():
        if not isinstance(value, Tensor) or value.is_complex() or value.is_meta:
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ExportError(
                f"batches must be tensors of numbers, but input {name} of one is {kind}; "
                "convert it as the module's own input is"
            )
        if value.layout != torch.strided or not value.numel():
            raise ExportError(
                "batches must be dense and have examples, but one is "
                f"{value.layout} {list(value.shape)}; leave it out"
            )
        found[name] = as_stored(graph, name, value).detach().float()
    return found


def as_stored(graph: Graph, name: str, value: Tensor) -> Tensor:
    """Return an input with the dimensions the graph stores: sequences as maps of width 1."""
    is_sequence = value.ndim == 3 and len(graph.tensors[name].shape) == 4
    return value.unsqueeze(-1) if is_sequence else value


def _without_labels(batch: object, inputs: int) -> object:
    """Return the inputs of a batch, which precede labels: ``(inputs, labels)`` or flat."""
    if not isinstance(batch, list | tuple) or not batch:
        return batch
    if len(batch) == 2 and isinstance(batch[0], list | tuple | Mapping):
        return batch[0]
    return batch[:inputs] if len(batch) == inputs + 1 else batch
