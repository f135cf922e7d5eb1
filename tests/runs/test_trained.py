"""A run folder gives back the float network it was trained to, or says why not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, TensorSplit
from micronas.errors import ConfigError, ModelError
from micronas.objectives.base import Objective
from micronas.objectives.classes import CLASSES
from micronas.objectives.labels import Labels
from micronas.objectives.regression import Regression
from micronas.runs.run import run_search
from micronas.runs.settings import load_run
from micronas.runs.trained import teacher, trained, trained_network
from micronas.space.space import Space
from micronas.tflite.metadata import describe
from micronas.tflite.writer import to_flatbuffer
from micronas.train.network import Network
from micronas.train.quantize import QuantizedNetwork
from micronas.views import Shape
from tests.toy import SMALL, few


def test_a_run_folder_gives_its_trained_network_back(tmp_path: Path) -> None:
    values = {
        "input": [49, 10, 1],
        "classes": 3,
        "stem": {"width": 8, "kernel": [10, 4], "stride": [2, 2]},
        "blocks": [{"type": "separable", "width": 8}],
    }
    architecture = Space.model_validate(values)
    assert trained(tmp_path) is None
    network = Network(architecture.graph())
    architecture.save(tmp_path / "architecture.yaml")
    Checkpoint(tmp_path / "checkpoint.pt").save("train", {"module": network.state_dict()})
    found = trained(tmp_path)
    assert found is not None
    wanted = network.eval().graph()
    for name, tensor in wanted.tensors.items():
        if tensor.data is not None:
            np.testing.assert_array_equal(found.tensors[name].data, tensor.data)
    Checkpoint(tmp_path / "checkpoint.pt").save("train", {"module": {}})
    with pytest.raises(ModelError, match="must hold the weights of its architecture"):
        trained(tmp_path)


TEACHER: Shape = (12, 6, 2)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on three classes, but for its training."""
    folder = tmp_path_factory.mktemp("taught")
    stem = {"width": 4, "kernel": [3, 3]}
    space = Space.model_validate({"input": TEACHER, "classes": 3, "stem": stem, "blocks": []})
    network = Network(space.graph())
    space.save(folder / "architecture.yaml")
    Checkpoint(folder / "checkpoint.pt").save("train", {"module": network.state_dict()})
    quantized = QuantizedNetwork(network.eval().graph())
    quantized.calibrate([(torch.randn(8, 2, 12, 6), torch.zeros(8))])
    described = describe(classes=("a", "b", "c"), meaning={}, channels=2)
    (folder / "model.tflite").write_bytes(to_flatbuffer(quantized.graph(), metadata=described))
    (folder / "metrics.json").touch()
    return folder


def of(objective: Objective, labels: torch.Tensor, *names: str) -> DataSet:
    part = TensorSplit(torch.zeros(6, 1, 12, 12), labels)
    return DataSet(part, part, None, names, (12, 12, 1), objective=objective)


THREE = torch.arange(6) % 3


def test_a_teacher_sees_in_its_own_shape(taught: Path) -> None:
    alone, inputs = trained_network(taught), torch.randn(3, 1, 12, 12)
    assert alone is not None
    found = teacher(taught, of(CLASSES, THREE, "a", "b", "c"), [(12, 12, 1), (12, 1, 12)])
    turned = inputs.reshape(3, 12, 6, 2).permute(0, 3, 1, 2)
    torch.testing.assert_close(found(inputs), alone(turned))


@pytest.mark.parametrize(
    ("data", "inputs", "said"),
    [
        (of(CLASSES, THREE, "b", "a", "c"), [(12, 12, 1)], "tells a, b, c and the data b, a, c"),
        (of(CLASSES, THREE, "a", "b", "c"), [(12, 6, 1)], r"reads \[12, 6, 2\] .* \[12, 6, 1\]"),
        (of(Regression(), THREE.float(), "a"), [(12, 12, 1)], "objective is regression"),
        (of(Labels(), torch.eye(3).repeat(2, 1), "a", "b", "c"), [], "objective is labels"),
    ],
)
def test_a_teacher_of_something_else(
    taught: Path, data: DataSet, inputs: list[Shape], said: str
) -> None:
    with pytest.raises(ConfigError, match=f"a teacher must .*{said}"):
        teacher(taught, data, inputs)


def test_a_search_without_its_teacher_does_not_begin(tmp_path: Path) -> None:
    given = ["board=stm32f446re", "data.path=x", f"distill.teacher={tmp_path}"]
    with pytest.raises(ConfigError, match="the folder of a finished run"):
        run_search(load_run("kws", given), tmp_path / "run", data=few(), space=SMALL)
    assert not (tmp_path / "run").exists()
