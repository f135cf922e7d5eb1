"""Inputs for an exported network: random ones, or those of a .npy or .npz file."""

from pathlib import Path

import numpy as np

from micronas.errors import DataError
from micronas.graph.interface import Given
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import Values, limits, stored
from micronas.npz import read_arrays


def random_inputs(graph: Graph, count: int, *, seed: int) -> dict[str, Values]:
    """Return random codes, int8 or int16 [count, ...], for each of a graph's inputs, by name."""
    source = np.random.default_rng(seed)
    return {name: _codes(source, graph, name, count) for name in graph.inputs}


def _codes(source: np.random.Generator, graph: Graph, name: str, count: int) -> Values:
    tensor = graph.tensors[name]
    (low, high), shape = limits(tensor), tensor.shape
    rest = shape[1:] if shape[0] == 1 else shape
    return stored(source.integers(low, high + 1, (count, *rest)), tensor)


def read_inputs(path: Path) -> Given[Values]:
    """Read examples [N, ...]: an array from a ``.npy`` file, several by name from an ``.npz``.

    Raises DataError if the file is neither.
    """
    try:
        return read_arrays(path)
    except ValueError as error:
        raise DataError(
            f"examples must be a .npy file of an int8 array, or an .npz of several: {error}"
        ) from error
