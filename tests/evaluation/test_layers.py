"""Layer comparison: planted faults are found where they are, not where they hurt."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from micronas.errors import ModelError
from micronas.evaluation.layers import LayerError, compare, culprit, dequantized
from micronas.graph.ir import Graph, Op, Quantization, Tensor
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from micronas.train.codes import quantize_inputs
from micronas.train.network import Network
from micronas.train.quantize import QuantizedNetwork
from testing.builder import Builder
from testing.graphs import ds_cnn, random_inputs, random_int8_graph


def network() -> tuple[Graph, Graph]:
    """Return a small float network and its int8 form, calibrated on what it is compared on."""
    torch.manual_seed(0)
    exact = Network(ds_cnn(8, 2, 4)).eval().graph()
    return exact, quantized(exact)


def quantized(exact: Graph) -> Graph:
    module = QuantizedNetwork(exact)
    module.calibrate([examples()], method="minmax")
    return module.graph()


def examples() -> torch.Tensor:
    return torch.rand(16, 1, 49, 10, generator=torch.Generator().manual_seed(1)) * 2 - 1


def named(errors: list[LayerError], name: str) -> LayerError:
    return next(error for error in errors if error.name == name)


def test_a_channel_of_huge_range_makes_its_layer_the_culprit() -> None:
    exact, _ = network()
    tensors = dict(exact.tensors)
    # Scaled up in one layer and down in the next: the function stays, the range in between grows.
    for name, channel, factor in (("block0/pw", 0, 1000), ("block1/dw", 3, 1 / 1000)):
        data = tensors[f"{name}/weights"].data
        scaled = data.copy()
        np.moveaxis(scaled, channel, 0)[3] *= factor
        tensors[f"{name}/weights"] = replace(tensors[f"{name}/weights"], data=scaled)
    exact = replace(exact, tensors=tensors)
    graph = quantized(exact)
    errors = compare(exact, graph, quantize_inputs(graph, examples()))
    worst = culprit(errors)
    assert worst.name == "block0/pw"
    assert worst.local.median_channel_db < 10
    assert worst.local.sqnr_db > 30  # which the large channel alone decides
    assert worst.local.worst_channel != 3
    assert named(errors, "block1/dw").local.median_channel_db > 25


@pytest.mark.parametrize("factor", [1 / 16, 32])
def test_a_badly_scaled_tensor_is_the_culprit_and_those_after_it_are_not(factor: float) -> None:
    exact, graph = network()
    name = "block0/pw"
    before = named(compare(exact, graph, quantize_inputs(graph, examples())), name)
    tensor = graph.tensors[name]
    wrong = replace(
        tensor,
        quantization=Quantization(
            (tensor.quantization.scale * factor).astype(np.float32), tensor.quantization.zero_point
        ),
    )
    broken = replace(graph, tensors={**graph.tensors, name: wrong})
    errors = compare(dequantized(broken), broken, quantize_inputs(graph, examples()))
    worst = culprit(errors)
    assert worst.name == name
    following = named(errors, "block1/dw")
    assert following.cumulative.sqnr_db < 25
    assert following.local.sqnr_db > worst.local.sqnr_db + 10
    assert before.local.sqnr_db > worst.local.sqnr_db + 10
    # Too small a range cuts values off, too large a one does not.
    assert (worst.saturated > 0.1) == (factor < 1)


def test_ratios_of_one_operator_are_those_calculated_by_hand() -> None:
    builder = Builder((1, 1, 2))
    graph = builder.finish(builder.dense(builder.input, "dense", 2))
    one = Quantization(np.ones(1, np.float32))
    constants = {
        "dense/weights": ("int8", np.array([[1, 0], [0, 3]], np.int8)),
        "dense/bias": ("int32", np.array([0, 2], np.int32)),
    }
    tensors: dict[str, Tensor] = {
        name: replace(tensor, dtype="int8", quantization=one)
        for name, tensor in graph.tensors.items()
    }
    for name, (dtype, data) in constants.items():
        tensors[name] = replace(tensors[name], dtype=dtype, data=data)  # type: ignore[arg-type]
    tensors["dense"] = replace(
        tensors["dense"], quantization=Quantization(np.array([2], np.float32))
    )
    graph = replace(graph, tensors=tensors)
    codes = np.array([[[[1, 2]]], [[[2, 100]]]], np.int8)
    (error,) = compare(dequantized(graph), graph, codes)
    # exact: 1 8, 2 302; int8 at scale 2: 2 8, 2 254
    assert error.cumulative == error.local
    assert error.local.sqnr_db == pytest.approx(
        10 * math.log10((1 + 4 + 64 + 302**2) / (1 + 48**2))
    )
    assert error.local.worst_channel == 0
    assert error.local.worst_channel_db == pytest.approx(10 * math.log10(5))
    assert error.local.median_channel_db == pytest.approx(10 * math.log10(5))
    assert error.saturated == 0.25


@pytest.mark.parametrize("seed", range(6))
def test_any_graph_of_ours_is_compared_and_layers_on_their_own_are_near(seed: int) -> None:
    graph = random_int8_graph(seed)
    errors = compare(dequantized(graph), graph, random_inputs(graph, 4, seed))
    assert [error.name for error in errors] == [op.name for op in graph.ops]
    for error in errors:
        if error.kind in ("RESHAPE", "PAD"):
            assert error.local.sqnr_db == math.inf
        # Unless values are cut off, what a layer adds is the rounding of its output.
        elif error.saturated == 0 and error.kind != "AVERAGE_POOL_2D":
            assert error.local.sqnr_db > 15


def test_another_network_is_refused() -> None:
    graph = random_int8_graph(0, family="ds_cnn")
    with pytest.raises(ModelError, match="operators and shapes of the int8 one"):
        compare(dequantized(random_int8_graph(1)), graph, random_inputs(graph, 2))


def functions() -> tuple[Graph, Graph]:
    """Return a float network with a constant operand, a table and joined scales, and its int8."""
    builder = Builder((4, 4, 2))
    scales = builder.constant("scales", np.array([0.5, 2.0], np.float32))
    op = Op("MUL", "scaled", (builder.input, scales), ("scaled",))
    scaled = builder.append(op, (1, 4, 4, 2))
    curve = builder.function(scaled, "curve", "gelu")
    gate = builder.append(Op("LOGISTIC", "gate", (scaled,), ("gate",)), (1, 4, 4, 2))
    op = Op("CONCATENATION", "joined", (curve, gate), ("joined",), axis=3)
    exact = builder.finish(builder.append(op, (1, 4, 4, 4)))
    module = QuantizedNetwork(exact)
    module.calibrate([pictures()], method="minmax")
    return exact, module.graph()


def pictures() -> torch.Tensor:
    return torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(2))


def test_constants_tables_and_inserted_operators_are_compared() -> None:
    exact, device = functions()
    errors = compare(exact, device, quantize_inputs(device, pictures()))
    kinds = [error.kind for error in errors]
    assert kinds == ["MUL", "POSITIONS", "TABLE", "LOGISTIC", "QUANTIZE", "CONCATENATION"]
    assert min(error.local.sqnr_db for error in errors) > 30


def test_a_table_of_a_file_has_no_function_to_compare_with() -> None:
    _, device = functions()
    graph = read(to_flatbuffer(device))
    codes = quantize_inputs(graph, pictures())
    with pytest.raises(ModelError, match=r"'curve' has none, as read from a file"):
        compare(dequantized(graph), graph, codes)
