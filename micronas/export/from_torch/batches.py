"""Batches of inputs as callers pass them: checked, and by the names of a graph."""

from collections.abc import Mapping

import torch
from torch import Tensor

from micronas.errors import ExportError
from micronas.graph.interface import by_name
from micronas.graph.ir import Graph


def by_input(graph: Graph, batch: object) -> dict[str, Tensor]:
    """Return a batch's inputs by name, as the graph stores them: sequences as maps of width 1.

    Raises
    ------
    ExportError
        If an input is not a dense tensor of floats with examples.
    DataError
        If there are not as many as the graph takes.
    """
    if not isinstance(batch, Tensor | Mapping | list | tuple):
        raise ExportError(
            f"calibration batches must be input tensors, but one is {type(batch).__name__}; "
            "of a loader with labels pass (inputs for inputs, labels in loader)"
        )
    found = {}
    for name, value in by_name(graph, batch).items():
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.is_meta:
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ExportError(
                f"calibration batches must be floating-point tensors, but one is {kind}; "
                "of a loader with labels pass (inputs for inputs, labels in loader)"
            )
        if value.layout != torch.strided or not value.numel():
            raise ExportError(
                "calibration batches must be dense and have examples, but one is "
                f"{value.layout} {list(value.shape)}; leave it out"
            )
        is_sequence = value.ndim == 3 and len(graph.tensors[name].shape) == 4
        found[name] = (value.unsqueeze(-1) if is_sequence else value).detach().float()
    return found
