"""Operators on int16 activations with int8 weights and int64 biases, against TFLM itself."""

from dataclasses import replace

import numpy as np
import pytest

from micronas.engine.generate import generate
from micronas.errors import ModelError
from micronas.export.examples import random_inputs
from micronas.export.onnx import to_onnx
from micronas.export.verify import verify_and_measure
from micronas.graph import integer
from micronas.graph.ir import DataType, Graph, Op, Quantization, Tensor, same_output
from micronas.hardware.targets.host import HOST
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer

Random = np.random.Generator


def activation(
    name: str, shape: tuple[int, ...], scale: float, dtype: DataType = "int16"
) -> Tensor:
    return Tensor(name, shape, dtype, quantization=Quantization(np.float32([scale])))


def numbers(name: str, values: object) -> Tensor:
    data = np.array(values, np.int32)
    return Tensor(name, data.shape, "int32", constant=True, data=data)


def weighted(source: Random, kind: str) -> Graph:
    """Draw a convolution or linear layer with scales at which outputs fill int16."""
    height, width, depth, out = (int(each) for each in source.integers(1, 7, 4))
    kernel, stride = [tuple(int(k) for k in source.integers(1, 4, 2)) for _ in range(2)]
    x, axis = activation("x", (1, height, width, depth), 2.0 ** source.uniform(-14, -8)), 0
    area = tuple(map(same_output, (height, width), stride))
    shape, written = (out, *kernel, depth), (1, *area, out)
    if kind == "DEPTHWISE_CONV_2D":
        out *= depth
        shape, written, axis = (1, *kernel, out), (1, *area, out), 3
    elif kind == "TRANSPOSE_CONV":
        stride = kernel
        written = (1, height * stride[0], width * stride[1], out)
    elif kind == "FULLY_CONNECTED":
        depth, out = 8 * depth, 8 * out
        x = activation("x", (1, depth), float(x.quantization.scale[0]))
        shape, written, stride = (out, depth), (1, out), (1, 1)
    several = 1 if kind == "FULLY_CONNECTED" else out
    scales = (2.0 ** source.uniform(-9, -5, several)).astype(np.float32)
    weights = Tensor(
        "w",
        shape,
        "int8",
        constant=True,
        quantization=Quantization(scales, 0, axis if several > 1 else None),
        data=source.integers(-127, 128, shape).astype(np.int8),
    )
    product = x.quantization.scale * scales
    bias = Tensor(
        "b",
        (out,),
        "int64",
        constant=True,
        quantization=Quantization(product, 0, 0 if several > 1 else None),
        data=source.integers(-(2**24), 2**24, out),
    )
    y = activation("y", written, float(product.max()) * 2.0 ** source.uniform(4, 9))
    tensors = [x, weights, bias, y]
    if kind == "TRANSPOSE_CONV":
        tensors.append(numbers("shape", written))
    names = [each.name for each in tensors if each is not y]
    op = Op(
        kind,
        "y",
        tuple(names),
        ("y",),
        stride,
        padding="VALID" if kind == "TRANSPOSE_CONV" else "SAME",
        activation=str(source.choice(["NONE", "RELU", "RELU6"])),
        reach=kernel,
    )
    return Graph({each.name: each for each in tensors}, (op,), ("x",), ("y",))


def of_two(source: Random, kind: str) -> Graph:
    """Draw a sum, difference or product; one operand may be broadcast."""
    shape = tuple(int(each) for each in source.integers(1, 6, 4))
    other = tuple(1 if source.random() < 0.3 else side for side in shape)
    scales = 2.0 ** source.uniform(-14, -10, 2)
    step = scales.prod() * 2.0**14 if kind == "MUL" else scales.max()
    step *= 2.0 ** source.uniform(0, 2)
    tensors = [
        activation("x", shape, scales[0]),
        activation("z", other, scales[1]),
        activation("y", shape, step),
    ]
    if kind in ("MAXIMUM", "MINIMUM", "PADV2"):
        other = shape if kind != "PADV2" else (1,)
        tensors = [activation(name, shape, scales[0]) for name in "xzy"]
        tensors[1] = replace(tensors[1], shape=other)
    if kind == "PADV2":
        amounts = source.integers(0, 3, (4, 2)) * [[0], [1], [1], [1]]
        written = tuple(int(n) for n in np.array(shape) + amounts.sum(1))
        value = replace(tensors[1], constant=True, data=source.integers(-(2**15), 2**15, 1))
        tensors = [tensors[0], value, numbers("more", amounts), replace(tensors[2], shape=written)]
        op = Op(kind, "y", ("x", "z", "more"), ("y",))
        return Graph({each.name: each for each in tensors}, (op,), ("x",), ("y",))
    fused = str(source.choice(["NONE", "RELU"])) if kind in ("ADD", "SUB", "MUL") else "NONE"
    op = Op(kind, "y", ("x", "z"), ("y",), activation=fused)
    return Graph({each.name: each for each in tensors}, (op,), ("x", "z"), ("y",))


