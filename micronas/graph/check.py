"""What an int8 graph must be before it can run: complete, connected, with shapes that agree."""

import math

import numpy as np

from micronas.errors import ModelError
from micronas.graph import lookup
from micronas.graph.ir import Graph, Op, Tensor, same_output

_WINDOWED = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_UNSCALED = ("PAD", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE", "CONCATENATION", "RELU6")
_OPERANDS = {
    **dict.fromkeys(_WEIGHTED, (2, 3)),
    "ADD": (2, 2),
    "PAD": (2, 2),
    "MEAN": (2, 2),
    "RESHAPE": (1, 2),
    "CONCATENATION": (1, 10),  # TFLM takes no more
}
_LARGEST_TENSOR = 2**26


def check_int8(graph: Graph) -> None:
    """Check that a graph can be executed in integers.

    Raises
    ------
    ModelError
        Naming the first tensor or operator that breaks a rule, and its position.
    """
    for tensor in graph.tensors.values():
        _check_tensor(tensor)
        _check_quantization(tensor)
    _check_order(graph, {t.name for t in graph.tensors.values() if t.data is not None})
    for position, op in enumerate(graph.ops):
        rule = broken_rule(graph, op)
        if rule:
            raise ModelError(
                f"{rule}, which {_where(position, op)} breaks; convert the model again"
            )


def check_structure(graph: Graph) -> None:
    """Check what planning a graph's memory takes: sizes, and operators in an order that runs.

    Raises
    ------
    ModelError
        Naming the first tensor or operator that breaks a rule, and its position.
    """
    for tensor in graph.tensors.values():
        _check_tensor(tensor)
    _check_order(graph, {t.name for t in graph.tensors.values() if t.constant})


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
            f"a tensor must have 1 to {_LARGEST_TENSOR} elements, but {tensor.name!r} has shape "
            f"{tensor.shape}; give the model a fixed input shape"
        )
    if tensor.data is not None and tensor.data.shape != tensor.shape:
        raise ModelError(
            f"data must have the tensor's shape, but {tensor.name!r} is {tensor.shape} with data "
            f"{tensor.data.shape}; reshape it"
        )


def _check_quantization(tensor: Tensor) -> None:
    quantization = tensor.quantization
    executable = tensor.dtype == "int32" or (
        tensor.dtype in ("int8", "int4") and quantization is not None
    )
    if not executable:
        raise ModelError(
            f"every tensor must be quantised, but {tensor.name!r} is {tensor.dtype} with"
            f"{'' if quantization else 'out'} a scale; quantise the model to int8 first"
        )
    if quantization is not None:
        scale = quantization.scale
        if not (np.isfinite(scale).all() and (scale > 0).all() and len(scale) > 0):
            raise ModelError(
                f"scales must be finite and positive, but {tensor.name!r} has {scale.min()}; "
                "convert the model again"
            )


def broken_rule(graph: Graph, op: Op) -> str | None:
    """Return the rule for execution in integers that an operator breaks, or None."""
    if op.kind == "UNKNOWN":
        return "an executable graph must have no UNKNOWN operators"
    low, high = _OPERANDS.get(op.kind, (1, 1))
    if not low <= len(op.inputs) <= high or len(op.outputs) != 1:
        return f"{op.kind} must have {low} to {high} inputs and 1 output"
    source = graph.input_of(op)
    parameters = [graph.tensors[name] for name in op.inputs[len(op.operands) :]]
    if any(tensor.data is None for tensor in parameters):
        return f"the parameters of {op.kind} must be constants with data"
    if op.kind not in _WEIGHTED and any(tensor.dtype != "int32" for tensor in parameters):
        return f"the parameters of {op.kind} must be int32"
    if op.kind in _WINDOWED and (len(source.shape) != 4 or min(*op.stride, *op.window) < 1):
        return f"{op.kind} must read [N, height, width, channels] with positive steps"
    return _scale_problem(graph, op) or _weights_problem(graph, op) or _shape_problem(graph, op)


def _scale_problem(graph: Graph, op: Op) -> str | None:
    names = (*op.operands, op.outputs[0])
    quantizations = [graph.tensors[name].quantization for name in names]
    for name, quantization in zip(names, quantizations, strict=True):
        if graph.tensors[name].dtype != "int8" or quantization is None:
            return "activations must be int8"
        if len(quantization.scale) != 1 or not -128 <= quantization.zero_point <= 127:
            return "activations must have one scale and a zero point of -128 to 127"
    scales = [float(q.scale[0]) for q in quantizations if q is not None]
    zero_points = [q.zero_point for q in quantizations if q is not None]
    # TFLite's pooling compares scales to 1e-6, TFLM's CONCATENATION wants them equal.
    tolerance = 0 if op.kind == "CONCATENATION" else 1e-6
    if op.kind in _UNSCALED and (
        max(scales) - min(scales) > tolerance or min(zero_points) != max(zero_points)
    ):
        return f"the inputs and output of {op.kind} must share one scale and zero point"
    if op.kind in ("SOFTMAX", "LOGISTIC") and (scales[-1], zero_points[-1]) != (1 / 256, -128):
        return f"{op.kind} must write scale 1/256 and zero point -128"
    # TFLM aborts the process at factors it cannot write, or shifts by more bits than there are.
    if op.kind == "SOFTMAX" and scales[0] * 2**26 <= 1:
        return "SOFTMAX must read a scale above 2**-26"
    if op.kind in ("LOGISTIC", "RELU6") and not 2**-27 < scales[0] < 2**16:
        return f"{op.kind} must read a scale of 2**-27 to 2**16"
    if op.kind == "RELU" and scales[0] >= scales[-1] * 2**22:
        return "RELU must write a scale above 2**-22 of that it reads"
    if op.kind == "HARD_SWISH":
        shift, gate_shift = lookup.hard_swish_shifts(np.float32(scales[0]), np.float32(scales[-1]))
        if not (-15 <= shift <= 0 and -15 <= gate_shift <= 30):
            return (
                "HARD_SWISH must read a scale of 2**-21 to 2**23 and write 1/127 to 256 times that"
            )
    if op.kind == "ADD" and max(scales[:-1]) >= scales[-1] * 2**19:
        return "ADD must write a scale above 2**-19 of those it reads"
    return None


