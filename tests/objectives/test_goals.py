"""Values and several labels at once, from CSV to firmware, and an objective of a user's own."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from micronas.data import DataSet, TensorSplit
from micronas.errors import ConfigError, DataError
from micronas.evaluation.files import evaluate
from micronas.evaluation.scores import codes
from micronas.objectives.base import Decides, Measure, Objective
from micronas.objectives.classes import Classes
from micronas.objectives.labels import Labels
from micronas.objectives.registry import OBJECTIVES, from_plain, to_plain
from micronas.objectives.regression import Regression
from micronas.report.single import page_data
from micronas.runs.finished import open_run
from micronas.runs.run import run_training
from micronas.runs.settings import load_training
from micronas.settings import with_overrides
from micronas.tasks import registry
from micronas.tasks.series.recordings import read_columns
from micronas.tasks.series.settings import SeriesSettings
from micronas.tasks.series.task import TASK
from micronas.tasks.series.wear import synthesise
from micronas.tflite.reader import read
from tests import toy
from tests.command import command

BRIEF = (
    *("board=stm32f446re", "budget.sram=24 KB", "data.window=32", "search.strategy=halving"),
    *("search.draws=2", "search.folds=1", "search.champions=1"),
    "search.trial={epochs: 1, batch_size: 32}",
    "train={epochs: 8, batch_size: 32, learning_rate: 0.01}",
    "quantize={epochs: 1, batch_size: 32}",
)


@pytest.fixture(scope="module")
def wear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("wear") / "machines")


def searched(folder: Path, *settings: str) -> dict[str, Any]:
    """Search by the command line; return metrics."""
    done = command("search", "series", *BRIEF, *settings, "--out", folder / "run", "--quiet")
    assert done.returncode == 0, done.stderr
    metrics: dict[str, Any] = json.loads((folder / "run/metrics.json").read_text())
    assert metrics["tflm_mismatches"] == 0
    assert metrics["fits"]
    made = command("export", folder / "run", "--format", "project", "--out", folder / "firmware")
    assert made.returncode == 0, made.stderr
    return {**metrics, "printed": done.stdout}


def test_the_settings_that_a_sample_names_suit_it(tmp_path: Path) -> None:
    """Windows of 128 left out ten of 20 machines, and worn in all; worn was told by rul."""
    said = TASK.sample(tmp_path / "machines", goal="labels")
    named = re.findall(r"data\.(window=\d+|goal=labels|(?:columns|target)=\[[^]]+\])", said)
    values = with_overrides({"path": str(tmp_path / "machines")}, named)
    assert len(named) == 4
    settings = SeriesSettings.model_validate(values)
    assert not TASK.check(settings)
    assert read_columns(settings) == ("vibration", "pressure", "current")


@pytest.mark.long
def test_a_value_from_csv_to_firmware(wear: Path, tmp_path: Path) -> None:
    goal = ("data.goal=regression", "data.target=rul", "data.unit=cycles")
    found = searched(tmp_path, f"data.path={wear}", *goal)
    data = registry.load(
        SeriesSettings(path=wear, goal="regression", target=("rul",), unit="cycles", window=32)
    )
    # what the file's codes stand for, undone by hand
    model = (tmp_path / "run/model.tflite").read_bytes()
    graph = read(model)
    quantization = graph.tensors[graph.outputs[0]].quantization
    output = float(quantization.scale[0]) * (
        codes(graph, data.test)[:, 0].astype(float) - quantization.zero_point
    )
    mean, deviation = data.objective.mean or 0, data.objective.deviation or 0
    off = mean + deviation * output - data.test.labels.numpy()
    assert found["int8_mae"] == pytest.approx(np.abs(off).mean())
    assert found["int8_r2"] == pytest.approx(1 - (off**2).mean() / data.test.labels.numpy().var())
    low, high = found["int8_mae_interval"]
    assert low < found["int8_mae"] < high
    assert found["int8_r2"] > 0.3  # chance is 0
    assert found["search"]["ranked_by"] == "mae"
    losses = [each["trial_mae"] for each in found["search"]["candidates"]]
    assert losses == sorted(losses)
    assert re.search(
        r"MAE +float [\d.]+ cycles, int8 [\d.]+ cycles \(95 % interval", found["printed"]
    )
    assert "float_accuracy" not in found
    # a window has the value of its last sample
    first = np.loadtxt(sorted(wear.glob("*.csv"))[0], delimiter=",", skiprows=1)
    assert first[31, 3] == 80
    header = (tmp_path / "firmware/decision.h").read_text()
    step = float(quantization.scale[0]) * deviation
    digits = int(re.search(r"kDigits = (\d)", header)[1])  # type: ignore[index]
    assert 10**-digits <= step
    assert float(re.search(r"kStep = ([\d.e+-]+)f", header)[1]) == pytest.approx(  # type: ignore[index]
        step * 10**digits, rel=1e-6
    )
    assert 'kAfter = " cycles"' in header
    page = page_data(open_run(tmp_path / "run"))
    assert {"MAE, int8", "R2, int8", "MAE, float"} <= {each["label"] for each in page["tiles"]}
    assert len(page["outcome"]["values"]["true"]) == len(data.test.labels)


@pytest.mark.long
def test_several_labels_at_once_from_csv_to_firmware(wear: Path, tmp_path: Path) -> None:
    goal = ("data.goal=labels", "data.target=[worn, leaking]")
    found = searched(tmp_path, f"data.path={wear}", *goal)
    data = registry.load(
        SeriesSettings(path=wear, goal="labels", target=("worn", "leaking"), window=32)
    )
    assert data.test.labels.sum(1).max() == 2  # both at once
    graph = read((tmp_path / "run/model.tflite").read_bytes())
    thresholds = found["decision"]["thresholds"]
    told, held = codes(graph, data.test) >= np.array(thresholds), data.test.labels.numpy() > 0
    f1 = 2 * (told & held).sum(0) / (told.sum(0) + held.sum(0))
    assert found["int8_f1_per_label"] == pytest.approx(
        dict(zip(("worn", "leaking"), f1.tolist(), strict=True))
    )
    assert found["int8_macro_f1"] == pytest.approx(f1.mean())
    assert found["int8_map"] > held.mean() + 0.1  # chance is how often labels hold
    header = (tmp_path / "firmware/decision.h").read_text()
    assert f"kThresholds[kLabelCount] = {{{', '.join(map(str, thresholds))}}}" in header
    page = page_data(open_run(tmp_path / "run"))
    assert [each["name"] for each in page["outcome"]["labels"]] == ["worn", "leaking"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"goal": "regression"}, "one column in data.target.*goal=regression has 0"),
        ({"goal": "regression", "target": ("a", "b")}, "goal=regression has 2"),
        ({"target": "rul"}, "other goals none, but goal=classes has 1"),
        ({"normal": "0"}, "go with data.goal=anomalies, but normal='0' has goal=classes"),
        ({"goal": "labels", "target": ("worn", "worn")}, "name columns once"),
        ({"goal": "regression", "target": "rul", "unit": 17 * "m"}, "at most 16 characters"),
        ({"goal": "regression", "target": "life"}, "must have the column 'life'"),
        ({"goal": "labels", "target": ("worn", "rul")}, "hold 0 and 1, but 'rul'.*regression"),
        ({"goal": "regression", "target": "rul", "balance": "weights"}, "classes alone can be"),
    ],
)
def test_what_a_goal_must_have_is_said(settings: dict[str, Any], said: str, wear: Path) -> None:
    with pytest.raises((ConfigError, DataError, ValueError), match=said):
        registry.load(SeriesSettings.model_validate({"path": wear, "window": 32, **settings}))


def test_targets_that_no_objective_can_take_are_refused() -> None:
    inputs = torch.zeros(4, 1, 2, 2)

    def made(labels: Tensor, objective: Objective, names: tuple[str, ...] = ("a",)) -> DataSet:
        split = TensorSplit(inputs, labels)
        return DataSet(split, split, None, names, (2, 2, 1), objective=objective)

    with pytest.raises(DataError, match="finite numbers"):
        made(torch.tensor([0.0, float("nan"), 1.0, 2.0]), Regression())
    with pytest.raises(DataError, match="values in training must differ"):
        made(torch.ones(4), Regression())
    pressure = made(torch.tensor([101_324.0, 101_326.0] * 2), Regression()).objective
    assert pressure == Regression(mean=101_325.0, deviation=1.0)
    with pytest.raises(DataError, match="must have one output, but there are 2"):
        made(torch.rand(4), Regression(), ("a", "b"))
    with pytest.raises(DataError, match="0 or 1"):
        made(torch.rand(4, 2), Labels(), ("a", "b"))
    with pytest.raises(DataError, match="'b' holds for no one of 4"):
        made(torch.tensor([[0.0, 0], [1, 0], [0, 0], [1, 0]]), Labels(), ("a", "b"))
    with pytest.raises(ConfigError, match=r"ranked by loss, mae, rmse or r2, but got .*accuracy"):
        Regression().ranked_by("accuracy")
    for objective in (Regression("mae", "h", 1.0, 2.0), Labels(), Classes(balance="sampling")):
        assert from_plain(json.loads(json.dumps(to_plain(objective)))) == objective


@dataclass(frozen=True)
class Counts(Objective):
    """A user's own: how many of something, by Poisson's loss; an output is a logarithm."""

    name: ClassVar[str] = "counts"
    decides: ClassVar[Decides] = "value"
    rank_by: str = "deviance"

    @property
    def measures(self) -> Mapping[str, Measure]:
        return {"deviance": Measure("deviance", self._deviance, "", larger=False)}

    def check(self, targets: Tensor, outputs: int | None = None) -> Tensor:
        if (targets < 0).any():
            raise DataError("counts must be 0 or more")
        return targets.float()

    def loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        return torch.nn.functional.poisson_nll_loss(outputs[:, 0], targets.float())

    def chance(self, outputs: int) -> float:
        return 1.0

    def decision(
        self, codes: npt.NDArray[np.int8], targets: Tensor, *, features: object
    ) -> dict[str, Any]:
        return {"kind": self.decides}

    @staticmethod
    def _deviance(outputs: Tensor, targets: Tensor) -> Tensor:
        told, true = outputs[:, 0].double(), targets.double()
        return 2 * (torch.xlogy(true, true) - true * told - true + told.exp())


def test_an_objective_of_ones_own_is_a_class_and_a_line_in_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searched, trained, quantised, verified, resumed from its folder and shown."""
    monkeypatch.setitem(OBJECTIVES, Counts.name, Counts)  # type: ignore[type-abstract]
    plain = toy.data()

    def counted(split: Any) -> TensorSplit:
        return TensorSplit(split.inputs, split.labels.float(), groups=split.groups)

    parts = map(counted, (plain.train, plain.validation, plain.test))
    data = DataSet(*parts, ("bars",), plain.input, objective=Counts())  # type: ignore[arg-type]
    space = toy.SPACE.model_copy(update={"classes": 1})
    settings = load_training(None, ["board=stm32f446re", "data.task=arrays", *BRIEF[-2:]])
    network = space.architecture(space.uniform(0.5))
    trained = run_training(network, settings, tmp_path / "run", data=data)  # type: ignore[arg-type]
    metrics = trained.metrics
    assert metrics["tflm_mismatches"] == 0
    assert metrics["objective"] == "counts"
    # a network that tells the mean alone
    mean = plain.test.labels.float().mean()  # type: ignore[union-attr]
    flat = Counts._deviance(mean.log().expand(120, 1), plain.test.labels)  # type: ignore[union-attr]
    assert metrics["int8_deviance"] < 0.8 * flat.mean().item()
    again = registry.load(settings.data.model_copy(update={"path": tmp_path / "run/data.npz"}))
    assert again.objective == Counts()
    assert evaluate(trained.model, again).deviance == pytest.approx(metrics["int8_deviance"])
