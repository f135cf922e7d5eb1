"""Operators on single elements: functions of one code, and pairs of elements."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np

from micronas.arrays import Shape
from micronas.engine.steps import Call, Fields, Overlap, Rows, Step
from micronas.errors import ExportError
from micronas.graph import fixed_point
from micronas.graph.ir import Graph, Tensor
from micronas.graph.kernels import kernel_of
from micronas.graph.kernels.codes import activation_range, data, scale, zero_point

_CODES = np.arange(-128, 128, dtype=np.int8)
_IN_PLACE = Overlap(0)
_BITS = 20
_SQUARE_BITS = 7
"""Spare bits of operands at their common scale; see graph.kernels.elements."""
_SHIFTS = range(1, 23)


def function(graph: Graph, step: Step) -> list[Call]:
    """Return the calls of a function of one code: a table, or bounds where it only clips."""
    return _looked_up(graph, step, kernel_of(graph, step.op)(_CODES[:, None]).ravel())


def positions(graph: Graph, step: Step) -> list[Call]:
    """Return no call: codes serve as their places in a table."""
    return []


def table(graph: Graph, step: Step) -> list[Call]:
    codes = graph.constant_of(step.op)
    if len(codes.shape) > 1:
        raise ExportError(
            f"the engine must look up single codes, but {step.op.name!r} looks up rows of "
            f"{codes.shape[1]}, as an embedding does; take --format c with TFLM"
        )
    if codes.data is None:  # any function of one code
        return _looked_up(graph, step, -1 - _CODES)
    return _looked_up(graph, step, data(codes).astype(np.int8))


def _looked_up(graph: Graph, step: Step, codes: np.ndarray) -> list[Call]:
    count = graph.output_of(step.op).elements
    low, high = int(codes.min()), int(codes.max())
    if np.array_equal(codes, _CODES):
        return []
    if np.array_equal(codes, np.clip(_CODES, low, high)):
        fields = {"count": count, "low": low, "high": high}
        return [
            Call(
                "clamp",
                ("clamp",),
                fields,
                "Clamp",
                overlaps={0: _IN_PLACE},
                rows=Rows(),
            )
        ]
    looked: Fields = {"codes": codes, "count": count}
    return [Call("table", ("table",), looked, "Table", overlaps={0: _IN_PLACE}, rows=Rows())]


def add(graph: Graph, step: Step) -> list[Call]:
    """Return the calls of ADD; of two maps of one shape the coarser comes first."""
    op = step.op
    tensors = [graph.tensors[name] for name in step.operands]
    output = graph.output_of(op)
    order = (0, 1) if scale(tensors[0]) >= scale(tensors[1]) else (1, 0)
    coarse, fine = (tensors[place] for place in order)
    multiplier, shift = factor_of(scale(fine) / (2 * scale(coarse)))
    out_multiplier, out_shift = factor_of(2 * scale(coarse) / (2**_BITS * scale(output)))
    if scale(fine) == scale(coarse):  # a half, which no shift to the right of 1 makes exactly
        multiplier, shift = 2**31 - 1, -1
    usual = -shift in _SHIFTS
    if {each.shape for each in tensors} != {output.shape} or not usual or -out_shift not in _SHIFTS:
        return _spread(graph, step, "sum_pairs")
    low, high = activation_range(op, output)
    fields = {
        "count": output.elements,
        "multiplier": multiplier,
        "shift": -shift,
        "rounding": 1 << -shift - 1,
        "out_multiplier": out_multiplier,
        "out_shift": -out_shift,
        "out_rounding": (2 * zero_point(output) + 1) * (1 << -out_shift - 1),
        "coarse_zero": zero_point(coarse),
        "fine_zero": zero_point(fine),
        "low": low,
        "high": high,
    }
    overlaps = {0: _IN_PLACE, 1: _IN_PLACE}
    return [Call("add", ("add",), fields, "Add", order, overlaps=overlaps, rows=Rows())]


def pairs(graph: Graph, step: Step) -> list[Call]:
    return _spread(graph, step, _FUNCTIONS[step.op.kind])


_FUNCTIONS: Mapping[str, str] = {
    "SUB": "subtract",
    "MUL": "multiply",
    "SQUARED_DIFFERENCE": "squared_difference",
    "MAXIMUM": "maximum",
    "MINIMUM": "minimum",
    "PRELU": "bend",
}


def _spread(graph: Graph, step: Step, name: str) -> list[Call]:
    op = step.op
    tensors = [graph.tensors[name] for name in step.operands]
    output = graph.output_of(op)
    low, high = activation_range(op, output)
    plain = op.kind in ("MAXIMUM", "MINIMUM")
    sizes, first, second = _steps(tensors, output)
    fields = {
        "rank": len(sizes),
        "sizes": sizes,
        "first": first,
        "second": second,
        "first_zero": zero_point(tensors[0]),
        "second_zero": zero_point(tensors[1]),
        "zero": 0 if plain else zero_point(output),
        "low": low,
        "high": high,
        **factors(op.kind, [float(scale(each)) for each in tensors], float(scale(output))),
    }
    same = {place: _IN_PLACE for place, each in enumerate(tensors) if each.shape == output.shape}
    return [Call(name, (name,), fields, "Spread", (0, 1), overlaps=same, is_reference=True)]


def factors(kind: str, scales: list[float], output: float) -> Fields:
    """Return the factors by which codes of two operands, and of the result, are rescaled."""
    left, right = scales
    names = ("first_factor", "second_factor", "factor")
    none: Fields = {"bits": 0, **dict.fromkeys(names, (0, 0))}
    if kind in ("MAXIMUM", "MINIMUM"):
        return none
    if kind in ("MUL", "PRELU"):
        above = {"first_factor": factor_of(left / output)} if kind == "PRELU" else {}
        return {**none, **above, "factor": factor_of(left * right / output)}
    common = 2 * max(scales)
    bits = _SQUARE_BITS if kind == "SQUARED_DIFFERENCE" else _BITS
    step = (
        common**2 / (output * 2.0 ** (2 * bits))
        if bits == _SQUARE_BITS
        else common / (2.0**bits * output)
    )
    return {
        "bits": bits,
        "first_factor": factor_of(left / common),
        "second_factor": factor_of(right / common),
        "factor": factor_of(step),
    }


def factor_of(real: float) -> tuple[int, int]:
    """Return a factor as its multiplier and shift."""
    multiplier, shift = fixed_point.quantize_multiplier(real)
    return int(multiplier), int(shift)


def _steps(tensors: list[Tensor], output: Tensor) -> tuple[tuple[int, ...], ...]:
    """Return sizes and both operands' steps, with dimensions of like steps joined."""
    axes = joined_axes([each.shape for each in tensors], output.shape) or [((True, True), 1)]
    sizes = tuple(size for _, size in axes)
    steps = [
        tuple(
            math.prod(size for has, size in axes[axis + 1 :] if has[place]) * axes[axis][0][place]
            for axis in range(len(axes))
        )
        for place in (0, 1)
    ]
    return sizes, *steps


def joined_axes(shapes: Sequence[Shape], out: Shape) -> list[tuple[tuple[bool, ...], int]]:
    """Return axes of an output longer than 1, neighbours joined where the same operands have them.

    Each is a pair: whether each operand has it, and its size. Operands may lack the first axes.
    """
    wide = [(1,) * (len(out) - len(shape)) + shape for shape in shapes]
    axes = [
        (tuple(each == size for each in own), size)
        for size, *own in zip(out, *wide, strict=True)
        if size > 1
    ]
    alike = groupby(axes, key=itemgetter(0))
    return [(has, math.prod(size for _, size in group)) for has, group in alike]
