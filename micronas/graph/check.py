"""Check that an int8 graph is complete and connected, with shapes that agree."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from micronas.errors import ModelError
from micronas.graph import recurrent
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.kernels import RULES
from micronas.graph.kernels.rule import fused_scale, product_scales, wide_room
from micronas.graph.operators.row import Operator, Scale, Weights

_LARGEST_TENSOR = 2**26
_LONGEST_STEP = 2**16
"""Largest stride, window or dilation; beyond it an index of TFLM overflows, and a padded map takes
terabytes."""
_LARGEST_BIAS = 2**46
"""Half of what TFLM rescales of an int64; so are the products added to it."""
_TOLERANCE: Mapping[Scale, float] = {"shared": 1e-6, "identical": 0.0}


def check_int8(graph: Graph, *, wide: bool = False) -> None:
    """Check that a graph can be executed in integers; with `wide`, activations may be int16.

    Raises ModelError if a rule is broken; the error names the first tensor or operator, and its
    position.
    """
    for tensor in graph.tensors.values():
        _check_tensor(tensor)
        _check_quantization(tensor, wide)
    known = {t.name for t in graph.tensors.values() if t.data is not None or t.variable}
    _check_order(graph, known)
    _check_interface(graph, wide)
    for position, op in enumerate(graph.ops):
        rule = broken_rule(graph, op, wide=wide)
        if rule:
            raise ModelError(
                f"{rule}, which {_where(position, op)} breaks; convert the model again"
            )


def check_structure(graph: Graph) -> None:
    """Check what a memory plan of a graph needs: sizes, and operators in an order that runs.

    Raises ModelError if a rule is broken; the error names the first tensor or operator, and its
    position.
    """
    for tensor in graph.tensors.values():
        _check_tensor(tensor)
    _check_order(graph, {t.name for t in graph.tensors.values() if t.constant})


def _check_interface(graph: Graph, wide: bool) -> None:
    """Check inputs and outputs. An unused input is valid: TFLM gives it its place in the arena."""
    written = {name for op in graph.ops for name in op.outputs}
    for names, role in ((graph.inputs, "input"), (graph.outputs, "output")):
        for name in names:
            if names.count(name) > 1:
                raise ModelError(
                    f"every {role} must be a tensor of its own, but {name!r} is listed "
                    f"{names.count(name)} times; list it once, or copy it with a RESHAPE"
                )
    for name in graph.outputs:
        if name not in written:
            what = "an input" if name in graph.inputs else "a constant"
            raise ModelError(
                f"an output must be computed by an operator, but {name!r} is {what}; leave it out, "
                "as the caller has it already"
            )
    if not graph.inputs:
        raise ModelError("a model must have an input to be run, but has none; convert it again")
    for name in graph.inputs:
        if graph.tensors[name].constant:
            raise ModelError(
                f"an input must be a tensor without data, but {name!r} is a constant; "
                "convert the model again"
            )
    for name in (*graph.inputs, *graph.outputs):
        if graph.tensors[name].dtype not in _activations(wide):
            raise ModelError(
                f"inputs and outputs must be {' or '.join(_activations(wide))}, but {name!r} is "
                f"{graph.tensors[name].dtype}; "
                "convert the model with int8 input and output"
            )


def _where(position: int, op: Op) -> str:
    return f"op {position} ({op.kind} {op.name!r})"


def _check_order(graph: Graph, constants: set[str]) -> None:
    known = constants | set(graph.inputs)
    for position, op in enumerate(graph.ops):
        wrong = [name for name in op.inputs if name not in known]
        for name in op.outputs:
            if name in known:
                wrong.append(name)
            known.add(name)
        if wrong:
            raise ModelError(
                "a tensor must be written once, before it is read, but "
                f"{_where(position, op)} reads or overwrites {wrong[0]!r}; "
                "order the operators as they run"
            )
    if not set(graph.outputs) <= known or not graph.outputs:
        raise ModelError(
            f"the outputs of a graph must be computed, but {graph.outputs} are not all; "
            "name tensors that an operator writes"
        )


def _check_tensor(tensor: Tensor) -> None:
    size = math.prod(tensor.shape)
    if not tensor.shape or min(tensor.shape) < 1 or size > _LARGEST_TENSOR:
        raise ModelError(
            f"a tensor must have 1 to {_LARGEST_TENSOR} elements, but {tensor.name!r:.80} has "
            f"shape {tensor.shape!s:.80}; give the model a fixed input shape"
        )
    if tensor.data is not None and tensor.data.shape != tensor.shape:
        raise ModelError(
            f"data must have the tensor's shape, but {tensor.name!r} is {tensor.shape} with data "
            f"{tensor.data.shape}; reshape it"
        )


def _activations(wide: bool) -> tuple[str, ...]:
    return ("int8", "int16") if wide else ("int8",)


def _check_quantization(tensor: Tensor, wide: bool) -> None:
    quantization = tensor.quantization
    executable = tensor.dtype in ("int32", *(("int64",) if wide else ())) or (
        tensor.dtype in ("int4", *_activations(wide or tensor.variable))
        and quantization is not None
    )
    if not executable:
        raise ModelError(
            f"every tensor must be quantised, but {tensor.name!r} is {tensor.dtype} with"
            f"{'' if quantization else 'out'} a scale; quantise the model to int8 first"
        )
    if quantization is not None and not are_sound(quantization.scale):
        raise ModelError(
            f"scales must be finite and positive, but {tensor.name!r} has "
            f"{quantization.scale.min()}; "
            "convert the model again"
        )


def are_sound(scales: npt.NDArray[np.float32]) -> bool:
    """Return whether there are scales and all are finite and positive."""
    if len(scales) == 1:  # nearly always
        return 0 < float(scales[0]) < math.inf
    return len(scales) > 0 and bool(np.isfinite(scales).all() and (scales > 0).all())


def broken_rule(graph: Graph, op: Op, *, wide: bool = False) -> str | None:
    """Return the rule for execution in integers that an operator breaks, or None.

    With `wide`, activations may be int16 where the operator's row says so.
    """
    if op.kind == "UNKNOWN":
        return "an executable graph must have no UNKNOWN operators"
    row = op.row
    low, high = row.inputs
    if not low <= len(op.inputs) <= high or len(op.outputs) != 1:
        return f"{op.kind} must have {low} to {high} inputs and 1 output"
    source = graph.input_of(op)
    parameters = [graph.tensors[name] for name in op.inputs[len(op.operands) :]]
    if any(tensor.data is None and not tensor.variable for tensor in parameters):
        return f"the parameters of {op.kind} must be constants with data"
    wanted = "int8" if op.kind == "TABLE" else "int32"
    if not op.learnt and any(tensor.dtype != wanted for tensor in parameters):
        return f"the parameters of {op.kind} must be int32"
    if row.windowed:
        steps = (*op.stride, *op.window, *op.dilation)
        if len(source.shape) != 4 or min(steps) < 1 or max(steps) > _LONGEST_STEP:
            return f"{op.kind} must read [N, height, width, channels] with steps of 1 to 65,536"
    return (
        _scale_problem(graph, op, row, wide)
        or (_weights_problem(graph, op, row.weights) if row.weights else None)
        or (recurrent.broken(graph, op) if row.recurrent else None)
        or _shape_problem(graph, op, row)
    )


def agree(graph: Graph, op: Op) -> bool:
    """Return whether operands and output of an operator share one quantisation, if they must.

    TFLite accepts scales that differ by up to 1e-6, in some operators only equal ones.
    """
    if op.row.scale not in _TOLERANCE:
        return True
    every = [graph.tensors[name].quantization for name in (*op.operands, op.outputs[0])]
    scales = [float(each.scale[0]) for each in every if each is not None]
    zero_points = {each.zero_point for each in every if each is not None}
    return max(scales) - min(scales) <= _TOLERANCE[op.row.scale] and len(zero_points) == 1


def _table_problem(graph: Graph, op: Op) -> str | None:
    """Return the broken rule for types and scales of POSITIONS or TABLE, or None."""
    source, output = graph.input_of(op), graph.output_of(op)
    types = ("int8", "int32") if op.kind == "POSITIONS" else ("int32", "int8")
    if (source.dtype, output.dtype) != types:
        return f"{op.kind} must go from {types[0]} to {types[1]}"
    if source.quantization is None or output.quantization is None:
        return f"{op.kind} must have scales"
    if op.kind == "TABLE":
        same = graph.constant_of(op).quantization == output.quantization
        return None if same else "TABLE must write the scale and zero point of its table"
    moved = replace(source.quantization, zero_point=source.quantization.zero_point + 128)
    return None if moved == output.quantization else "POSITIONS must count codes from -128"


def _scale_problem(graph: Graph, op: Op, row: Operator, wide: bool) -> str | None:
    if op.kind in ("POSITIONS", "TABLE"):
        return _table_problem(graph, op)
    scales, zero_points = [], []
    taken = _activations(wide and row.wide)
    types = [graph.tensors[name].dtype for name in (*op.operands, op.outputs[0])]
    if not {*types} <= {*taken} or (len({*types}) > 1 and op.kind != "QUANTIZE"):
        return f"activations of {op.kind} must all be {' or '.join(taken)}"
    for name in (*op.operands, op.outputs[0]):
        tensor = graph.tensors[name]
        quantization = tensor.quantization
        if quantization is None:
            return "activations must have a scale"
        if tensor.dtype == "int16" and quantization.zero_point != 0:
            return "activations of int16 must have zero point 0"
        if len(quantization.scale) != 1 or not -128 <= quantization.zero_point <= 127:
            return "activations must have one scale and a zero point of -128 to 127"
        scales.append(float(quantization.scale[0]))
        zero_points.append(quantization.zero_point)
    *sources, output = scales
    fixed = row.fixed_in(types[-1])
    if fixed and (output, zero_points[-1]) != fixed:
        scale, zero_point = fixed
        return f"{op.kind} must write scale 1/{1 / scale:g} and zero point {zero_point}"
    if row.compares and not agree(graph, op):
        return f"the inputs and output of {op.kind} must share one scale and zero point"
    assert op.kind != "UNKNOWN", op
    rule = RULES[op.kind].scales
    room = wide_room(types[:-1].count("int16"))
    broken = (rule(sources, output * room) if rule else None) or fused_scale(op, output)
    return broken.format(kind=op.kind) if broken else None


def _weights_problem(graph: Graph, op: Op, expected: Weights) -> str | None:
    weights = graph.constant_of(op)
    quantization, rank = weights.quantization, expected.rank
    is_wide = graph.input_of(op).dtype == "int16"
    types = ("int8",) if is_wide or expected.int4_version is None else ("int8", "int4")
    if weights.dtype not in types or len(weights.shape) != rank or quantization is None:
        return f"weights of {op.kind} must be {' or '.join(types)} of rank {rank}"
    channels = weights.shape[expected.axis]
    if quantization.zero_point != 0 or len(quantization.scale) not in (1, channels):
        return "weights must be symmetric with one scale, or one for each channel"
    factors = [_largest(each) for each in (graph.input_of(op), weights)]
    if problem := product_scales(factors, _largest(graph.output_of(op))):
        return problem
    if is_wide and (not op.biases or math.prod(factors) >= 2**7 * _largest(graph.output_of(op))):
        return (
            f"{op.kind} of int16 must have a bias, and a scale above 2**-7 of the product it reads"
        )
    wanted = "int64" if is_wide else "int32"
    for name in op.biases:
        bias = graph.tensors[name]
        if bias.dtype != wanted or bias.shape != (channels,):
            return f"a bias must be {wanted}, one value for each channel"
        if bias.data is not None and np.abs(bias.data.astype(np.float64)).max() >= _LARGEST_BIAS:
            return "a bias must be below 2**46"
    return None


def _largest(tensor: Tensor) -> float:
    assert tensor.quantization is not None, tensor
    return float(tensor.quantization.scale.max())


def _shape_problem(graph: Graph, op: Op, row: Operator) -> str | None:
    source, output = graph.input_of(op), graph.output_of(op)
    assert op.kind != "UNKNOWN", op
    expected = RULES[op.kind].shape(graph, op)
    if isinstance(expected, str):
        return expected
    if expected is None:
        return f"operands must fit together, unlike {source.shape} -> {output.shape}"
    if output.shape != expected:
        return f"the output of {op.kind} must have shape {expected}, not {output.shape}"
    return None
