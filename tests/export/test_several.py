"""Networks of several inputs and outputs: from float to TFLM, LiteRT and ONNX, by name."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from typer.testing import CliRunner

from micronas.cli import app
from micronas.errors import DataError, ExportError, ModelError
from micronas.evaluation.layers import compare, dequantized
from micronas.export.examples import random_inputs
from micronas.export.onnx import to_onnx
from micronas.export.runtimes import compare_runtimes
from micronas.export.verify import Tflm, Verification, compare_outputs, tflm_arena, tflm_run, verify
from micronas.graph import integer
from micronas.graph.interface import renamed
from micronas.graph.ir import Graph
from micronas.hardware.targets import HOST, plan
from micronas.tflite.reader import read
from micronas.tflite.writer import flatbuffer_bytes, to_flatbuffer
from micronas.train.codes import quantize_all_inputs
from micronas.train.network import Network
from micronas.train.quantize import QuantizedNetwork
from testing.builder import Builder
from testing.graphs import quantize_randomly
from testing.interfaces import opened
from testing.networks import random_network
from tests.cases import seeds


def detector() -> Graph:
    """An image and four numbers in; a map, classes and an angle out. The map is read on."""
    builder = Builder((12, 10, 3))
    numbers = builder.another_input("sensors", (1, 4))
    trunk = builder.conv(builder.input, "trunk", 8, (3, 3), stride=(2, 2), activation="RELU")
    boxes = builder.conv(trunk, "boxes", 6)
    pooled = builder.global_average(builder.conv(boxes, "inner", 8), "pool")
    kind = builder.dense(pooled, "kind", 5)
    builder.dense(numbers, "angle", 2)
    return builder.finish(boxes, kind, "angle")


@cache
def quantised() -> tuple[Graph, list[torch.Tensor]]:
    """The detector with random weights, calibrated on inputs given in both ways."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(6, *shape, generator=generator) for shape in ((3, 12, 10), (4,))]
    graph = Network(detector(), generator=generator).graph()
    network = QuantizedNetwork(graph)
    network.calibrate([(inputs[0], inputs[1]), {"sensors": inputs[1], "input": inputs[0]}])
    return network.eval().graph(), inputs


def check(graph: Graph) -> None:
    """Every byte of every output, the head, the arena to 32 bytes, the file and its size."""
    model = to_flatbuffer(graph)
    again = read(model)
    assert (again.inputs, again.outputs) == (graph.inputs, graph.outputs)
    assert to_flatbuffer(again) == model
    assert flatbuffer_bytes(graph) == len(model)
    checked = verify(model, random_inputs(graph, 3, seed=0))
    arena, predicted = tflm_arena(model), plan(graph, HOST)
    assert checked.mismatches == 0
    assert checked.bytes_compared == 3 * sum(graph.tensors[name].elements for name in graph.outputs)
    assert predicted.head == arena.head
    assert abs(predicted.total - arena.total) <= 32


@seeds(range(60), range(1000, 2000))
def test_random_interfaces_agree_with_tflm_and_come_back_as_written(seeds: range) -> None:
    for seed in seeds:
        check(opened(random_network(seed), seed))


def test_float_int8_and_tflm_are_near_each_other() -> None:
    graph, inputs = quantised()
    float_graph = Network(detector(), generator=torch.Generator().manual_seed(0)).graph()
    network = QuantizedNetwork(float_graph)
    network.calibrate([tuple(inputs)], method="minmax")
    outputs = network.eval()(inputs)
    assert [list(each.shape) for each in outputs] == [[6, 6, 6, 5], [6, 5], [6, 2]]
    graph = network.graph()
    codes = Tflm(to_flatbuffer(graph)).outputs(tuple(quantize_all_inputs(graph, inputs).values()))
    for name, simulated, given in zip(graph.outputs, outputs, codes, strict=True):
        quantization = graph.tensors[name].quantization
        real = quantization.scale[0] * (given.astype(np.float32) - quantization.zero_point)
        real = np.moveaxis(real, -1, 1) if real.ndim == 4 else real
        assert np.abs(real - simulated.detach().numpy()).max() <= 5 * quantization.scale[0]


