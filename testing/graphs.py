"""Random int8 graphs for tests: networks of the builder, quantised with plausible scales."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from micronas.graph.ir import DataType, Graph, Kind, Op, Padding, Quantization, Tensor, extent
from micronas.graph.operators import OPERATORS, WEIGHTED
from testing import elements
from testing.builder import Builder
from testing.map_networks import map_network
from testing.map_operators import MAPS, map_op
from testing.movement import MOVEMENT, movement_op
from testing.products import product_op
from testing.recurrent import lstm_op, quantize_lstm

_WINDOWED = [kind for kind, row in OPERATORS.items() if row.windowed]
_SAME_SCALE = [kind for kind, row in OPERATORS.items() if row.scale in ("shared", "identical")]
_FIXED = {kind: row.fixed for kind, row in OPERATORS.items() if row.fixed}


def random_int8_graph(seed: int, *, family: str | None = None) -> Graph:
    """Make a small DS-CNN ("ds_cnn") or MobileNet-like ("mobilenet") network with random weights.

    Others are "maps", of any operators on maps, and "series", of those with kernels k x 1.

    Widths, kernels, strides, depth and scales follow from the seed; `family` is drawn when None.
    """
    rng = np.random.default_rng(seed)
    family = family or str(rng.choice(["ds_cnn", "mobilenet"]))
    return quantize_randomly(random_shapes(seed, family=family), seed)


def random_op_graph(kind: Kind, seed: int, *, plain: bool = False) -> Graph:
    """Make a graph of one operator with random shapes, options and scales.

    Scales reach from outputs that hardly move to outputs that saturate. Weights are int4 at times,
    and biases missing, unless `plain`: LiteRT's reference kernels do not take every combination.
    """
    rng = np.random.default_rng(seed)
    if kind in ("POSITIONS", "TABLE"):
        shape = rng.integers(1, (13, 13, 10))
        builder = Builder((int(shape[0]), int(shape[1]), int(shape[2])))
        return quantize_randomly(builder.finish(builder.function("input", "output", "")), seed)
    source = (1, *(int(size) for size in rng.integers(1, (13, 13, 10))))
    if kind in (*elements.PAIRS, *elements.SINGLE) and rng.random() < 0.4 and not plain:
        source = elements.of_any_rank(kind, rng)
    tensors = {"input": Tensor("input", source)}
    make = _windowed_op if kind in _WINDOWED else movement_op if kind in MOVEMENT else _plain_op
    if kind in MAPS:
        make = map_op
    if kind in ("BATCH_MATMUL", "UNIDIRECTIONAL_SEQUENCE_LSTM"):
        op = (product_op if kind == "BATCH_MATMUL" else lstm_op)(tensors, rng)
    else:
        op = make(kind, tensors, rng)
    if plain and len(op.learnt) == 1:
        channels = tensors["output"].shape[-1]
        tensors["bias"] = Tensor("bias", (channels,), constant=True)
        op = replace(op, inputs=(*op.inputs[:2], "bias", *op.inputs[2:]))
    graph = Graph(tensors, (op,), ("input",), ("output",))
    is_packed = rng.random() < 1 / 3 and not plain
    graph = quantize_randomly(
        graph,
        seed,
        filters="int4" if is_packed else "int8",
        by_output=kind == "FULLY_CONNECTED" and not plain and bool(rng.random() < 0.5),
    )
    free = {"LOGISTIC", "TANH", "LOG_SOFTMAX", "L2_NORMALIZATION", *elements.RESCALING}
    if kind in free and not plain:
        scale = 10 ** rng.uniform(-3, 1.5)
        graph = _rescaled(graph, "input", scale, int(rng.integers(-128, 128)))
    if kind in _SAME_SCALE or kind in _FIXED or op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return graph
    usual = "input" if kind in elements.RESCALING else "output"
    quantization = graph.tensors[usual].quantization
    assert quantization is not None
    scale = float(quantization.scale[0]) * 10 ** rng.uniform(-1.5, 0.5)
    return _rescaled(graph, "output", scale, int(rng.integers(-128, 128)))


def _rescaled(graph: Graph, name: str, scale: float, zero_point: int) -> Graph:
    tensor = _activation(graph.tensors[name], scale, zero_point)
    return replace(graph, tensors={**graph.tensors, name: tensor})


def random_inputs(graph: Graph, count: int, seed: int = 0) -> npt.NDArray[np.int8]:
    """Return int8 [count, ...]: random codes, the first example all -128, the second all 127."""
    shape = graph.tensors[graph.inputs[0]].shape
    shape = shape[1:] if shape[0] == 1 else shape
    codes = np.random.default_rng(seed).integers(-128, 128, (count, *shape)).astype(np.int8)
    codes[:1], codes[1:2] = -128, 127
    return codes


def random_shapes(seed: int, *, family: str) -> Graph:
    """Return the shapes-only graph that `random_int8_graph` quantises."""
    rng = np.random.default_rng(seed)
    if family in ("maps", "series"):
        return map_network(rng, series=family == "series")
    return _ds_cnn(rng) if family == "ds_cnn" else _mobilenet(rng)


def ds_cnn(width: int = 64, blocks: int = 4, classes: int = 12) -> Graph:
    """Return the keyword spotting DS-CNN of MLPerf Tiny's shape, without weights."""
    builder = Builder((49, 10, 1))
    value = builder.conv(builder.input, "stem", width, (10, 4), stride=(2, 2), activation="RELU")
    for block in range(blocks):
        value = builder.depthwise(value, f"block{block}/dw", (3, 3), activation="RELU")
        value = builder.conv(value, f"block{block}/pw", width, activation="RELU")
    pooled = builder.global_average(value, "pool")
    return builder.finish(builder.dense(pooled, "classifier", classes))


