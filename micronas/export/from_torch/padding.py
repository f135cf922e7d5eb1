"""Padding of maps: by TFLite's SAME where it means the same, and else by PAD."""

import numpy as np

from micronas.export.from_torch.layout import Value, canonical, rows_of
from micronas.export.from_torch.tracer import Pair, Tracer
from micronas.graph import ir
from micronas.graph.ir import Op, Padding, same_output, same_padding


def with_pad(tracer: Tracer, name: str, source: str, table: ir.Array, fill: float = 0.0) -> str:
    """Append a PAD before and after each dimension, a PADV2 unless `fill` is zero."""
    grown = zip(tracer.tensors[source].shape, table.sum(axis=1).tolist(), strict=True)
    amounts = tracer.filled(f"{name}/amounts", table)
    op = Op("PAD", name, (source, amounts), (name,))
    if fill:
        value = tracer.filled(f"{name}/value", np.array([fill], np.float32))
        op = Op("PADV2", name, (source, value, amounts), (name,))
    return tracer.append(op, tuple(size + more for size, more in grown)).tensor


def placed(
    tracer: Tracer,
    name: str,
    source: str,
    window: Pair,
    stride: Pair,
    before: Pair,
    *,
    same: bool = True,
    zeros: bool = True,
) -> tuple[str, Padding]:
    """Return a window's source and TFLite padding, with a PAD before it if necessary.

    There are `before` rows and columns of padding before the map; padding after it follows from the
    size of the result: none is added that no window reads. Flags say whether TFLite's SAME padding
    and zeros around the map are equivalent to torch's padding for this operator.
    """
    height, width = tracer.shape_of(source)[1:3]
    amounts, fits = margins(tracer, (height, width), window, stride, before)
    none = not any(map(any, amounts))
    if fits and (same or none):
        return source, "SAME"
    if none:
        return source, "VALID"
    if not zeros:
        raise tracer.refusal(
            f"padding must be as TFLite's SAME places it, but is {amounts} for a window of "
            f"{window} with stride {stride} on {[height, width]}",
            "pool behind a ReLU, or without padding",
        )
    table = np.array([(0, 0), *amounts, (0, 0)], np.int32)
    return with_pad(tracer, f"{name}/pad", source, table), "VALID"


def margins(
    tracer: Tracer, size: Pair, window: Pair, stride: Pair, before: Pair
) -> tuple[list[Pair], bool]:
    """Return padding before and after each dimension, and whether SAME means the same."""
    sizes = list(zip(size, tracer.map_shape[2:], window, stride, before, strict=True))
    amounts = [(b, max((out - 1) * s + k - n - b, 0)) for n, out, k, s, b in sizes]
    fits = all(
        same_output(n, s) == out and same_padding(n, k, s) == pads
        for (n, out, k, s, _), pads in zip(sizes, amounts, strict=True)
    )
    return amounts, fits


def without_pad(tracer: Tracer, node: object) -> tuple[Value, Pair]:
    """Remove a PAD of rows and columns that only this node reads.

    Return the value before it, and its rows and columns of padding before the map.
    """
    value = tracer.map_value(node)
    op = tracer.producer(node, ("PAD",))
    if op is None or value.positions.numel() != tracer.elements_of(op.outputs[0]):
        return value, (0, 0)
    table = tracer.tensors[op.inputs[1]].data
    found = rows_of(value.positions.movedim(1, -1), tracer.elements_of(value.tensor))
    if table is None or len(table) != 4 or table[0].any() or table[3].any() or found is None:
        return value, (0, 0)
    for name in (op.outputs[0], op.inputs[1]):
        del tracer.tensors[name]
    del tracer.ops[op.outputs[0]]
    before = int(table[1, 0]), int(table[2, 0])
    return Value(op.inputs[0], canonical(tracer.shape_of(op.inputs[0]), found[1])), before
