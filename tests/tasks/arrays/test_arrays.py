"""A run on arrays from Python: no task is made up, and its folder repeats it to the byte."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Subset, TensorSplit
from micronas.errors import ConfigError, DataError
from micronas.runs.run import run_search
from micronas.runs.settings import load_run
from micronas.tasks.arrays.settings import ArraySettings
from micronas.tasks.arrays.store import digest, load, save
from tests import toy

GIVEN = (
    *("board=stm32f446re", "data.task=arrays", "budget.latency=20 ms"),
    *("search.draws=2", "search.champions=1", "search.trial={epochs: 1, batch_size: 32}"),
    *("train={epochs: 1, batch_size: 32}", "quantize={epochs: 1, batch_size: 32}"),
)


@pytest.mark.long
def test_a_run_on_arrays_is_repeated_by_its_folder(tmp_path: Path) -> None:
    space = tmp_path / "toy.yaml"
    toy.SPACE.save(space)
    first, second = tmp_path / "first", tmp_path / "second"
    _, found = run_search(load_run(space, GIVEN), first, data=toy.data(), workers=1)
    config = yaml.safe_load((first / "config.yaml").read_text())
    assert config["data"] == {
        "task": "arrays",
        "balance": "none",
        "path": str(first / "data.npz"),
        "sha256": digest(toy.data()),
    }
    _, again = run_search(load_run(first / "config.yaml"), second, workers=1)
    assert again.model == found.model
    # and the same folder goes on, whoever gives the arrays
    _, resumed = run_search(load_run(space, GIVEN), first, data=toy.data(), workers=1)
    assert resumed.model == found.model


@pytest.mark.long
@pytest.mark.parametrize(("epochs", "read"), [(1, True), (9, False)])
def test_weights_of_a_trial_are_kept_while_the_final_training_may_begin_with_them(
    epochs: int, read: bool, tmp_path: Path
) -> None:
    space, folder = tmp_path / "toy.yaml", tmp_path / "run"
    toy.SPACE.save(space)
    settings = load_run(space, [*GIVEN, f"train.epochs={epochs}"])
    runs = [run_search(settings, folder, data=toy.few(), workers=1) for _ in range(2)]
    assert runs[0][1].model == runs[1][1].model
    kept = Checkpoint(folder / "checkpoint.pt", yields=True)
    assert (kept.load(f"trial/{runs[0][0].winner}") is not None) is read


def test_what_is_kept_is_what_was_given(tmp_path: Path) -> None:
    data = toy.data()
    save(data, tmp_path / "data.npz")
    kept = load(ArraySettings(path=tmp_path / "data.npz", sha256=digest(data)))
    index = torch.arange(20)
    for one, other in ((data.train, kept.train), (data.validation, kept.validation)):
        seeds = [torch.Generator().manual_seed(1) for _ in range(2)]
        assert torch.equal(one.batch(index, seeds[0]), other.batch(index, seeds[1]))
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.groups, other.groups)
    with pytest.raises(DataError, match="go on with the arrays it began with"):
        load(ArraySettings(path=tmp_path / "data.npz", sha256="0" * 64))
    (tmp_path / "data.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="cannot be read"):
        load(ArraySettings(path=tmp_path / "data.npz"))


def test_what_no_file_can_hold_is_refused() -> None:
    def inner(inputs: Tensor, _generator: torch.Generator) -> Tensor:
        return inputs

    plain = toy.data()
    train = TensorSplit(torch.zeros(4, 1, 12, 12), torch.tensor([0, 1, 2, 3]), augment=inner)
    for split in (train, Subset(plain.train, torch.arange(80))):
        data = DataSet(split, plain.validation, None, plain.classes, plain.input)
        with pytest.raises(ConfigError, match=r"repeatable, but .* cannot be written down"):
            digest(data)


def test_a_space_without_a_task_never_becomes_keywords(tmp_path: Path) -> None:
    space = tmp_path / "toy.yaml"
    toy.SPACE.save(space)
    with pytest.raises(ConfigError, match=r"neither data.task nor the space .*toy.yaml.* add data"):
        load_run(space, ["board=stm32f446re", "data.path=x"])
    with pytest.raises(ConfigError, match=r"data.task=arrays with run_search\(..., data=...\)"):
        load_run(space, ["board=stm32f446re"])
