"""Constant operands and requantised inputs: their scales by hand, whatever training does."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from micronas.export.verify import tflm_run
from micronas.graph import integer, ir
from micronas.graph.ir import Graph, Kind, Op
from micronas.tflite.writer import flatbuffer_bytes, to_flatbuffer
from micronas.train.codes import quantize_inputs
from micronas.train.functions import FUNCTIONS
from micronas.train.quantize import QuantizedNetwork, Ranges
from testing.builder import Builder
from tests.train.imitation import calibrated, differences, random_batch


def operator(kind: Kind, data: list[float]) -> Graph:
    tensors = {
        "x": ir.Tensor("x", (1, 2)),
        "c": ir.Tensor("c", (len(data),), constant=True, data=np.array(data, np.float32)),
        "y": ir.Tensor("y", (1, 2)),
    }
    return Graph(tensors, (Op(kind, "y", ("x", "c"), ("y",)),), ("x",), ("y",))


def test_a_constants_scale_and_codes_by_hand_which_no_gradient_reaches() -> None:
    for ranges in ("gradient", "average"):
        network = calibrated(operator("MUL", [1.0, 3.0]), ranges=ranges)
        network.train()(torch.randn(8, 2))
        found = network.graph().tensors["c"]
        assert found.quantization.scale.item() == pytest.approx(3 / 255)
        assert found.quantization.zero_point == -128
        assert found.data.tolist() == [85 - 128, 127]
        assert found.dtype == "int8"
        free = {name for name, value in network.named_parameters() if value.requires_grad}
        learnt = {"ranges.x.log2_scale", "ranges.y.log2_scale"}
        assert free == (learnt if ranges == "gradient" else set())


def test_a_single_number_is_exact() -> None:
    for value in (0.1, -7.3):
        found = calibrated(operator("ADD", [value])).graph().tensors["c"]
        steps = int(found.data[0]) - found.quantization.zero_point
        assert steps * found.quantization.scale.item() == pytest.approx(value)


def test_a_bound_shares_the_range_of_what_it_bounds() -> None:
    network = calibrated(operator("MINIMUM", [0.5]))
    tensors = network.graph().tensors
    assert len({tensors[name].quantization for name in "xcy"}) == 1
    assert "ranges.x.log2_scale" in dict(network.named_parameters())


@pytest.mark.parametrize("ranges", ["gradient", "average"])
@pytest.mark.parametrize(
    ("kind", "bound", "scale", "codes"),
    [
        ("MINIMUM", 3.7, 0.51, [-128, 127]),  # -0.01 to 0.5: the bound saturates
        ("MINIMUM", 0.2, 0.21, [-128, 127]),  # 0.5 saturates at 0.2
        ("MAXIMUM", 1.0, 1.0, [127, 127]),  # nothing but the bound comes out
    ],
)
def test_a_bounded_range_holds_what_comes_out(
    kind: Kind, bound: float, scale: float, codes: list[int], ranges: Ranges
) -> None:
    network = QuantizedNetwork(operator(kind, [bound]), ranges=ranges)
    network.calibrate([torch.tensor([[-0.01, 0.5]])], method="minmax")
    found = network.graph()
    quantization = found.tensors["y"].quantization
    assert quantization.scale.item() == pytest.approx(scale / 255, rel=1e-5)
    given = quantize_inputs(found, torch.tensor([[-0.01, 0.5]]))
    assert integer.run(found, given).tolist() == [codes]


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
def test_what_is_added_is_in_steps_that_tflm_can_bring_together(kind: Kind) -> None:
    """Steps of x and of x^8 for x of 0.01: 2**-48; the kernel's multipliers hold 2**-30."""
    names = ("x", "squared", "fourth", "eighth", "y")
    tensors = {name: ir.Tensor(name, (1, 2)) for name in names}
    ops = [Op("MUL", b, (a, a), (b,)) for a, b in pairwise(names[:-1])]
    ops.append(Op(kind, "y", ("x", "eighth"), ("y",)))
    network = QuantizedNetwork(Graph(tensors, tuple(ops), ("x",), ("y",)))
    network.calibrate([torch.linspace(-0.01, 0.01, 64).reshape(-1, 2)], method="minmax")
    found = network.graph()
    coarse, fine = (found.tensors[name].quantization.scale.item() for name in ("x", "eighth"))
    assert coarse * 2.0**-30 < fine < coarse * 2.0**-28
    codes = torch.randint(-128, 128, (8, 2), dtype=torch.int8).numpy()
    assert (integer.run(found, codes) == tflm_run(to_flatbuffer(found), codes)).all()