def _weights_problem(graph: Graph, op: Op) -> str | None:
    if op.kind not in _WEIGHTED:
        return None
    weights = graph.constant_of(op)
    rank = 2 if op.kind == "FULLY_CONNECTED" else 4
    axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
    quantization = weights.quantization
    if weights.dtype not in ("int8", "int4") or len(weights.shape) != rank or quantization is None:
        return f"weights of {op.kind} must be int8 or int4 of rank {rank}"
    channels = weights.shape[axis]
    if quantization.zero_point != 0 or len(quantization.scale) not in (1, channels):
        return "weights must be symmetric with one scale, or one for each channel"
    if len(op.inputs) > 2:
        bias = graph.constant_of(op, 2)
        if bias.dtype != "int32" or bias.shape != (channels,):
            return "a bias must be int32, one value for each channel"
    return None


def _shape_problem(graph: Graph, op: Op) -> str | None:
    source, output = graph.input_of(op), graph.output_of(op)
    expected: tuple[int, ...] | None = source.shape
    if op.kind in _WINDOWED:
        expected = _window_output(graph, op)
    elif op.kind == "FULLY_CONNECTED":
        features, depth = graph.constant_of(op).shape
        fits = source.elements % depth == 0 and output.shape[-1] == features
        fits = fits and output.elements == source.elements // depth * features
        expected = output.shape if fits else None
    elif op.kind == "ADD":
        other = graph.constant_of(op).shape
        sides = zip(source.shape[::-1], other[::-1], strict=False)
        fits = all(a == b or 1 in (a, b) for a, b in sides)
        expected = np.broadcast_shapes(source.shape, other) if fits else None
    elif op.kind == "PAD":
        table = graph.constant_of(op).data
        if table is None or table.shape != (len(source.shape), 2) or table.min() < 0:
            return "PAD must have two amounts >= 0 for each dimension"
        expected = tuple(
            size + int(sum(pair)) for size, pair in zip(source.shape, table, strict=True)
        )
    elif op.kind == "MEAN":
        expected = _mean_output(graph, op)
    elif op.kind == "CONCATENATION":
        expected = _joined(graph, op)
    elif op.kind == "RESHAPE":
        expected = output.shape if output.elements == source.elements else None
    if expected is None:
        return f"operands must fit together, unlike {source.shape} -> {output.shape}"
    if output.shape != expected:
        return f"the output of {op.kind} must have shape {expected}, not {output.shape}"
    return None


def _window_output(graph: Graph, op: Op) -> tuple[int, ...] | None:
    batch, height, width, depth = graph.input_of(op).shape
    channels, window = depth, op.window
    if op.kind in _WEIGHTED:
        first, *window_sizes, last = graph.constant_of(op).shape
        window = (window_sizes[0], window_sizes[1])
        depthwise = op.kind == "DEPTHWISE_CONV_2D"
        channels = last if depthwise else first
        if (depthwise and (first != 1 or last % depth)) or (not depthwise and last != depth):
            return None
    sizes = []
    for size, step, extent in zip((height, width), op.stride, window, strict=True):
        if op.padding == "VALID" and extent > size:
            return None
        valid = (size - extent) // step + 1
        sizes.append(valid if op.padding == "VALID" else same_output(size, step))
    return (batch, sizes[0], sizes[1], channels)


def _joined(graph: Graph, op: Op) -> tuple[int, ...] | None:
    """Shape of tensors side by side; TFLM takes up to 6 dimensions."""
    shapes = [graph.tensors[name].shape for name in op.operands]
    rank, axis = len(shapes[0]), op.axis
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if not 0 <= axis < rank <= 6 or len(rests) > 1 or {len(shape) for shape in shapes} != {rank}:
        return None
    total = sum(shape[axis] for shape in shapes)
    return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])


def _mean_output(graph: Graph, op: Op) -> tuple[int, ...] | None:
    """Shape of a mean over the spatial axes, which may be kept as 1 or dropped."""
    shape, data = graph.input_of(op).shape, graph.constant_of(op).data
    if data is None or len(shape) != 4 or {int(axis) % 4 for axis in data.flat} != {1, 2}:
        return None
    dropped = (shape[0], shape[3])
    return dropped if len(graph.output_of(op).shape) == 2 else (shape[0], 1, 1, shape[3])