def of_one(source: Random, kind: str) -> Graph:
    shape = tuple(int(each) for each in source.integers(2, 6, 4))
    scale = 2.0 ** source.uniform(-14, -10)
    x, written, more, fields = activation("x", shape, scale), shape, [], {}
    step = scale
    if kind == "PAD":
        amounts = source.integers(0, 3, (4, 2)) * [[0], [1], [1], [1]]
        more = [numbers("more", amounts)]
        written = tuple(int(n) for n in np.array(shape) + amounts.sum(1))
    elif kind == "STRIDED_SLICE":
        begin, strides = [0, 1, 0, 0], [1, 1, 2, 1]
        more = [
            numbers(name, each)
            for name, each in zip(("begin", "end", "strides"), (begin, shape, strides), strict=True)
        ]
        written = (shape[0], shape[1] - 1, -(-shape[2] // 2), shape[3])
    elif kind == "RESHAPE":
        written = (shape[0], shape[1] * shape[2], 1, shape[3])
    elif kind == "LEAKY_RELU":
        fields, step = {"alpha": float(source.uniform(0, 0.5))}, scale * source.uniform(0.5, 2)
    elif kind == "QUANTIZE":
        step = scale * source.uniform(0.5, 2)
    elif kind == "SLICE":
        more = [numbers("begin", (0, 1, 0, 0)), numbers("size", (-1, shape[1] - 1, 1, -1))]
        written = (shape[0], shape[1] - 1, 1, shape[3])
    elif kind == "TRANSPOSE":
        more, written = [numbers("more", (0, 2, 3, 1))], (shape[0], *shape[2:], shape[1])
    elif kind == "BROADCAST_TO":
        x, more = activation("x", (1, 1, *shape[2:]), scale), [numbers("more", shape)]
    elif kind == "RESIZE_NEAREST_NEIGHBOR":
        written = (shape[0], 2 * shape[1], 3 * shape[2], shape[3])
        more, fields = [numbers("more", written[1:3])], {"half_pixel": True}
    elif kind in ("LOGISTIC", "TANH", "SOFTMAX"):
        scale = 2.0 ** float(source.choice([-12, -11, source.uniform(-20, 1)]))
        x, step = activation("x", shape, scale), 2.0**-15
    elif kind in ("ABS", "RELU"):
        step = scale * source.uniform(0.5, 2)
    y = activation("y", written, step)
    if kind == "QUANTIZE":
        first, second = [("int16", "int16"), ("int16", "int8"), ("int8", "int16")][
            int(source.integers(3))
        ]
        factors = {"int16": 1.0, "int8": 256.0}
        x = activation("x", shape, scale * factors[first], first)
        y = activation("y", shape, step * factors[second], second)
    tensors = [x, *more, y]
    op = Op(kind, "y", ("x", *(each.name for each in more)), ("y",), **fields)
    return Graph({each.name: each for each in tensors}, (op,), ("x",), ("y",))


def product(source: Random, kind: str) -> Graph:
    rows, depth, columns, batch = (int(each) for each in source.integers(1, 9, 4))
    swaps = tuple(bool(each) for each in source.integers(0, 2, 2))
    sides = [(rows, depth), (depth, columns)]
    shapes = [
        (1, batch, *(side[::-1] if swap else side)) for side, swap in zip(sides, swaps, strict=True)
    ]
    scales = 2.0 ** source.uniform(-14, -10, 2)
    x, z = (activation(*each) for each in zip("xz", shapes, scales, strict=True))
    y = activation("y", (1, batch, rows, columns), scales.prod() * 2.0 ** source.uniform(13, 16))
    op = Op(kind, "y", ("x", "z"), ("y",), transposed=swaps)
    return Graph({each.name: each for each in (x, z, y)}, (op,), ("x", "z"), ("y",))


def on_map(source: Random, kind: str) -> Graph:
    """Draw a pool, a mean or a sum; those of int16 keep the scale, or have their own."""
    height, width, depth = (int(each) for each in source.integers(2, 8, 3))
    scale = 2.0 ** source.uniform(-14, -10)
    x, more, fields = activation("x", (1, height, width, depth), scale), [], {}
    written: tuple[int, ...] = (1, 1, 1, depth)
    step = scale * source.uniform(0.1, 2)
    if kind in ("MEAN", "SUM"):
        more, step = [numbers("more", [1, 2])], step * (1 if kind == "MEAN" else 20)
    else:
        window, stride = (tuple(int(k) for k in source.integers(1, 4, 2)) for _ in range(2))
        activated = str(source.choice(["NONE", "RELU", "RELU6"]))
        fields = {"window": window, "stride": stride, "activation": activated}
        written, step = (1, *map(same_output, (height, width), stride), depth), scale
    y = activation("y", written, step)
    op = Op(kind, "y", ("x", *(each.name for each in more)), ("y",), **fields)
    return Graph({each.name: each for each in (x, *more, y)}, (op,), ("x",), ("y",))


def joined(source: Random, kind: str) -> Graph:
    graph = of_two(source, "ADD")
    x = graph.tensors["x"]
    z, y = replace(x, name="z"), replace(x, name="y", shape=(*x.shape[:3], 2 * x.shape[3]))
    op = Op(kind, "y", ("x", "z"), ("y",), axis=3)
    return Graph({each.name: each for each in (x, z, y)}, (op,), ("x", "z"), ("y",))


MAKERS = {
    **dict.fromkeys(
        ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"), weighted
    ),
    **dict.fromkeys(("ADD", "SUB", "MUL"), of_two),
    **dict.fromkeys(("LEAKY_RELU", "QUANTIZE", "PAD", "STRIDED_SLICE", "RESHAPE"), of_one),
    "CONCATENATION": joined,
    "BATCH_MATMUL": product,
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "SUM"), on_map),
    **dict.fromkeys(("LOGISTIC", "TANH", "SOFTMAX", "ABS", "RELU", "RELU6"), of_one),
    **dict.fromkeys(("SLICE", "TRANSPOSE", "BROADCAST_TO", "RESIZE_NEAREST_NEIGHBOR"), of_one),
    **dict.fromkeys(("MAXIMUM", "MINIMUM", "PADV2"), of_two),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_bytes_and_arena_are_those_of_tflm(kind: str) -> None:
    different: set[int] = set()
    for seed in range(12):
        graph = MAKERS[kind](np.random.default_rng(seed), kind)
        model = to_flatbuffer(graph)
        inputs = random_inputs(graph, 6, seed=seed)
        found, arena = verify_and_measure(model, inputs)
        assert found.mismatches == 0, (seed, found)
        plan = HOST.plan(read(model, wide=True))
        assert (plan.head, plan.total) == (arena.head, arena.total), seed
        different |= {*np.unique(integer.run(graph, inputs)).tolist()}
    assert len(different) > 200, "outputs must not all be clamped"


def test_only_integer_execution_takes_int16() -> None:
    graph = weighted(np.random.default_rng(0), "CONV_2D")
    with pytest.raises(ModelError, match=r"must be int8.*not as 16x8"):
        read(to_flatbuffer(graph))
    for refuses in (lambda: generate(graph, "net"), lambda: to_onnx(graph)):
        with pytest.raises(ModelError, match="int16"):
            refuses()
    kept = read(to_flatbuffer(graph), unknown="keep")
    assert [op.kind for op in kept.ops] == ["UNKNOWN"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda t: {"x": replace(t["x"], quantization=Quantization(np.float32([1]), 3))}, "zero"),
        (lambda t: {"y": replace(t["y"], dtype="int8")}, "activations of CONV_2D must all be"),
        (lambda t: {"b": replace(t["b"], dtype="int32")}, "a bias must be int64"),
        (lambda t: {"b": replace(t["b"], data=t["b"].data + 2**46)}, "below 2..46"),
        (lambda t: {"w": replace(t["w"], dtype="int4")}, "weights of CONV_2D must be int8"),
    ],
)
def test_a_broken_rule_is_named(change: object, rule: str) -> None:
    graph = weighted(np.random.default_rng(0), "CONV_2D")
    broken = replace(graph, tensors={**graph.tensors, **change(graph.tensors)})
    inputs = random_inputs(broken, 1, seed=0)
    with pytest.raises(ModelError, match=rule):
        integer.run(broken, inputs)


def test_an_operator_without_an_int16_kernel_here_says_so() -> None:
    graph = of_one(np.random.default_rng(0), "RESHAPE")
    op = replace(graph.ops[0], kind="RSQRT")
    tensors = {**graph.tensors, "y": replace(graph.tensors["x"], name="y")}
    inputs = random_inputs(graph, 1, seed=0)
    with pytest.raises(ModelError, match="activations of RSQRT must all be int8"):
        integer.run(replace(graph, tensors=tensors, ops=(op,)), inputs)
