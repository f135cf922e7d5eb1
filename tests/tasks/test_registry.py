"""A task of one's own: one object and one registration, and all that tasks can do works on it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from typer.testing import CliRunner

from micronas.cli import app
from micronas.data import DataSet
from micronas.errors import ConfigError
from micronas.runs.run import run_training
from micronas.runs.settings import load_run, load_training
from micronas.tasks import registry
from micronas.tasks.keywords.synth import synthesise
from micronas.tasks.task import Finding, Task, TaskSettings
from tests import toy


class ToySettings(TaskSettings):
    task: Literal["toy"] = "toy"
    examples: int = 400


class Toy(Task[ToySettings]):
    settings = ToySettings

    def load(self, settings: ToySettings) -> DataSet:
        parts = toy.split(settings.examples, 0), toy.split(120, 1), toy.split(120, 2)
        return DataSet(*parts, toy.CLASSES, (12, 12, 1))

    def check(self, settings: ToySettings) -> list[Finding]:
        there = (settings.path / "seed").is_file()
        return [] if there else [Finding("missing", "seed", "is not there")]

    def sample(self, folder: Path, *, seed: int = 0) -> str:
        folder.mkdir(parents=True)
        (folder / "seed").write_text(str(seed))
        return "stripes and checks"


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    withdraw = registry.register(Toy())
    yield
    withdraw()


def test_the_command_line_makes_and_checks_its_data(tmp_path: Path) -> None:
    folder = str(tmp_path / "toys")
    missing = CliRunner().invoke(app, ["data", "check", "toy", folder])
    assert missing.exit_code == 1
    assert missing.output.endswith("channels)\nmissing: seed: is not there\n")
    made = CliRunner().invoke(app, ["data", "synth", "toy", folder, "--seed", "7"])
    assert made.output == f"{folder}: stripes and checks\n"
    well = CliRunner().invoke(app, ["data", "check", "toy", folder, "data.examples=40"])
    assert well.exit_code == 0
    assert "input 12 x 12 x 1 (height, width, channels)\nall is well" in well.output
    rows = [line.split() for line in well.output.splitlines()[2:6]]
    labels = toy.split(40, 0).labels.tolist(), toy.split(120, 1).labels.tolist()
    assert [[name, int(train), int(held)] for name, train, held, _ in rows] == [
        [name, *(each.count(number) for each in labels)] for number, name in enumerate(toy.CLASSES)
    ]


def test_a_run_reads_its_settings_and_trains_on_it(tmp_path: Path) -> None:
    given = ["board=stm32f446re", "data.path=x", "data.task=toy", "data.examples=64"]
    recipe = "{epochs: 1, batch_size: 32}"
    settings = load_training(None, [*given, f"train={recipe}", f"quantize={recipe}"])
    assert isinstance(settings.data, ToySettings)
    assert len(registry.load(settings.data).train.labels) == 64
    network = toy.SPACE.architecture(toy.SPACE.uniform(0.3))
    trained = run_training(network, settings, tmp_path / "run")
    assert trained.metrics["tflm_mismatches"] == 0
    assert (
        "  task: toy\n  path: x\n  balance: none\n  examples: 64\n"
        in (tmp_path / "run/config.yaml").read_text()
    )
    assert load_run("kws", given).model_dump()["data"]["examples"] == 64


def test_mistakes_in_its_settings_are_named() -> None:
    given = ["board=stm32f446re", "data.path=x", "data.task=toy"]
    with pytest.raises(ConfigError, match=r"unknown key 'data.exmaples'; did you mean 'examples'"):
        load_training(None, [*given, "data.exmaples=64"])
    with pytest.raises(
        ConfigError, match=r"one of kws, images, vww, ad, series, arrays, toy \(did you mean 'toy'"
    ):
        load_training(None, [*given[:2], "data.task=toys"])
    with pytest.raises(ConfigError, match="a task must have a name of its own"):
        registry.register(Toy())


def test_check_finds_what_a_search_refuses(tmp_path: Path) -> None:
    """Two words, both of them keywords: the class unknown would be empty."""
    folder = synthesise(tmp_path / "words", words=("yes", "no"), voices=(6, 2, 2))
    found = CliRunner().invoke(app, ["data", "check", "kws", str(folder)])
    assert found.exit_code == 1
    assert "the class unknown must have words of its own" in found.output
    assert "set data.unknown_fraction=0" in found.output
    again = ["data", "check", "kws", str(folder), "data.unknown_fraction=0"]
    well = CliRunner().invoke(app, again)
    assert (well.exit_code, well.output.splitlines()[-1][:11]) == (0, "all is well")


def test_check_reads_with_the_settings_of_a_search(tmp_path: Path) -> None:
    """Measured labels, a column of another name, short windows: nothing of it is the default."""
    rows = [f"{unit},{x % 7 + unit / 100},{20 - x}" for unit in range(12) for x in range(20)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["unit,x,left", *rows]) + "\n")
    given = ["data.label=left", "data.group=unit", "data.bins=[4, 12]", "data.window=8"]
    told = CliRunner().invoke(app, ["data", "check", "series", str(path), *given])
    assert (told.exit_code, told.output.splitlines()[-1][:11]) == (0, "all is well")
    assert "12 recordings in" in told.output
    asked = CliRunner().invoke(app, ["data", "check", "series", str(path), *given, "--json"])
    found = json.loads(asked.output)
    assert found["findings"] == []
    read = found["read"]
    assert read["input"] == [8, 1, 1]
    assert read["classes"] == ["below 4", "4 to 12", "12 and above"]
    assert [*read["examples"]] == ["training", "validation", "testing"]
    named = [f"data.path={path}", *given[:3]]
    odd = CliRunner().invoke(app, ["data", "check", "series", *named, "--json"])
    assert json.loads(odd.output)["read"] is None
    assert odd.exit_code == 1
