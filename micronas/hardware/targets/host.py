"""TFLM's reference kernels on x86-64, as the `tflite_micro` wheel measures them."""

import math

from micronas.graph.ir import Graph, Op
from micronas.graph.memory import Sizes
from micronas.graph.operators import OPERATORS, WEIGHTED
from micronas.hardware.targets.tflm import Tflm, lstm_scratch, prepared, reference_scratch

_SIZES = Sizes(
    fixed=484,
    pointer=8,
    eval_tensor=24,
    node=64,
    tensor=64,
    affine_quantization=24,
    request=16,
    allocation=32,
    prepared=prepared(24),
    kinds={kind: row.structures for kind, row in OPERATORS.items()},
)


def _scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return scratch sizes: sums of means and maps, and whole filters of unpacked int4 weights."""
    if op.kind == "TRANSPOSE_CONV":
        return ((8 if graph.input_of(op).dtype == "int16" else 4) * graph.output_of(op).elements,)
    if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return lstm_scratch(graph, op, 4)
    if op.kind in WEIGHTED and graph.constant_of(op).dtype == "int4":
        return (math.prod(graph.constant_of(op).shape),)
    return reference_scratch(graph, op)


HOST = Tflm("host", "TFLM's reference kernels on a 64-bit host", _SIZES, _scratch)
