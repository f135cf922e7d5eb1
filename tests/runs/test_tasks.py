"""Every task through the main job on a small corpus of its own: settings, data, scores, teacher."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from micronas.data import Detection, TensorSplit
from micronas.errors import ConfigError
from micronas.graph import integer
from micronas.objectives import clips as detect
from micronas.objectives.anomalies import Anomalies
from micronas.runs.run import run_training
from micronas.runs.settings import load_run, load_training
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.space import Space
from micronas.tasks import registry
from micronas.tasks.images.settings import ImageSettings, VisualSettings
from micronas.tasks.images.synth import sample_images
from micronas.tasks.keywords.settings import KeywordSettings
from micronas.tasks.machines.settings import MachineSettings
from micronas.tasks.machines.synth import synthesise
from micronas.tasks.series.settings import SeriesSettings
from micronas.train.codes import quantize_inputs
from micronas.train.loop import predict
from micronas.train.network import Network
from micronas.train.recipe import Recipe
from testing.scores import scores
from tests import toy
from tests.training import finetune, run_search

pytestmark = pytest.mark.usefixtures("device")

SHORT = (
    *("board=stm32f446re", "search.strategy=halving", "search.draws=2", "search.generations=0"),
    *("search.champions=1", "search.trial={epochs: 1, batch_size: 16}"),
    "train={epochs: 1, batch_size: 16}",
    "quantize={epochs: 1, batch_size: 16, learning_rate: 0.001}",
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_images(tmp_path_factory.mktemp("images") / "faces")


@pytest.mark.parametrize(
    ("space", "extra", "kind"),
    [
        ("kws_small", (), KeywordSettings),
        ("vww_small", (), VisualSettings),
        ("ad", (), MachineSettings),
        ("ad", ("data.task=kws",), KeywordSettings),
    ],
)
def test_the_space_says_which_task_unless_the_user_does(
    space: str, extra: tuple[str, ...], kind: type
) -> None:
    settings = load_run(space, ["board=stm32f446re", "data.path=x", *extra])
    assert isinstance(settings.data, kind)
    assert load_run(space, ["board=stm32f446re", "data.path=x", *extra]) == settings


def test_a_training_takes_the_task_of_its_runs_space_or_the_users() -> None:
    keywords = load_training(None, ["board=stm32f446re", "data.path=x"])
    assert isinstance(keywords.data, KeywordSettings)
    images = load_training(None, ["board=stm32f446re", "data.path=x", "data.task=vww"])
    assert isinstance(images.data, VisualSettings)
    example = Path(__file__).parents[2] / "examples" / "vww.yaml"
    assert isinstance(load_training(example).data, VisualSettings)


def test_a_found_network_knows_the_task_of_its_data(tmp_path: Path) -> None:
    given = ["board=stm32f446re", "data.path=x"]
    space = next(iter(load_space("series").members()))  # type: ignore[union-attr]
    space.architecture(space.smallest()).save(tmp_path / "architecture.yaml")
    network = Space.load(tmp_path / "architecture.yaml")
    assert network.task == "series"
    settings = load_training(None, [*given, "data.window=64", "data.stride=32"], network=network)
    assert isinstance(settings.data, SeriesSettings)
    assert (settings.data.window, settings.data.stride) == (64, 32)
    unnamed = load_training(None, given, network=network)
    assert isinstance(unnamed.data, SeriesSettings)
    assert unnamed.data.window == network.input[0]
    images = load_training(None, given, network=Space.load("published/vww_2"))
    assert isinstance(images.data, VisualSettings)
    own = load_training(None, [*given, "data.task=kws"], network=network)
    assert isinstance(own.data, KeywordSettings)


def test_pictures_are_read_as_the_space_sees_them(images: Path) -> None:
    """A folder of any classes, without a word about size or colours."""
    given = ["board=stm32f446re", f"data.path={images}"]
    settings = load_run("images_open", given)
    data, space = registry.load(settings.data), settings.load_space()
    assert isinstance(space, OpenSpace)
    assert (data.input, data.meaning["color"]) == ((32, 32, 3), "rgb")
    assert "read" not in data.seen_as(space.inputs[0]).meaning, "firmware has a front end"
    for name, size, color in (("vww_small", 50, "gray"), ("vww", 96, "gray")):
        read = load_run(name, given).data
        assert isinstance(read, VisualSettings)
        assert (read.size, read.color) == (size, color)
    own = load_run("images_open", [*given, "data.size=64"])
    assert isinstance(own.data, ImageSettings)
    assert (own.data.size, own.data.color) == (64, "rgb")
    assert own.load_space().inputs == ((64, 64, 3),), "networks see what is asked for"
    gray = load_run("images_large", [*given, "data.color=gray", "data.size=160"])
    assert gray.load_space().inputs == ((160, 160, 1),)
    small = load_run("vww_small", [*given, "data.size=64"])
    assert small.load_space().inputs == ((64, 64, 1),)
    network = load_training(None, given, network=Space.load("textbook/resnet8")).data
    assert isinstance(network, VisualSettings)
    assert (network.size, network.color) == (32, "rgb")


def test_the_finest_input_of_a_space_is_read() -> None:
    several = [(32, 32, 3), (48, 48, 1), (16, 16, 1)]
    assert registry.find("vww").reading(several) == {"size": 48, "color": "rgb"}
    assert registry.find("vww").reading(several[2:]) == {"size": 32, "color": "gray"}
    assert registry.find("kws").reading([(49, 10, 1)]) == {}
    assert registry.find("series").reading([(64, 1, 6), (32, 1, 6)]) == {}


def test_a_wrong_task_or_setting_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError,
        match=r"data.task: must be one of kws, images, vww, ad, .* \(did .*, but got 'vw'",
    ):
        load_run("vww", ["board=stm32f446re", "data.path=x", "data.task=vw"])
    with pytest.raises(ConfigError, match=r"unknown key 'data.window_ms'"):
        load_run("vww", ["board=stm32f446re", "data.path=x", "data.window_ms=30"])


@pytest.mark.long
def test_images_from_a_folder_to_a_checked_network(images: Path, tmp_path: Path) -> None:
    """Five in a hundred files are damaged; the run ends and says which it left out."""
    folder = tmp_path / "damaged"
    shutil.copytree(images, folder)
    files = sorted(folder.rglob("*.png"))
    for path in files[::20]:
        path.write_bytes(path.read_bytes()[:100])
    overrides = [*SHORT, f"data.path={folder}", "data.size=32", "budget.sram=32 KB"]
    settings = load_run("vww_small", overrides)
    data = registry.load(settings.data)
    assert files[0].name in data.summary
    _, trained = run_search(settings, tmp_path / "run", data=data)
    assert trained.metrics["tflm_mismatches"] == 0
    assert trained.metrics["fits"] is True
    assert "auc" not in trained.metrics
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics == trained.metrics


@pytest.mark.long
def test_machines_are_judged_by_auc(tmp_path: Path) -> None:
    synthesise(tmp_path / "sounds", training=4, test=2, seconds=3.0)
    settings = load_run("ad_small", [*SHORT, f"data.path={tmp_path / 'sounds'}"])
    _, trained = run_search(settings, tmp_path / "run")
    for name in ("auc", "pauc", "int8_auc", "float_auc", "float_pauc"):
        assert 0 <= trained.metrics[name] <= 1
    assert trained.metrics["auc"] == trained.metrics["int8_auc"]
    assert len(trained.metrics["per_machine"]) == 8
    assert trained.metrics["tflm_mismatches"] == 0


def test_scores_of_anomalies_are_those_of_the_outputs_softmax() -> None:
    plain = toy.data()
    network = Network(toy.SPACE.architecture(toy.SPACE.uniform(0.5)).graph())
    graph = finetune(network, plain.train, Recipe(epochs=1, batch_size=32), seed=0).graph()
    windows = toy.split(64, 3)
    machine = windows.labels.reshape(32, 2)[:, 0]
    split = TensorSplit(windows.inputs, machine.repeat_interleave(2))
    detection = Detection(
        split, torch.arange(64) // 2, machine, torch.arange(32) % 2 == 0, plain.classes
    )
    data = replace(plain, test=None, detection=detection, objective=Anomalies())
    found = scores(network, graph, data)
    softmax = predict(network, split).double().softmax(1).numpy()
    assert found["float_auc"] == detect.evaluate(detection, softmax)["auc"]
    codes = integer.run(graph, quantize_inputs(graph, split.inputs)).reshape(64, -1)
    quantization = graph.tensors[graph.outputs[0]].quantization
    real = (codes.astype(float) - quantization.zero_point) * float(quantization.scale[0])
    powers = np.exp(real)
    expected = detect.evaluate(detection, powers / powers.sum(1, keepdims=True))
    assert found["auc"] == expected["auc"]
    assert found["judged_on"] == "validation"


@pytest.mark.long
def test_a_teacher_takes_part_in_the_final_training(tmp_path: Path) -> None:
    data = toy.data()
    large, small = (toy.SPACE.architecture(toy.SPACE.uniform(width)) for width in (1.0, 0.3))
    base = ["board=stm32f446re", "data.path=x", *SHORT[-2:]]
    teacher, plain = tmp_path / "teacher", tmp_path / "plain"
    run_training(large, load_training(None, base), teacher, data=data)
    run_training(small, load_training(None, base), plain, data=data)
    settings = load_training(None, [*base, f"distill.teacher={teacher}"])
    taught = run_training(small, settings, tmp_path / "taught", data=data)
    assert taught.model != (plain / "model.tflite").read_bytes()


@pytest.mark.long
def test_final_training_hears_the_final_split(tmp_path: Path) -> None:
    data = toy.data()
    doubled = TensorSplit(data.train.batch(torch.arange(400), None) * 2, data.train.labels)
    final = replace(data, final=doubled)
    network = toy.SPACE.architecture(toy.SPACE.uniform(0.3))
    settings = load_training(None, ["board=stm32f446re", "data.path=x", *SHORT[-2:]])
    first = run_training(network, settings, tmp_path / "a", data=data)
    second = run_training(network, settings, tmp_path / "b", data=final)
    assert first.model != second.model
    train = data.train
    swapped = TensorSplit(
        train.batch(torch.arange(400), None), 3 - train.labels, groups=train.groups
    )
    louder = TensorSplit(doubled.inputs, train.labels, groups=train.groups)
    for other in (final, replace(data, train=swapped), replace(data, train=louder)):
        with pytest.raises(ConfigError, match="go on with the data it began with"):
            run_training(network, settings, tmp_path / "a", data=other)
    again = replace(data, test=data.validation)
    assert run_training(network, settings, tmp_path / "a", data=again).model == first.model


def test_published_networks_by_name() -> None:
    assert Space.load("published/kws_m").classes == 12
    with pytest.raises(ConfigError, match="did you mean 'kws_m'"):
        Space.load("published/kws_mm")
