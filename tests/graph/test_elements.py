"""Operators on elements and rows by hand, against the real functions, and against TFLM."""

from dataclasses import replace

import numpy as np
import pytest

from micronas.errors import ModelError
from micronas.graph.builder import Builder
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.kernels.elements import same_in_all_versions
from micronas.hardware.targets import HOST, plan
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly
from tests.graph.made import both, constant, one, tensor

Codes = list[int]


def of_every_code(
    kind: Kind, source: tuple[float, int], output: tuple[float, int], **options: object
) -> tuple[np.ndarray, np.ndarray]:
    """Real inputs and outputs of an operator."""
    shape = (1, 16, 16)
    graph = one(kind, tensor("x", shape, *source), tensor("y", shape, *output), **options)
    codes = np.arange(-128, 128)
    found = both(graph, codes.tolist())
    return source[0] * (codes - float(source[1])), output[0] * (np.array(found) - float(output[1]))


# Two operands


def test_differences_with_a_constant_by_hand() -> None:
    small = constant(tensor("c", (2,), 0.25, 1), [5, -3])  # 1, -1
    graph = one("SUB", tensor("x", (1, 2, 2), 0.5, -2), small, tensor("y", (1, 2, 2), 0.5, 10))
    # 4, -1, 0, 2 minus 1, -1
    assert both(graph, [6, -4, -2, 2]) == [16, 10, 8, 16]


def test_a_constant_may_come_first() -> None:
    small = constant(tensor("c", (2,), 0.25, 1), [5, -3])
    x, y = tensor("x", (1, 2, 2), 0.5, -2), tensor("y", (1, 2, 2), 0.5, 10)
    op = Op("SUB", "y", ("c", "x"), ("y",))
    graph = Graph({"x": x, "c": small, "y": y}, (op,), ("x",), ("y",))
    assert both(graph, [6, -4, -2, 2]) == [4, 10, 12, 4]


def test_squared_differences_by_hand() -> None:
    mean = constant(tensor("m", (1, 1), 0.5, 0), [2])  # 1
    graph = one(
        "SQUARED_DIFFERENCE", tensor("x", (1, 4), 0.25, 0), mean, tensor("y", (1, 4), 0.5, -128)
    )
    # 1, 3, -2 and -31: less 1 and squared 0, 4, 9 and 1024, which is cut off
    assert both(graph, [4, 12, -8, -124]) == [-128, -120, -110, 127]


@pytest.mark.parametrize(
    ("kind", "expected"), [("MAXIMUM", [3, 7, -4, 5]), ("MINIMUM", [1, 5, -9, 2])]
)
def test_extremes_compare_codes(kind: Kind, expected: Codes) -> None:
    bound = constant(tensor("b", (2, 2), 0.5, 3), [3, 5, -4, 5])
    graph = one(kind, tensor("x", (1, 2, 2), 0.5, 3), bound, tensor("y", (1, 2, 2), 0.5, 3))
    assert both(graph, [1, 7, -9, 2]) == expected


