"""Accuracy of a file as the device computes it, and what a notebook shows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import micronas
from micronas.data import DataSet, TensorSplit
from micronas.errors import ConfigError, DataError, ModelError
from micronas.export.verify import tflm_interpreter
from micronas.hardware.profile import profile
from micronas.objectives.base import Objective
from micronas.objectives.classes import Classes
from micronas.objectives.labels import Labels
from micronas.train.recipe import Recipe
from tests import toy


@pytest.fixture(scope="module")
def made() -> tuple[torch.nn.Module, bytes, DataSet]:
    data = toy.data()
    network = toy.SPACE.architecture(toy.SPACE.uniform(0.5)).build()
    micronas.fit(network, data.train, Recipe(epochs=2, batch_size=32), seed=0)
    calibration = data.train.batch(torch.arange(64), None)
    model = micronas.to_tflite(network, calibration[:1], calibration=[calibration])
    return network, model, data


def test_a_file_is_scored_by_what_tflm_answers(
    made: tuple[torch.nn.Module, bytes, DataSet], tmp_path: Path
) -> None:
    """Against the interpreter itself, example by example."""
    _, model, data = made
    index = torch.arange(30)
    found = micronas.evaluate(model, data, index=index)
    interpreter = tflm_interpreter(model)
    details = interpreter.get_input_details(0)
    scales = details["quantization_parameters"]
    answers = []
    for example in data.test.batch(index, None).permute(0, 2, 3, 1).numpy():
        codes = np.round(example / scales["scales"][0]) + scales["zero_points"][0]
        interpreter.set_input(np.clip(codes, -128, 127).astype(np.int8)[None], 0)
        interpreter.invoke()
        answers.append(int(interpreter.get_output(0).argmax()))
    right = np.array(answers) == data.test.labels[:30].numpy()
    assert found.accuracy == pytest.approx(right.mean())
    (tmp_path / "model.tflite").write_bytes(model)
    for path in (tmp_path, tmp_path / "model.tflite", str(tmp_path / "model.tflite")):
        assert micronas.evaluate(path, data.test, index=index) == found


def test_a_module_is_scored_as_before_and_wrong_data_refused(
    made: tuple[torch.nn.Module, bytes, DataSet],
) -> None:
    network, model, data = made
    assert data.test is not None
    assert micronas.evaluate(network, data) == micronas.evaluate(network, data.test)
    other = micronas.TensorSplit(torch.zeros(4, 1, 8, 12), torch.zeros(4).long())
    with pytest.raises(DataError, match=r"input \[12, 12, 1\] .* but a batch has \[1, 8, 12\]"):
        micronas.evaluate(model, other)
    wrong = micronas.TensorSplit(torch.zeros(4, 1, 12, 12), torch.arange(4) + 9)
    with pytest.raises(DataError, match="0 to 3, but are 9 to 12"):
        micronas.evaluate(model, wrong)
    with pytest.raises(ModelError, match=r"must be a \.tflite file"):
        micronas.evaluate("x" * 5000, data)


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.Sigmoid()])
def test_probabilities_of_a_file_count_as_logits(last: nn.Module) -> None:
    """Sigmoids above 0 were all accepted, and the loss was of probabilities."""
    source = torch.Generator().manual_seed(0)
    inputs = torch.randn(100, 1, 1, 3, generator=source)
    layer = nn.Linear(3, 3)
    layer.weight.data, layer.bias.data = 2 * torch.eye(3), -torch.ones(3)
    linear = nn.Sequential(nn.Flatten(), layer).eval()
    objective: Objective = Labels()
    targets = inputs.reshape(100, 3) > 0.5
    if isinstance(last, nn.Softmax):
        objective, targets = Classes(), inputs.reshape(100, 3).argmax(1)
    split = TensorSplit(inputs, targets)
    data = DataSet(split, split, split, ("a", "b", "c"), (1, 3, 1), objective=objective)
    wanted = micronas.evaluate(linear, data)
    model = micronas.to_tflite(nn.Sequential(*linear, last).eval(), inputs[:1], calibration=inputs)
    found = micronas.evaluate(model, data)
    assert found.loss == pytest.approx(wanted.loss, abs=0.01)
    assert found.macro_f1 == pytest.approx(wanted.macro_f1, abs=0.03)


@pytest.mark.long
def test_notebooks_show_tables_and_pictures() -> None:
    data, board = toy.data(), micronas.Board.load("stm32f446re")
    settings = micronas.SearchSettings(draws=2, champions=1, trial=Recipe(epochs=1, batch_size=64))
    budget = micronas.Budget(latency="20 ms")
    result = micronas.search(toy.SPACE, data, board=board, budget=budget, settings=settings)
    assert str(result.winner.architecture) in result.table()
    assert "sorted by epochs reached, then loss" in result.table()
    fitted = result.table(width=60).splitlines()
    assert max(map(len, fitted)) <= 60
    assert "not shown: MACs, epochs (--wide)" in fitted
    graph = result.winner.architecture.graph()
    for shown, text in (
        (result, str(result.winner.architecture)),
        (board, "Cortex-M4, 180 MHz"),
        (toy.SPACE, "stem.width"),
        (profile(graph, board), "CONV_2D"),
    ):
        page = shown._repr_html_()
        assert page.startswith("<table>")
        assert text in page
    axes = result.plot()
    assert axes.get_xlabel() == "latency, ms"
    assert sum(len(each.get_offsets()) for each in axes.collections) == len(result.candidates)
    assert result.plot("arena").get_xlabel() == "arena, KB"
    with pytest.raises(ConfigError, match="a history needs a supernet"):
        result.plot("history")
