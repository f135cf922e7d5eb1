"""Inputs to try an exported network on: random ones, or those of a .npy file."""

from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np

from micronas.errors import DataError, ModelError
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import Values

# The header is Python text, and a damaged one fails in every way that Python's text does.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, EOFError, SyntaxError, TokenError, OverflowError),
    *(MemoryError, RecursionError, BadZipFile),
)


def random_inputs(graph: Graph, count: int, *, seed: int) -> Values:
    """Return int8 [count, ...] of random codes for a graph's input.

    Raises
    ------
    ModelError
        If the graph has no input.
    """
    if not graph.inputs:
        raise ModelError("a model must have an input to be run, but has none; convert it again")
    shape = (count, *graph.tensors[graph.inputs[0]].shape[1:])
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def read_inputs(path: Path) -> Values:
    """Read an array [N, ...] of examples from a ``.npy`` file.

    Raises
    ------
    DataError
        If the file is not one array.
    """
    try:
        # mapped, so that a header cannot ask for more memory than the file has bytes
        with np.errstate(over="ignore"):
            values = np.load(path, mmap_mode="r", allow_pickle=False)
    except _UNREADABLE as error:
        raise DataError(f"examples must be a .npy file of an int8 array: {error}") from error
    if not isinstance(values, np.ndarray):
        raise DataError(f"examples must be one array, but {path} holds several; save a .npy file")
    return np.array(values)
