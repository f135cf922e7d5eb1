"""A user's own module through `search` to a run folder with its report.

By every strategy in `tests.nas.test_protocol`, to the end of the search.
"""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2

import micronas
from micronas.data import DataSet, TensorSplit
from micronas.errors import ConfigError
from micronas.nas.convert import convert
from micronas.nas.settings import SHIPPED, HalvingSettings
from micronas.report.write import write_report
from micronas.runs.settings import RunSettings
from micronas.runs.trained import trained_network
from micronas.tflite.reader import read
from micronas.train.recipe import Recipe
from tests import toy
from tests.nas.brief import brief
from tests.nas.own_networks import DSCNN
from tests.training import run_search

pytestmark = pytest.mark.usefixtures("device")

QUICK = Recipe(epochs=1, batch_size=32, learning_rate=1e-3)


def settings(strategy: str, **budget: str) -> RunSettings:
    return RunSettings.model_validate(
        {
            "board": "stm32f446re",
            "budget": budget,
            "space": "a module of one's own",
            "data": {"task": "kws", "path": "none"},
            "search": brief(strategy, trial=QUICK),
            "train": QUICK,
            "quantize": QUICK,
        }
    )


def pictures(count: int) -> TensorSplit:
    generator = torch.Generator().manual_seed(count)
    inputs = torch.randn(count, 3, 32, 32, generator=generator)
    return TensorSplit(inputs, torch.arange(count) % 2, groups=torch.arange(count))


def run(module: nn.Module, data: DataSet, chosen: RunSettings, folder: Path) -> None:
    """The whole way; what is checked holds for every module and strategy."""
    height, width, channels = data.input
    space = convert(module, torch.randn(1, channels, height, width))
    result, trained = run_search(chosen, folder, data=data, space=space)
    assert trained.metrics["search"]["strategy"] in (chosen.search.strategy, "halving", "ranked")
    assert trained.metrics["tflm_mismatches"] == 0
    assert trained.metrics["fits"]
    winner = result.winner
    assert isinstance(winner.architecture.build(), type(module))
    graph = read(trained.model)
    shapes = [tensor.shape for tensor in graph.tensors.values()]
    assert shapes == [tensor.shape for tensor in winner.architecture.graph().tensors.values()]
    path, page = write_report([folder])
    assert path.exists()
    (again,) = (value for name, value in page["reproduce"]["facts"] if name == "Again")
    assert again.startswith(f"the same call of micronas.run, with the module {space.title}")
    blocks = page["network"]["blocks"]
    widths = {block["name"]: block["width"] for block in blocks}
    assert widths.items() >= space.values(winner.choice).items()
    assert all(block["macs"] >= 0 for block in blocks)
    assert trained_network(folder) is None  # no file builds a user's module
    own = trained_network(folder, winner.architecture)
    assert isinstance(own, type(module))
    judged = data.test or data.validation
    with torch.no_grad():
        answers = own(judged.batch(torch.arange(len(judged.labels)), None)).argmax(1)
    right = (answers == judged.labels).float().mean().item()
    assert right == pytest.approx(trained.metrics["float_accuracy"], abs=0.02)


@pytest.mark.parametrize(
    "strategy",
    ["auto", *(pytest.param(each, marks=pytest.mark.long) for each in ("dnas", "single_stage"))],
)
def test_a_users_ds_cnn_is_searched(strategy: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    chosen = settings(strategy, latency="1.8 ms")
    run(DSCNN(classes=len(toy.CLASSES)), toy.few(), chosen, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", sorted(SHIPPED))
def test_mobilenet_v2_is_searched(strategy: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = mobilenet_v2(width_mult=0.35, num_classes=2)
    data = DataSet(pictures(48), pictures(16), None, ("left", "right"), (32, 32, 3))
    run(module, data, settings(strategy, latency="60 ms", macs="3 MMACs"), tmp_path / "run")


def test_weights_a_user_brings_are_where_trials_begin() -> None:
    torch.manual_seed(1)
    module = DSCNN(classes=4)
    space = convert(module, torch.randn(1, 1, 12, 12))
    network = space.architecture(space.largest())
    for name, parameter in network.build().named_parameters():
        assert torch.equal(parameter, module.get_parameter(name))
    result = micronas.search(
        space,
        toy.data(),
        board=micronas.Board.load("stm32f446re"),
        budget=micronas.Budget(),
        settings=HalvingSettings(draws=2, champions=1, trial=QUICK),
    )
    assert isinstance(result.winner.architecture.build(), DSCNN)
    assert result.winner.choice in {each.choice for each in result.candidates}


def test_no_file_builds_a_module_of_ones_own(tmp_path: Path) -> None:
    space = convert(DSCNN(classes=4), torch.randn(1, 1, 12, 12))
    (tmp_path / "architecture.yaml").write_text(space.architecture(space.smallest()).text())
    for load in (micronas.Space.load, micronas.load_space):
        with pytest.raises(ConfigError, match=r"module 'DSCNN', which no file builds; .*convert"):
            load(tmp_path / "architecture.yaml")