def test_inputs_are_taken_by_position_and_by_name() -> None:
    graph, _ = quantised()
    image, sensors = random_inputs(graph, 3, seed=1).values()
    by_position = integer.run_outputs(graph, (image, sensors))
    by_name = integer.run_outputs(graph, {"sensors": sensors, "input": image})
    assert list(by_position) == ["boxes", "kind", "angle"]
    for name, values in by_position.items():
        assert len(values) == 3
        np.testing.assert_array_equal(values, by_name[name])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((np.zeros((1, 12, 10, 3), np.int8),), "one for each of input, sensors, but got 1"),
        ({"input": np.zeros((1, 12, 10, 3), np.int8)}, "but got input; pass"),
    ],
)
def test_other_inputs_are_refused_in_words(inputs: object, words: str) -> None:
    graph, _ = quantised()
    with pytest.raises(DataError, match=words):
        integer.run_outputs(graph, inputs)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=words):
        verify(to_flatbuffer(graph), inputs)  # type: ignore[arg-type]


def test_as_many_examples_are_wanted_of_each_input() -> None:
    graph, inputs = quantised()
    image, sensors = random_inputs(graph, 3, seed=1).values()
    with pytest.raises(ModelError, match="'input' has 3 and 'sensors' 2"):
        integer.run_outputs(graph, (image, sensors[:2]))
    with pytest.raises(DataError, match="'sensors' has 5 and another 6"):
        Network(detector())((inputs[0], inputs[1][:5]))


def test_the_only_output_of_several_is_asked_for_in_vain() -> None:
    graph, _ = quantised()
    given = random_inputs(graph, 1, seed=0)
    with pytest.raises(DataError, match=r"has 3 \(boxes, kind, angle\)"):
        integer.run(graph, given)
    with pytest.raises(ModelError, match="has 3; ask for all"):
        tflm_run(to_flatbuffer(graph), tuple(given.values()))


def test_mismatches_are_counted_by_output() -> None:
    graph, _ = quantised()
    model, given = to_flatbuffer(graph), random_inputs(graph, 4, seed=2)
    bias = graph.tensors["angle/bias"]
    moved = replace(bias, data=bias.data + np.int32(2**20))
    other = to_flatbuffer(replace(graph, tensors={**graph.tensors, bias.name: moved}))
    ours = integer.run_outputs(read(model), given)
    theirs = dict(zip(ours, Tflm(other).outputs(tuple(given.values())), strict=True))
    wrong = int((ours["angle"] != theirs["angle"]).sum())
    assert wrong > 0
    found = compare_outputs(ours, theirs)
    assert found.by_output == {"boxes": 0, "kind": 0, "angle": wrong}
    assert (found.samples, found.bytes_compared, found.mismatches) == (4, 4 * (180 + 5 + 2), wrong)
    same = verify(model, given)
    assert same == Verification(4, 748, 0, 0, {"boxes": 0, "kind": 0, "angle": 0})


def test_litert_runs_the_signature_by_names() -> None:
    graph, _ = quantised()
    graph = renamed(graph, {"input": "image", "kind": "class"})
    model, given = to_flatbuffer(graph), random_inputs(graph, 1, seed=3)
    assert list(given) == ["image", "sensors"]
    runner = Interpreter(model_content=model).get_signature_runner("serving_default")
    assert {*runner.get_input_details()} == {"image", "sensors"}
    answers = runner(**given)
    expected = integer.run_outputs(graph, given)
    assert {*answers} == {*expected} == {"boxes", "class", "angle"}
    for name, values in expected.items():  # XNNPACK rounds once, TFLM twice
        assert np.abs(answers[name].astype(int) - values).max() <= 2


def test_a_network_of_one_input_and_output_has_no_signature() -> None:
    graph = random_network(0)
    assert Interpreter(model_content=to_flatbuffer(graph)).get_signature_list() == {}


def test_runtimes_are_compared_on_all_outputs() -> None:
    graph, _ = quantised()
    found = compare_runtimes(to_flatbuffer(graph), random_inputs(graph, 4, seed=0))
    assert found["bytes_compared"] == 4 * (180 + 5 + 2)
    assert found["tflm_mismatches"] == 0
    assert found["tflm_mismatches_by_output"] == {"boxes": 0, "kind": 0, "angle": 0}
    assert found["litert_mismatches"] == sum(found["litert_mismatches_by_output"].values())
    assert found["litert_max_difference"] <= 2  # as above
    assert "litert_refusal" not in found


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        (("input",), ("boxes", "input"), "'input' is an input; leave it out"),
        (("input",), ("boxes", "boxes"), "'boxes' is listed 2 times"),
        (("input",), ("boxes", "boxes/bias"), "'boxes/bias' is a constant"),
        (("input", "input"), ("boxes",), "every input .* 'input' is listed 2 times"),
        (("input", "boxes/bias"), ("boxes",), "an input .* 'boxes/bias' is a constant"),
        ((), ("boxes",), "reads or overwrites 'input'|must have an input"),
    ],
)
def test_interfaces_that_no_device_has_are_refused_in_words(
    inputs: tuple[str, ...], outputs: tuple[str, ...], words: str
) -> None:
    builder = Builder((4, 4, 2))
    graph = quantize_randomly(builder.finish(builder.conv(builder.input, "boxes", 3)))
    with pytest.raises(ModelError, match=words):
        read(to_flatbuffer(replace(graph, inputs=inputs, outputs=outputs)))