def quantize_randomly(
    graph: Graph,
    seed: int = 0,
    *,
    filters: DataType | None = None,
    source: tuple[float, int] | None = None,
    by_output: bool = False,
) -> Graph:
    """Give a graph random weights, and scales with which its activations neither die nor clip.

    Filters have the bits that the graph marks, or those of `filters` where an operator takes them.
    Scale and zero point of the inputs are drawn too unless `source` has them; RSQRT's is -128.
    Linear layers of int8 weights have a scale for each output if `by_output`.
    """
    rng = np.random.default_rng(seed)
    tensors: dict[str, Tensor] = dict(graph.tensors)
    rooted = {op.inputs[0] for op in graph.ops if op.kind == "RSQRT"}
    for name in graph.inputs:
        zero_point = -128 if name in rooted else int(rng.integers(-128, 128))
        scale = rng.uniform(0.01, 0.1)
        if source is not None and name not in rooted:
            scale, zero_point = source
        tensors[name] = _activation(tensors[name], scale, zero_point)
    for op in graph.ops:
        for name in op.operands:
            if tensors[name].constant and tensors[name].quantization is None:
                tensors[name] = elements.quantized_constant(tensors[name], rng)
        output = tensors[op.outputs[0]]
        zero_point = -128 if op.activation in ("RELU", "RELU6") else int(rng.integers(-40, 40))
        if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            kept = quantize_lstm(op, tensors, rng)
            scale, zero_point = float(kept.scale[0]), kept.zero_point
        elif op.kind in WEIGHTED:
            wanted = filters or tensors[op.inputs[1]].dtype
            packed: DataType = "int4" if wanted == "int4" and graph.takes_int4(op) else "int8"
            scale = _quantize_weights(tensors, op, rng, packed, by_output)
        elif op.kind in _FIXED:
            scale, zero_point = _FIXED[op.kind]
        elif op.kind in ("POSITIONS", "TABLE"):
            tensors |= elements.looked_up(op, tensors, rng)
            continue
        elif op.kind in _SAME_SCALE:
            shared = tensors[op.inputs[0]].quantization
            assert shared is not None
            scale, zero_point = float(shared.scale[0]), shared.zero_point
            for name in op.operands:
                tensors[name] = _activation(tensors[name], scale, zero_point)
        else:
            scale = elements.scale_of(op, tensors, rng)
        if output.name in rooted:
            zero_point = -128
        tensors[output.name] = _activation(output, scale, zero_point)
    return replace(graph, tensors=tensors)


