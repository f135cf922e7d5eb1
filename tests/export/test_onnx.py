"""ONNX: what onnxruntime computes from it, against integer execution."""

import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch

from micronas.errors import ExportError, ModelError
from micronas.export.onnx import Rounding, to_onnx
from micronas.graph import integer
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Kind, Op, Quantization, Tensor
from micronas.train.network import Network
from micronas.train.quantize import QuantizedNetwork
from testing.graphs import (
    ds_cnn,
    quantize_randomly,
    random_inputs,
    random_int8_graph,
    random_op_graph,
)
from testing.movement import MOVEMENT
from testing.recurrent import lstm
from tests.cases import seeds

KINDS: tuple[Kind, ...] = get_args(Kind)
LSTM: Kind = "UNIDIRECTIONAL_SEQUENCE_LSTM"


def run(graph: Graph, inputs: npt.NDArray[np.int8], rounding: Rounding) -> npt.NDArray[np.int8]:
    """Run the graph's ONNX form as it is written, from codes to codes."""
    model = to_onnx(graph, rounding=rounding)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (name,), (output,) = graph.inputs, graph.outputs
    source = graph.tensors[name].quantization
    target = graph.tensors[output].quantization
    real = (inputs.astype(np.float32) - source.zero_point) * source.scale
    real = np.moveaxis(real, -1, 1) if real.ndim == 4 else real
    size = session.get_inputs()[0].shape[0]  # a name, where it may be any
    parts = [real] if isinstance(size, str) else [example[None] for example in real]
    result = np.concatenate([session.run([output], {name: part})[0] for part in parts])
    result = np.moveaxis(result, 1, -1) if result.ndim == 4 else result
    codes = np.rint(result / target.scale + target.zero_point)
    assert np.abs(codes - (result / target.scale + target.zero_point)).max() < 1e-3
    return codes.astype(np.int8)


def differences(graph: Graph, rounding: Rounding, count: int = 8) -> npt.NDArray[np.int16]:
    inputs = random_inputs(graph, count)
    expected, actual = integer.run(graph, inputs), run(graph, inputs, rounding)
    assert actual.size == expected.size
    return np.abs(actual.reshape(expected.shape).astype(np.int16) - expected)


