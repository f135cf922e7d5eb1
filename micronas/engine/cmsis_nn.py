"""Second back end: calls of CMSIS-NN, where its functions give the bits of integer execution.

It computes convolutions of 8-bit weights, pools, sums and products of maps of one shape, and
softmax; kernels of the engine compute the rest. Scratch memory is CMSIS-NN's on the core.
"""

from collections.abc import Callable

import numpy as np

from micronas.engine.kernels import Makers, maker_of
from micronas.engine.kernels.elements import factors
from micronas.engine.kernels.rows import softmax_fields
from micronas.engine.kernels.weighted import Rescaling
from micronas.engine.kernels.window import Window, window_of
from micronas.engine.steps import Call, Constant, Fields, Maker, Overlap, Step
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.kernels.codes import activation_range, data, scale, zero_point
from micronas.quantities import aligned

Scratch = Callable[[Graph, Op], tuple[int, ...]]
"""Function to the bytes of scratch memory of an operator's kernel."""


def makers(scratch: Scratch) -> Makers:
    """Return the makers of calls of CMSIS-NN on a core with this scratch memory."""
    taken = {
        "CONV_2D": _convolution,
        "DEPTHWISE_CONV_2D": _convolution,
        "FULLY_CONNECTED": _convolution,
        "AVERAGE_POOL_2D": _pool,
        "MAX_POOL_2D": _pool,
        "ADD": _pair,
        "MUL": _pair,
        "SOFTMAX": _softmax,
    }

    def of(kind: Kind) -> Maker | None:
        own, make = maker_of(kind), taken.get(kind)
        if own is None or make is None:
            return own
        return lambda graph, step: (
            make(graph, step, sum(scratch(graph, step.op))) or own(graph, step)
        )

    return of


def _convolution(graph: Graph, step: Step, scratch: int) -> list[Call]:
    op, weights = step.op, graph.constant_of(step.op)
    if weights.dtype == "int4":
        return []
    output, by_channel = graph.output_of(op), op.kind == "DEPTHWISE_CONV_2D"
    if op.kind == "FULLY_CONNECTED":  # a convolution over a map of one column
        channels, depth = weights.shape
        pixels = graph.tensors[step.source].elements // depth
        size, one = (pixels, 1), (1, 1)
        zero = zero_point(graph.tensors[step.source])
        window, groups, scratch = Window(size, depth, size, one, one, one, (0, 0), zero), 1, 0
    else:
        taps = weights.shape[1], weights.shape[2]
        window = window_of(graph, step, taps)
        channels, groups = weights.shape[-1 if by_channel else 0], graph.groups_of(op)
        # scratch memory is the padded map's, for which CMSIS-NN may choose another function
        if step.pads and (max(step.pads) > 1 or min(taps) == 1):
            return []
    rescaling = Rescaling(graph, step, is_folded=False)
    if rescaling.largest >= 2**31:
        return []
    fields = {
        "params": {
            "input_offset": -window.zero,
            "output_offset": zero_point(output),
            **({"ch_mult": channels // window.depth} if by_channel else {}),
            "stride": _tile(window.stride),
            "padding": _tile(window.before),
            "dilation": _tile(window.dilation),
            "activation": _activation(graph, op),
        },
        "multipliers": Constant((channels,), np.int32, lambda: rescaling.multiplier),
        "shifts": Constant((channels,), np.int32, lambda: -rescaling.right),
        "biases": Constant((channels,), np.int32, lambda: rescaling.bias),
        "weights": Constant((weights.elements,), np.int8, lambda: data(weights).reshape(-1)),
        "source": _dims(window.size, window.depth),
        "filter": _dims(window.taps, channels)
        if by_channel
        else _dims(window.taps, window.depth // groups, channels),
        "bias": _dims((1, 1), channels),
        "output": _dims(window.out, channels),
        "scratch": scratch,
    }
    name = "cmsis_depthwise" if by_channel else "cmsis_convolution"
    return [_call(name, name.title().replace("_", ""), fields, scratch, window)]


def _pool(graph: Graph, step: Step, scratch: int) -> list[Call]:
    op = step.op
    window = window_of(graph, step, op.window)
    fields = {
        "params": {
            "stride": _tile(window.stride),
            "padding": _tile(window.before),
            "activation": _activation(graph, op),
        },
        "source": _dims(window.size, window.depth),
        "filter": _dims(window.taps, 1),
        "output": _dims(window.out, window.depth),
        "scratch": scratch,
    }
    name = "cmsis_average" if op.kind == "AVERAGE_POOL_2D" else "cmsis_largest"
    return [_call(name, "CmsisPool", fields, scratch, window)]


def _pair(graph: Graph, step: Step, scratch: int) -> list[Call]:
    op, output = step.op, graph.output_of(step.op)
    tensors = [graph.tensors[name] for name in step.operands]
    if {each.shape for each in tensors} != {output.shape}:
        return []
    low, high = activation_range(op, output)
    fields = {
        "count": output.elements,
        "first_zero": zero_point(tensors[0]),
        "second_zero": zero_point(tensors[1]),
        "zero": zero_point(output),
        "low": low,
        "high": high,
        **factors(op.kind, [float(scale(each)) for each in tensors], float(scale(output))),
    }
    name = "cmsis_add" if op.kind == "ADD" else "cmsis_multiply"
    in_place = {0: Overlap(0), 1: Overlap(0)}
    return [Call(name, (name,), fields, "CmsisPair", (0, 1), overlaps=in_place)]


def _softmax(graph: Graph, step: Step, scratch: int) -> list[Call]:
    fields = softmax_fields(graph, step)
    if fields["factor"][1] < 0:
        return []
    return [Call("cmsis_softmax", ("cmsis_softmax",), fields, "CmsisSoftmax")]


def _call(name: str, structure: str, fields: Fields, scratch: int, window: Window) -> Call:
    work = max(aligned(scratch), 4)
    return Call(name, (name,), fields, structure, scratch=work, maps=window.maps)


def _tile(pair: tuple[int, int]) -> Fields:
    return {"h": pair[0], "w": pair[1]}


def _dims(size: tuple[int, int], depth: int, count: int = 1) -> Fields:
    return {"n": count, "h": size[0], "w": size[1], "c": depth}


def _activation(graph: Graph, op: Op) -> Fields:
    low, high = activation_range(op, graph.output_of(op))
    return {"min": low, "max": high}