def _windowed_op(kind: Kind, tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """Convolution or pooling with any stride, padding and activation."""
    _, height, width, depth = tensors["input"].shape
    padding: Padding = "SAME" if rng.random() < 0.6 else "VALID"
    limit = (7, 7) if padding == "SAME" else (height + 1, width + 1)
    window = (int(rng.integers(1, min(limit[0], 7))), int(rng.integers(1, min(limit[1], 7))))
    stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    channels = depth
    inputs: tuple[str, ...] = ("input",)
    dilation, taps = (1, 1), window
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        if rng.random() < 0.4:
            dilation = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        if padding == "VALID":  # as far apart as the map allows
            free = ((height - 1) // max(window[0] - 1, 1), (width - 1) // max(window[1] - 1, 1))
            dilation = (min(dilation[0], max(free[0], 1)), min(dilation[1], max(free[1], 1)))
        groups = _divisor(depth, rng) if kind == "CONV_2D" and rng.random() < 0.4 else 1
        first, last = groups * int(rng.integers(1, 10)), depth // groups
        if kind == "DEPTHWISE_CONV_2D":
            first, last = 1, depth * int(rng.integers(1, 4))
        channels = first if kind == "CONV_2D" else last
        inputs = _constants(tensors, (first, *window, last), channels, rng, bias=groups > 1)
        window = (1, 1)
    sizes = [
        -(-size // step) if padding == "SAME" else (size - extent(many, apart)) // step + 1
        for size, step, many, apart in zip((height, width), stride, taps, dilation, strict=True)
    ]
    tensors["output"] = Tensor("output", (1, *sizes, channels))
    activation = elements.ACTIVATIONS[int(rng.integers(4))]
    return Op(kind, "output", inputs, ("output",), stride, window, padding, activation, dilation)


def _plain_op(kind: Kind, tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """Any operator without a window."""
    if kind in elements.PAIRS:
        return elements.pair(kind, tensors, rng)
    source = tensors["input"].shape
    activation = elements.ACTIVATIONS[int(rng.integers(4))]
    shape: tuple[int, ...] = source
    inputs: tuple[str, ...] = ("input",)
    if kind == "FULLY_CONNECTED":
        features = int(rng.integers(1, 10))
        depth, shape = tensors["input"].elements, (1, features)
        if rng.random() < 0.4:
            source = source[: int(rng.integers(1, 4))] + source[3:]
            tensors["input"] = Tensor("input", source)
            depth, shape = source[-1], (*source[:-1], features)
        inputs = _constants(tensors, (features, depth), features, rng)
    elif kind == "RESHAPE":
        shape = (1, tensors["input"].elements)
    elif kind == "CONCATENATION":
        return _concatenation(tensors, rng)
    if kind != "FULLY_CONNECTED":
        activation = "NONE"
    tensors["output"] = Tensor("output", shape)
    alpha = elements.alpha_of(kind, rng)
    return Op(kind, "output", inputs, ("output",), activation=activation, alpha=alpha)


def _concatenation(tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """One to ten operands along any axis, constants and repetitions among them."""
    source = tensors["input"].shape
    axis = int(rng.integers(0, 4))
    inputs = ["input"]
    for number in range(int(rng.integers(0, 10))):
        if rng.random() < 0.3:
            inputs.append("input")
            continue
        shape = (*source[:axis], int(rng.integers(1, 5)), *source[axis + 1 :])
        data = rng.integers(-128, 128, shape).astype(np.int8)
        inputs.append(f"constant{number}")
        tensors[inputs[-1]] = Tensor(inputs[-1], shape, "int8", constant=True, data=data)
    order = tuple(inputs[i] for i in rng.permutation(len(inputs)))
    total = sum(tensors[name].shape[axis] for name in order)
    tensors["output"] = Tensor("output", (*source[:axis], total, *source[axis + 1 :]))
    return Op("CONCATENATION", "output", order, ("output",), axis=axis)


def _constants(
    tensors: dict[str, Tensor],
    shape: tuple[int, ...],
    channels: int,
    rng: np.random.Generator,
    *,
    bias: bool = False,
) -> tuple[str, ...]:
    tensors["weights"] = Tensor("weights", shape, constant=True)
    if rng.random() < 0.2 and not bias:
        return ("input", "weights")
    tensors["bias"] = Tensor("bias", (channels,), constant=True)
    return ("input", "weights", "bias")


def _divisor(number: int, rng: np.random.Generator) -> int:
    return int(rng.choice([each for each in range(1, number + 1) if number % each == 0]))


def _quantize_weights(
    tensors: dict[str, Tensor], op: Op, rng: np.random.Generator, filters: DataType, by_output: bool
) -> float:
    """Draw weights and bias; return an output scale that fits their spread."""
    source = tensors[op.inputs[0]].quantization
    weights = tensors[op.inputs[1]]
    assert source is not None
    expected = OPERATORS[op.kind].weights  # type: ignore[index]
    assert expected is not None
    by_output = by_output and filters == "int8"
    axis = expected.axis if expected.per_channel or by_output else None
    channels = weights.shape[0] if axis is None else weights.shape[axis]
    count = 1 if axis is None else channels
    axis = axis if count > 1 else None
    largest = 127 if filters == "int8" else 7
    scale = rng.uniform(0.3, 1.0, count).astype(np.float32) * np.float32(0.5 / largest)
    data = rng.integers(-largest, largest + 1, weights.shape).astype(np.int8)
    tensors[weights.name] = replace(
        weights, dtype=filters, quantization=Quantization(scale, 0, axis), data=data
    )
    terms = weights.elements // channels
    spread = largest / 2 * 60 * np.sqrt(terms)
    for name in op.learnt[1:]:
        bias = rng.normal(0, spread, channels).astype(np.int32)
        quantization = Quantization(source.scale * scale, 0, 0 if axis is not None else None)
        tensors[name] = replace(tensors[name], dtype="int32", quantization=quantization, data=bias)
    return float(source.scale[0] * scale.max() * spread / rng.uniform(30, 90))


def _activation(tensor: Tensor, scale: float, zero_point: int) -> Tensor:
    quantization = Quantization(np.array([scale], np.float32), zero_point)
    return replace(tensor, dtype="int8", quantization=quantization)


def _ds_cnn(rng: np.random.Generator) -> Graph:
    builder = Builder((int(rng.integers(9, 40)), int(rng.integers(5, 20)), int(rng.integers(1, 4))))
    kernel = (int(rng.integers(1, 11)), int(rng.integers(1, 5)))
    stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    width = int(rng.integers(2, 40))
    value = builder.conv(builder.input, "stem", width, kernel, stride=stride, activation="RELU")
    for block in range(int(rng.integers(1, 5))):
        size = int(rng.choice([3, 3, 5]))
        steps = (int(rng.integers(1, 3)), 1)
        value = builder.depthwise(
            value, f"block{block}/dw", (size, size), stride=steps, activation="RELU"
        )
        value = builder.conv(value, f"block{block}/pw", int(rng.integers(2, 40)), activation="RELU")
    pooled = builder.global_average(value, "pool")
    return builder.finish(builder.dense(pooled, "classifier", int(rng.integers(2, 13))))


def _mobilenet(rng: np.random.Generator) -> Graph:
    side = int(rng.integers(16, 40))
    builder = Builder((side, side, 3))
    width = int(rng.integers(4, 16))
    value = builder.conv(builder.input, "stem", width, (3, 3), stride=(2, 2), activation="RELU6")
    for block in range(int(rng.integers(2, 6))):
        step = int(rng.integers(1, 3))
        hidden = width * int(rng.integers(1, 7))
        out = int(rng.integers(4, 24))
        name = f"block{block}"
        inner = builder.conv(value, f"{name}/expand", hidden, activation="RELU6")
        inner = builder.depthwise(
            inner, f"{name}/dw", (3, 3), stride=(step, step), activation="RELU6"
        )
        inner = builder.conv(inner, f"{name}/project", out)
        value = builder.add(value, inner, f"{name}/add") if step == 1 else inner
        width = builder.shape(value)[-1]
    pooled = builder.global_average(value, "pool")
    flat = builder.reshape(pooled, "flatten", (1, width))
    return builder.finish(builder.dense(flat, "classifier", int(rng.integers(2, 13))))
