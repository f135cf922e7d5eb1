"""Softmax and normalisation of rows, products of matrices, and LSTM."""

import math
import textwrap
from typing import Any

import numpy as np

from micronas.engine.kernels.elements import factor_of
from micronas.engine.steps import Call, Constant, Overlap, Step
from micronas.graph import recurrent
from micronas.graph.ir import Graph, Tensor
from micronas.graph.kernels.codes import data, scale, zero_point
from micronas.graph.products import depth as depth_of
from micronas.resources import filled

_IN_PLACE = {0: Overlap(0)}


def softmax(graph: Graph, step: Step) -> list[Call]:
    return [
        Call("softmax", ("softmax",), softmax_fields(graph, step), "Softmax", overlaps=_IN_PLACE)
    ]


def log_softmax(graph: Graph, step: Step) -> list[Call]:
    fields = softmax_fields(graph, step)
    multiplier, shift = fields["factor"]
    back = factor_of(2.0 ** (31 - shift) / multiplier)
    fields = {"softmax": fields, "back": back}
    return [Call("log_softmax", ("log_softmax",), fields, "LogSoftmax", overlaps=_IN_PLACE)]


def softmax_fields(graph: Graph, step: Step) -> dict[str, Any]:
    """Return rows and their length, and the factor and radius of differences."""
    source = graph.tensors[step.source]
    factor = factor_of(min(float(scale(source)) * 2**26, 2**31 - 1.0))
    radius = min(int(31 * 2.0**26 / 2.0 ** factor[1]), 255)
    return {**_rows(source), "factor": factor, "radius": radius}


def l2_normalization(graph: Graph, step: Step) -> list[Call]:
    source = graph.tensors[step.source]
    fields = {**_rows(source), "zero": zero_point(source)}
    return [Call("normalize", ("normalize",), fields, "Normalize", overlaps=_IN_PLACE)]


def _rows(tensor: Tensor) -> dict[str, Any]:
    return {"rows": math.prod(tensor.shape[:-1]), "count": tensor.shape[-1]}


def _constant(tensor: Tensor, dtype: type[np.generic]) -> Constant:
    return Constant((tensor.elements,), dtype, lambda: data(tensor).ravel())


def batch_matmul(graph: Graph, step: Step) -> list[Call]:
    op = step.op
    tensors = [graph.tensors[name] for name in step.operands]
    output = graph.output_of(op)
    outer = (1,) * (4 - len(output.shape)) + output.shape[:-2]
    steps = []
    for tensor, swap in zip(tensors, op.transposed, strict=True):
        shape = (1,) * (4 - len(tensor.shape)) + tensor.shape
        strides = [math.prod(shape[axis + 1 :]) for axis in range(4)]
        spread = [one if size > 1 else 0 for size, one in zip(shape[:2], strides, strict=False)]
        steps.append((*spread, *(strides[:1:-1] if swap else strides[2:])))
    fields = {
        "outer": outer,
        "left": steps[0],
        "right": steps[1],
        "rows": output.shape[-2],
        "columns": output.shape[-1],
        "depth": depth_of(graph, op),
        "left_zero": zero_point(tensors[0]),
        "right_zero": zero_point(tensors[1]),
        "zero": zero_point(output),
        "factor": factor_of(float(scale(tensors[0]) * scale(tensors[1]) / scale(output))),
    }
    return [Call("matrices", ("matrices",), fields, "Matrices", (0, 1), is_reference=True)]


def lstm(graph: Graph, step: Step) -> list[Call]:
    op = step.op
    source, output = graph.tensors[step.source], graph.output_of(op)
    step_of_cell = float(scale(graph.tensors[op.inputs[-1]]))
    limit = int(min(float(np.float32(op.clip)) / step_of_cell, 32767.0))
    gates = [
        {
            "weights": _constant(weights, np.int8),
            "before": _constant(before, np.int8),
            "bias": _constant(bias, np.int32),
            "read": factor_of(float(scale(source) * scale(weights) / 2.0**-12)),
            "kept": factor_of(float(scale(output) * scale(before) / 2.0**-12)),
        }
        for weights, before, bias in recurrent.gates(graph, op)
    ]
    _, steps, depth = source.shape
    fields = {
        "gates": gates,
        "steps": steps,
        "depth": depth,
        "units": output.shape[2],
        "zero": zero_point(source),
        "hidden_zero": zero_point(output),
        "kept": factor_of(2.0**-15),
        "added": factor_of(2.0**-30 / step_of_cell),
        "written": factor_of(2.0**-30 / float(scale(output))),
        "limit": limit if op.clip > 0 else -1,
        "power": recurrent.power_of(step_of_cell),
    }
    numbers = textwrap.fill(", ".join(map(str, recurrent.SIGMOID)), 96)
    return [
        Call(
            "lstm",
            (),
            fields,
            "Lstm",
            is_reference=True,
            state=True,
            generated={"lstm": filled("engine/lstm.c.in", {"SIGMOID": numbers})},
        )
    ]
