"""Functions of one code that TFLM has no kernel for: a table of 256 codes, picked by position."""

import numpy as np

from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.codes import Kernel, data


def positions(graph: Graph, op: Op) -> Kernel:
    """From a code to its place in a table that starts with that of -128."""
    return lambda x: x.astype(np.int32) + 128  # type: ignore[return-value]


def table(graph: Graph, op: Op) -> Kernel:
    codes = data(graph.constant_of(op)).astype(np.int8)
    return lambda places: codes[places]