def test_prelu_has_a_slope_for_each_channel() -> None:
    slopes = constant(tensor("a", (2,), 0.125, 0), [2, -4])  # 1/4, -1/2
    graph = one("PRELU", tensor("x", (1, 2, 2), 0.5, 0), slopes, tensor("y", (1, 2, 2), 0.25, 0))
    assert both(graph, [10, 10, -16, -16]) == [20, 20, -8, 16]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 2, 3), (3,)),
        ((1, 2, 3), (2, 1)),
        ((1, 2, 1, 3), (1, 1, 4, 1)),
        ((1, 1, 2, 1, 2, 3), (2, 1, 2, 1, 3)),
    ],
)
def test_operands_are_spread_as_in_numpy(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    values = np.arange(np.prod(right), dtype=np.int64)
    inputs = np.arange(np.prod(left), dtype=np.int64)
    total = inputs.reshape(left) + values.reshape(right)
    graph = one(
        "ADD",
        tensor("x", left, 1.0),
        constant(tensor("c", right, 1.0), values.tolist()),
        tensor("y", total.shape, 1.0),
    )
    assert both(graph, inputs.tolist()) == total.ravel().tolist()


# One operand


@pytest.mark.parametrize("scale", [0.004, 0.05, 0.3, 7.0])
def test_curves_within_a_step(scale: float) -> None:
    x, y = of_every_code("TANH", (scale, -3), (1 / 128, 0))
    np.testing.assert_allclose(y, np.clip(np.tanh(x), -1, 127 / 128), atol=1 / 128)
    assert y[-3 + 128] == 0
    x, y = of_every_code("LOGISTIC", (scale, -3), (1 / 256, -128))
    np.testing.assert_allclose(y, np.minimum((1 + np.tanh(x / 2)) / 2, 255 / 256), atol=1 / 256)
    assert y[-3 + 128] == 0.5


@pytest.mark.parametrize(("scale", "zero"), [(0.01, 0), (0.05, 20), (0.1, -40)])
def test_functions_within_a_step_rounded_twice(scale: float, zero: int) -> None:
    def check(kind: Kind, exact: np.ndarray, y: np.ndarray, step: float) -> None:
        low, high = step * (-128 + 100), step * (127 + 100)
        close = np.abs(y - np.clip(exact, low, high)) <= 0.76 * step
        assert close.all(), (kind, exact[~close], y[~close])

    step = 1.1 * scale
    x, y = of_every_code("HARD_SWISH", (scale, zero), (step, -100))
    check("HARD_SWISH", x * np.clip(x + 3, 0, 6) / 6, y, step)
    x, y = of_every_code("RELU", (scale, zero), (step, -100))
    check("RELU", np.maximum(x, 0), y, step)
    x, y = of_every_code("RELU6", (scale, zero), (scale, zero))
    np.testing.assert_allclose(y, np.clip(x, 0, 6), atol=0.51 * scale)
    x, y = of_every_code("ELU", (scale, zero), (step, -100))
    check("ELU", np.where(x < 0, np.expm1(x), x), y, step)
    x, y = of_every_code("ABS", (scale, zero), (step, -100))
    check("ABS", np.abs(x), y, step)
    x, y = of_every_code("QUANTIZE", (scale, zero), (step, -100))
    check("QUANTIZE", x, y, step)
    x, y = of_every_code("LEAKY_RELU", (scale, zero), (step, -100), alpha=0.25)
    check("LEAKY_RELU", np.where(x < 0, x / 4, x), y, step)
    x, y = of_every_code("RSQRT", (scale, -128), (0.02, -100))
    with np.errstate(divide="ignore"):
        check("RSQRT", 1 / np.sqrt(x), y, 0.02)


# Scales, by their bits, at which a factor in float32 leads to another code than one in float64.
BY_VERSION: list[tuple[Kind, tuple[str, int], tuple[str, int]]] = [
    ("ABS", ("0x1.45edd2p-7", 90), ("0x1.2314ccp-7", -58)),
    ("HARD_SWISH", ("0x1.6f29bp-10", 98), ("0x1.9945ep-10", 50)),
    ("RSQRT", ("0x1.1eb434p-12", -128), ("0x1.6c6a46p-6", -128)),
]


@pytest.mark.parametrize(("kind", "source", "output"), BY_VERSION)
def test_scales_are_divided_in_float64(
    kind: Kind, source: tuple[str, int], output: tuple[str, int]
) -> None:
    source, output = ((float.fromhex(step), zero) for step, zero in (source, output))
    of_every_code(kind, source, output)
    graph = one(kind, tensor("x", (1, 2), *source), tensor("y", (1, 2), *output))
    assert not same_in_all_versions(graph, graph.ops[0])
    moved = tensor("y", (1, 2), output[0] * 1.00001, output[1])
    graph = replace(graph, tensors={**graph.tensors, "y": moved})
    assert same_in_all_versions(graph, graph.ops[0])


def test_differences_divide_scales_in_float64() -> None:
    steps = [float.fromhex(text) for text in ("0x1.9468b4p-6", "0x1.21b4fcp-10", "0x1.96890ap-6")]
    x, y, z = (
        tensor(name, (1, 2), step, zero)
        for name, step, zero in zip("xyz", steps, (-3, 15, -5), strict=True)
    )
    graph = one("SUB", x, constant(y, [-73, 103]), z)
    assert both(graph, [-114, 108]) == [-111, 101]
    assert not same_in_all_versions(graph, graph.ops[0])


def test_a_table_holds_any_function_by_hand() -> None:
    builder = Builder((1, 1, 4))
    graph = builder.finish(builder.function(builder.input, "y", "exp"))
    squares = np.arange(-128, 128) ** 2 % 100
    tensors = dict(graph.tensors)
    tensors["input"] = tensor("input", (1, 1, 1, 4), 0.5, 3)
    places = tensor("y/positions", (1, 1, 1, 4), 0.5, 131)
    tensors["y/positions"] = replace(places, dtype="int32")
    tensors["y/table"] = constant(tensor("y/table", (256,), 0.25, -7), squares.tolist())
    tensors["y"] = tensor("y", (1, 1, 1, 4), 0.25, -7)
    graph = replace(graph, tensors=tensors)
    assert both(graph, [-128, -1, 0, 127]) == [84, 1, 0, 29]
    again = read(to_flatbuffer(graph))
    assert [op.kind for op in again.ops] == ["POSITIONS", "TABLE"]
    assert [op.inputs for op in again.ops] == [op.inputs for op in graph.ops]
    # the positions, of four bytes each, lie beside the output
    sizes = {buffer.name: buffer.size for buffer in plan(graph, HOST).buffers}
    assert sizes == {"input": 16, "y/positions": 16, "y": 16}


# Rows


def rows(kind: Kind, values: np.ndarray, scale: float, output: tuple[float, int]) -> np.ndarray:
    shape = (1, *values.shape)
    graph = one(kind, tensor("x", shape, scale, 5), tensor("y", shape, *output))
    codes = np.rint(values / scale).astype(int) + 5
    found = np.array(both(graph, codes.ravel().tolist())).reshape(values.shape)
    return output[0] * (found - float(output[1]))


def test_log_softmax_of_rows_within_a_step() -> None:
    x = np.rint(np.random.default_rng(0).normal(0, 2, (6, 10)) * 16) / 16
    exact = x - x.max(-1, keepdims=True)
    exact = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    found = rows("LOG_SOFTMAX", x, 1 / 16, (1 / 16, 127))
    np.testing.assert_allclose(found, np.maximum(exact, -255 / 16), atol=1 / 16)


def test_l2_normalization_of_rows_within_a_step() -> None:
    x = np.rint(np.random.default_rng(1).normal(0, 2, (6, 10)) * 16) / 16
    found = rows("L2_NORMALIZATION", x, 1 / 16, (1 / 128, 0))
    exact = x / np.sqrt((x**2).sum(-1, keepdims=True))
    np.testing.assert_allclose(found, np.minimum(exact, 127 / 128), atol=0.51 / 128)


def test_rows_of_zeros_stay() -> None:
    assert (rows("L2_NORMALIZATION", np.zeros((2, 3)), 1.0, (1 / 128, 0)) == 0).all()


# Rules


@pytest.mark.parametrize(
    ("graph", "rule"),
    [
        (
            one("RSQRT", tensor("x", (1, 2), 1, -127), tensor("y", (1, 2), 1)),
            "RSQRT must read values that are never negative",
        ),
        (
            one("TANH", tensor("x", (1, 2), 1), tensor("y", (1, 2), 1 / 256, -128)),
            "TANH must write scale 1/128 and zero point 0",
        ),
        (
            one("LEAKY_RELU", tensor("x", (1, 2), 1), tensor("y", (1, 2), 1), alpha=-0.5),
            "LEAKY_RELU must have a finite alpha >= 0",
        ),
        (
            one(
                "L2_NORMALIZATION",
                tensor("x", (1, 1, 1, 1, 2), 1),
                tensor("y", (1, 1, 1, 1, 2), 1 / 128),
            ),
            "L2_NORMALIZATION must have up to 4 dimensions",
        ),
        (
            one(
                "MAXIMUM",
                tensor("x", (1, 2, 1, 1), 1),
                constant(tensor("c", (3, 2), 1), [0] * 6),
                tensor("y", (1, 2, 3, 2), 1),
            ),
            "MAXIMUM must not spread single elements over rows",
        ),
        (
            one(
                "MUL",
                tensor("x", (1,) * 7, 1),
                constant(tensor("c", (2,), 1), [0, 1]),
                tensor("y", (1,) * 6 + (2,), 1),
            ),
            "MUL must have up to 6 dimensions",
        ),
        (
            one("QUANTIZE", tensor("x", (1, 2), 1), tensor("y", (1, 2), 1e-7)),
            r"QUANTIZE must write a scale above 2\*\*-22 of that it reads",
        ),
    ],
)
def test_what_tflm_would_not_take_is_refused(graph: Graph, rule: str) -> None:
    with pytest.raises(ModelError, match=rule):
        check_int8(graph)


def test_positions_in_a_table_are_no_output() -> None:
    positions = replace(tensor("y", (1, 2), 1, 128), dtype="int32")
    with pytest.raises(ModelError, match="inputs and outputs must be int8, but 'y' is int32"):
        check_int8(one("POSITIONS", tensor("x", (1, 2), 1), positions))


def test_a_table_is_read_by_positions_alone() -> None:
    """Others could lie outside, which TFLM does not check."""
    builder = Builder((1, 1, 4))
    graph = builder.finish(builder.function(builder.input, "y", ""))
    graph = quantize_randomly(graph)
    table = replace(graph.ops[1], inputs=("input", "y/table"))
    with pytest.raises(ModelError, match="TABLE must go from int32 to int8"):
        check_int8(replace(graph, ops=(table,)))
    moved = replace(graph.tensors["y/positions"], quantization=graph.tensors["input"].quantization)
    with pytest.raises(ModelError, match="POSITIONS must count codes from -128"):
        check_int8(replace(graph, tensors={**graph.tensors, "y/positions": moved}))
