"""Bits of each operator's weights."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from micronas.errors import ExportError
from micronas.graph.builder import Bits
from micronas.graph.ir import Graph
from micronas.train.network import weighted_ops

LayerBits = Bits | Mapping[str, Bits]
"""One number for CONV_2D and FULLY_CONNECTED, or numbers by name or pattern of the operator."""


def bits_of_layers(graph: Graph, bits: LayerBits) -> dict[str, Bits]:
    """Return the bits of the weights of each operator that has weights."""
    ops = weighted_ops(graph)
    marked: dict[str, Bits] = {
        op.name: 4 if graph.constant_of(op).dtype == "int4" else 8 for op in ops
    }
    if not isinstance(bits, Mapping):
        return {
            op.name: bits
            if bits == 4 and op.kind != "DEPTHWISE_CONV_2D" and graph.takes_int4(op)
            else marked[op.name]
            for op in ops
        }
    names = [op.name for op in ops]
    for pattern, width in bits.items():
        is_name = isinstance(pattern, str) and any(fnmatchcase(name, pattern) for name in names)
        if width not in (8, 4) or not is_name:
            raise ExportError(
                f"bits must map names of layers with weights to 8 or 4, but has {pattern!r}: "
                f"{width}; the layers are {', '.join(names)}"
            )
    matches = {name: [bits[key] for key in bits if fnmatchcase(name, key)] for name in names}
    widths = {name: found[0] if found else marked[name] for name, found in matches.items()}
    refused = [op.name for op in ops if widths[op.name] == 4 and not graph.takes_int4(op)]
    if refused:
        raise ExportError(
            "the device's kernels must take int4 weights, but they take 8 bits alone in groups and "
            f"in transposed convolutions: {', '.join(refused)}; leave these out of bits"
        )
    return widths
