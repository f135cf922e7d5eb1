"""One YAML file becomes the firmware of a router and its experts."""

from pathlib import Path

import pytest
import yaml

from micronas.errors import ConfigError, ExportError
from micronas.router.device.job import read_settings_of, write_device
from micronas.space.blocks import Separable
from micronas.space.space import Space, Stem
from tests import toy


@pytest.fixture
def config(tmp_path: Path) -> Path:
    network = Space(
        name="toy",
        input=(12, 12, 1),
        classes=2,
        stem=Stem(width=8, kernel=(3, 3), stride=(2, 2)),
        blocks=(Separable(width=8),),
    )
    (tmp_path / "network.yaml").write_text(network.text())
    recipe = {"epochs": 2, "batch_size": 32}
    values = {
        "board": "stm32f446re",
        "data": {"path": str(tmp_path)},
        "router": str(tmp_path / "network.yaml"),
        "expert": str(tmp_path / "network.yaml"),
        "categories": {"lines": ["rows", "columns"], "others": ["flat", "checks"]},
        "train": recipe,
        "quantize": {**recipe, "epochs": 1},
    }
    path = tmp_path / "composition.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_file_becomes_a_project(config: Path, tmp_path: Path) -> None:
    settings = read_settings_of(config, ["seed=3"])
    assert (settings.seed, settings.data.task) == (3, "kws")
    written = write_device(settings, tmp_path / "firmware", data=toy.data())
    names = {path.name for path in (tmp_path / "firmware").iterdir()}
    assert {"CMakeLists.txt", "composition.h", "main.cc", "network0.h", "qemu"} <= names
    assert written["categories"] == {
        "lines": ["rows", "columns"],
        "others": ["flat", "checks"],
    }
    assert written["fits"] is True
    with pytest.raises(ExportError, match="new or empty"):
        write_device(settings, tmp_path / "firmware", data=toy.data())


def test_a_misspelt_key_is_one_line(config: Path) -> None:
    with pytest.raises(ConfigError, match="categories"):
        read_settings_of(config, ["categorise=3"])