@seeds(range(20), range(100, 600))
def test_networks_are_within_one_code_when_they_round_as_the_device(seeds: range) -> None:
    found = [differences(random_int8_graph(seed), "device") for seed in seeds]
    outputs = np.concatenate([part.ravel() for part in found])
    assert outputs.max() <= 1
    assert np.count_nonzero(outputs) <= len(outputs) // 1000


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != LSTM])
@pytest.mark.parametrize("rounding", ["once", "device"])
def test_every_operator_is_within_one_code(kind: Kind, rounding: Rounding) -> None:
    compared = 0
    for seed in range(6):
        graph = random_op_graph(kind, seed)
        quantization = graph.tensors[graph.inputs[0]].quantization
        if kind == "LOGISTIC" and quantization is not None and quantization.scale[0] >= 16:
            with pytest.raises(ExportError, match="input step of LOGISTIC must be below 16"):
                to_onnx(graph, rounding=rounding)
            continue
        assert differences(graph, rounding).max() <= 1, seed
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize(
    "kind",
    [
        *("ADD", "PAD", "MAX_POOL_2D", "RESHAPE", "CONCATENATION", "RELU6", *MOVEMENT),
        *("REDUCE_MAX", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"),
    ],
)
def test_operators_that_do_not_multiply_are_exact(kind: Kind) -> None:
    for seed in range(10):
        assert differences(random_op_graph(kind, seed), "once").max() == 0, seed


def test_averages_are_exact_when_they_round_as_the_device() -> None:
    plain = 0
    for seed in range(30):
        graph = random_op_graph("AVERAGE_POOL_2D", seed)
        plain += np.count_nonzero(differences(graph, "once"))
        assert differences(graph, "device").max() == 0, seed
    assert plain > 0  # ties are common, and plain QDQ takes them to even


def test_plain_qdq_has_no_other_operators() -> None:
    model = onnx.load_from_string(to_onnx(quantize_randomly(ds_cnn(8, 1)), rounding="once"))
    weights = ["DequantizeLinear"] * 2
    assert [node.op_type for node in model.graph.node] == [
        "QuantizeLinear",
        *["DequantizeLinear", *weights, "Conv", "Relu", "QuantizeLinear"] * 3,
        *["DequantizeLinear", "AveragePool", "QuantizeLinear"],
        *["Flatten", "DequantizeLinear", *weights, "Gemm", "QuantizeLinear", "DequantizeLinear"],
    ]
    assert [opset.version for opset in model.opset_import] == [17]
    assert [value.name for value in model.graph.input] == ["input"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", 1, 49, 10]
    assert [value.name for value in model.graph.output] == ["classifier"]


def test_a_map_is_flattened_in_tflite_order() -> None:
    builder = Builder((3, 4, 5))
    flat = builder.reshape(builder.input, "flat", (1, 60))
    graph = quantize_randomly(builder.finish(builder.reshape(flat, "map", (1, 5, 2, 6))))
    assert differences(graph, "once").max() == 0


def dense_on(shape: tuple[int, ...], output: tuple[int, ...], depth: int) -> Graph:
    tensors = {
        "x": Tensor("x", shape),
        "w": Tensor("w", (output[-1], depth), constant=True),
        "y": Tensor("y", output),
    }
    graph = Graph(tensors, (Op("FULLY_CONNECTED", "y", ("x", "w"), ("y",)),), ("x",), ("y",))
    return quantize_randomly(graph)


@pytest.mark.parametrize(
    ("shape", "output", "depth"),
    [((1, 3, 4, 5), (1, 7), 60), ((1, 3, 4, 5), (1, 3, 4, 7), 5), ((1, 3, 5), (1, 3, 7), 5)],
)
def test_dense_layers_on_maps_rows_and_sequences(
    shape: tuple[int, ...], output: tuple[int, ...], depth: int
) -> None:
    graph = dense_on(shape, output, depth)
    assert differences(graph, "device").max() <= 1


def test_constants_that_operators_share_keep_their_order() -> None:
    builder = Builder((2, 2, 4))
    first = builder.dense(builder.input, "first", 16)
    graph = quantize_randomly(builder.finish(builder.dense(first, "second", 16)))
    again = replace(graph.ops[1], inputs=("first", "first/weights"))
    graph = replace(graph, ops=(graph.ops[0], again))
    assert differences(graph, "device").max() <= 1


def test_the_same_graph_gives_the_same_bytes() -> None:
    graph = random_int8_graph(3)
    assert to_onnx(graph) == to_onnx(graph)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)  # what an import of it then fails on
    with pytest.raises(ExportError, match=r"pip install '\.\[onnx\]'"):
        to_onnx(random_int8_graph(0))


def test_a_float_graph_is_refused() -> None:
    with pytest.raises(ModelError, match="quantise the model to int8 first"):
        to_onnx(ds_cnn(4, 1))


def test_codes_that_change_their_meaning_are_refused() -> None:
    graph = random_op_graph("RESIZE_BILINEAR", 0)
    other = replace(graph.tensors["output"], quantization=Quantization(np.array([9.0], np.float32)))
    with pytest.raises(ExportError, match="RESIZE_BILINEAR must read and write one scale"):
        to_onnx(replace(graph, tensors={**graph.tensors, "output": other}))


def test_rows_are_spread_over_maps_as_in_tflite() -> None:
    tensors = {"x": Tensor("x", (1, 2, 2, 3)), "f": Tensor("f", (1, 3)), "y": Tensor("y", (1, 3))}
    tensors["p"] = Tensor("p", (1, 1, 1, 3))
    tensors["s"] = Tensor("s", (2,), "int32", constant=True, data=np.array([1, 3], np.int32))
    tensors["y"] = Tensor("y", (1, 2, 2, 3))
    ops = (
        Op("AVERAGE_POOL_2D", "p", ("x",), ("p",), (2, 2), (2, 2), "VALID"),
        Op("RESHAPE", "f", ("p", "s"), ("f",)),
        Op("ADD", "y", ("x", "f"), ("y",)),
    )
    graph = quantize_randomly(Graph(tensors, ops, ("x",), ("y",)))
    assert differences(graph, "once").max() == 0


def trained_lstm(steps: int) -> Graph:
    """An LSTM with torch's initial weights, calibrated."""
    tensors = {"input": Tensor("input", (1, steps, 6))}
    op = lstm("input", "output", (6, 10), tensors)
    tensors["output"] = Tensor("output", (1, steps, 10))
    graph = Graph(tensors, (op,), ("input",), ("output",))
    network = Network(graph, generator=torch.Generator().manual_seed(0))
    quantized = QuantizedNetwork(network.graph())
    quantized.calibrate([torch.randn(64, steps, 6, generator=torch.Generator().manual_seed(1))])
    return quantized.graph()


def test_a_step_of_an_lstm_is_within_one_code_and_a_sequence_near() -> None:
    """Outputs are not rounded before the next step reads them."""
    assert differences(trained_lstm(1), "device", count=40).max() <= 1
    found = differences(trained_lstm(30), "device", count=40)
    assert found.mean() < 0.3
    assert found.max() < 16


def test_an_lstm_with_limited_cells_is_refused() -> None:
    graph = trained_lstm(3)
    with pytest.raises(ExportError, match="cannot limit its cells"):
        to_onnx(replace(graph, ops=(replace(graph.ops[0], clip=0.5),)))