def test_renaming_keeps_the_network() -> None:
    graph, _ = quantised()
    new = renamed(graph, {"input": "image", "boxes": "map"})
    given = random_inputs(graph, 2, seed=0)
    ours = integer.run_outputs(new, {"image": given["input"], "sensors": given["sensors"]})
    expected = integer.run_outputs(graph, given)
    assert list(ours) == ["map", "kind", "angle"]
    np.testing.assert_array_equal(ours["map"], expected["boxes"])
    with pytest.raises(ExportError, match="'picture' is not; inputs and outputs are input,"):
        renamed(graph, {"picture": "image"})
    with pytest.raises(ExportError, match="two would be 'boxes'"):
        renamed(graph, {"kind": "boxes"})


def test_maps_and_embeddings_keep_their_shape_and_classes_lose_it() -> None:
    builder = Builder((8, 6, 3))
    trunk = builder.conv(builder.input, "trunk", 4, (3, 3))
    classes = builder.conv(builder.global_average(trunk, "pool"), "classes", 5)
    x = torch.randn(2, 3, 8, 6)
    assert [tuple(y.shape) for y in Network(builder.finish(trunk, classes))(x)] == [
        (2, 4, 8, 6),
        (2, 5),
    ]
    assert Network(builder.finish(classes))(x).shape == (2, 5)
    assert Network(builder.finish(trunk))(x).shape == (2, 4, 8, 6)


def test_onnx_takes_and_gives_all_by_name() -> None:
    graph, inputs = quantised()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        to_onnx(graph), options, providers=["CPUExecutionProvider"]
    )
    assert [each.name for each in session.get_inputs()] == ["input", "sensors"]
    given = {"input": inputs[0].numpy(), "sensors": inputs[1].numpy()}
    answers = session.run(list(graph.outputs), given)
    expected = integer.run_outputs(graph, quantize_all_inputs(graph, inputs))
    for name, real in zip(graph.outputs, answers, strict=True):
        quantization = graph.tensors[name].quantization
        steps = (np.moveaxis(real, 1, -1) if real.ndim == 4 else real) / quantization.scale[0]
        codes = expected[name].astype(np.float32) - quantization.zero_point
        assert np.abs(steps - codes).max() <= 1.01


def test_layers_of_all_branches_are_compared() -> None:
    graph, inputs = quantised()
    errors = compare(dequantized(graph), graph, quantize_all_inputs(graph, inputs))
    assert [error.name for error in errors] == [op.name for op in graph.ops]
    assert min(error.local.sqnr_db for error in errors) > 20


@pytest.mark.long
def test_the_commands_take_several(tmp_path: Path) -> None:
    graph, _ = quantised()
    model = tmp_path / "two.tflite"
    model.write_bytes(to_flatbuffer(graph))
    np.savez(tmp_path / "examples.npz", **random_inputs(graph, 2, seed=0))
    for extra in ([], ["--inputs", str(tmp_path / "examples.npz")], ["--layers"]):
        done = CliRunner().invoke(app, ["verify", str(model), "--json", *extra])
        assert done.exit_code == 0, done.output
    found = json.loads(CliRunner().invoke(app, ["profile", str(model), "--json"]).output)
    assert found["inputs"] == [
        {"name": "input", "shape": [1, 12, 10, 3]},
        {"name": "sensors", "shape": [1, 4]},
    ]
    assert [each["name"] for each in found["outputs"]] == ["boxes", "kind", "angle"]
    table = CliRunner().invoke(app, ["profile", str(model)]).output
    assert re.search(r"inputs +input 1x12x10x3, sensors 1x4\n", table)
    for form in ("tflite", "c", "onnx", "project", "arduino"):
        out = ["--out", str(tmp_path / f"out_{form}")]
        done = CliRunner().invoke(app, ["export", str(model), "--format", form, *out])
        assert done.exit_code == 0, done.output