@pytest.mark.parametrize(
    "kind", ["SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "RELU6", "HARD_SWISH"]
)
@pytest.mark.parametrize("largest", [1e-7, 1e-4])
def test_functions_of_values_near_zero_read_steps_that_tflm_takes(
    kind: Kind, largest: float
) -> None:
    tensors = {name: ir.Tensor(name, (1, 4)) for name in ("x", "squared", "y")}
    ops = (Op("MUL", "squared", ("x", "x"), ("squared",)), Op(kind, "y", ("squared",), ("y",)))
    network = QuantizedNetwork(Graph(tensors, ops, ("x",), ("y",)))
    network.calibrate([torch.linspace(-largest, largest, 64).reshape(-1, 4)], method="minmax")
    found = network.graph()
    codes = torch.randint(-128, 128, (8, 4), dtype=torch.int8).numpy()
    assert (integer.run(found, codes) == tflm_run(to_flatbuffer(found), codes)).all()


def test_a_sigmoid_is_requantised_before_it_is_joined() -> None:
    tensors = {name: ir.Tensor(name, (1, 2)) for name in ("x", "s")}
    tensors["y"] = ir.Tensor("y", (1, 4))
    ops = (
        Op("LOGISTIC", "s", ("x",), ("s",)),
        Op("CONCATENATION", "y", ("x", "s"), ("y",), axis=1),
    )
    network = calibrated(Graph(tensors, ops, ("x",), ("y",)))
    graph = network.graph()
    assert [op.kind for op in graph.ops] == ["LOGISTIC", "QUANTIZE", "CONCATENATION"]
    x = random_batch(graph, 50, seed=3)
    found = differences(network, x, local=False)
    assert max(steps.max() for steps in found.values()) <= 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_looked_up_to_the_bit(name: str) -> None:
    builder = Builder((4, 4, 2))
    numbers = {"softplus": 2.0, "elu": 1.5, "celu": 0.7, "power": 3.0, "exponential": 2.0}
    shapes = builder.finish(builder.function(builder.input, "y", name, numbers.get(name, 0.0)))
    network = calibrated(shapes)
    graph = network.graph()
    x = random_batch(graph, 20, seed=3)
    found = differences(network, x, local=False)
    assert max(steps.max() for steps in found.values()) == 0
    assert flatbuffer_bytes(shapes) == len(to_flatbuffer(graph))


def test_a_norm_of_rows() -> None:
    """What LayerNorm becomes; RSQRT reads values at zero point -128."""
    names = {"x": 8, "m": 1, "d": 8, "q": 8, "v": 1, "r": 1, "y": 8}
    tensors = {name: ir.Tensor(name, (1, 4, size)) for name, size in names.items()}
    ops = (
        Op("MEAN", "m", ("x", "axes"), ("m",)),
        Op("SUB", "d", ("x", "m"), ("d",)),
        Op("MUL", "q", ("d", "d"), ("q",)),
        Op("MEAN", "v", ("q", "axes"), ("v",)),
        Op("RSQRT", "r", ("v",), ("r",)),
        Op("MUL", "y", ("d", "r"), ("y",)),
    )
    network = calibrated(Graph({**tensors, "axes": ir.table("axes", [2])}, ops, ("x",), ("y",)))
    graph = network.graph()
    assert graph.tensors["v"].quantization.zero_point == -128
    x = random_batch(graph, 50, seed=3)
    codes, quantization = quantize_inputs(graph, x), graph.tensors["y"].quantization
    found = integer.run(graph, codes)
    exact = F.layer_norm(x, (8,)).numpy()
    error = (found.astype(np.float32) - quantization.zero_point) * quantization.scale - exact
    assert 10 * np.log10((exact**2).sum() / (error**2).sum()) > 28
    np.testing.assert_array_equal(found, tflm_run(to_flatbuffer(graph), codes))
