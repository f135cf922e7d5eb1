"""What a new user does wrong, done for real; docs/errors.md prints what they then read."""

import errno
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from micronas.space.space import Space
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph
from tests.command import command as forked
from tests.command import complaints

ROOT = Path(__file__).parents[1]
SPACE = {
    "name": "tiny",
    "input": [32, 32, 1],
    "classes": 2,
    "stem": {"width": 8, "kernel": 3, "stride": 2},
    "blocks": [{"type": "separable", "width": 16}],
}
SHORT = ["train={epochs: 1, batch_size: 16}", "quantize={epochs: 1, batch_size: 16}"]


def documented() -> dict[str, list[tuple[str, str]]]:
    """Commands and what they print, by the heading they stand under."""
    text = (ROOT / "docs" / "errors.md").read_text()
    return {
        part.splitlines()[0]: re.findall(r"^\$ micronas (.*)\n(error: .*)$", part, re.MULTILINE)
        for part in text.split("\n## ")[1:]
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are run: two classes of photographs, a network to train, a model."""
    path = tmp_path_factory.mktemp("first")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 40)).astype(np.uint8)
    for label, images in (("person", pixels[:30]), ("non_person", pixels[30:])):
        (path / "photos" / label).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(path / "photos" / label / f"{number}.png")
    space = Space.model_validate(SPACE)
    space.architecture(space.largest()).save(path / "network.yaml")
    (path / "net.tflite").write_bytes(to_flatbuffer(random_int8_graph(3, family="ds_cnn")))
    return path


def start(
    arguments: list[str],
    folder: Path,
    *,
    before: Callable[[], None] | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    if environment is None:
        return forked(*arguments, cwd=folder, before=before)
    return subprocess.run(
        [sys.executable, "-S", "-m", "micronas", *arguments],
        cwd=folder,
        env=environment,
        preexec_fn=before,
        capture_output=True,
        text=True,
        check=False,
    )


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert complaints(done.stderr) == message + "\n"
    assert done.stdout == ""
    assert done.returncode == 2


def test_six_mistakes_are_documented() -> None:
    assert {heading: len(shown) for heading, shown in documented().items()} == {
        "There is no data folder": 1,
        "The board's name is misspelt": 1,
        "A budget in another unit": 2,
        "An extra is not installed": 2,
        "The disk is full": 1,
        "The run folder exists": 2,
    }


@pytest.mark.parametrize(
    "heading",
    ["There is no data folder", "The board's name is misspelt", "A budget in another unit"],
)
def test_wrong_arguments_leave_nothing_behind(heading: str, folder: Path) -> None:
    before = files(folder)
    for command, message in documented()[heading]:
        refused(start(shlex.split(command), folder), message)
    assert files(folder) == before


@pytest.mark.long
def test_a_missing_extra_is_named(folder: Path, tmp_path: Path) -> None:
    # an environment like this one without those packages: links to all the others
    sites = [Path(each) for each in sys.path if each.endswith("site-packages")]
    missing = ("onnx", "aiohttp", "__editable__")
    for name, path in {path.name: path for site in sites for path in site.iterdir()}.items():
        if not name.lower().startswith(missing):
            (tmp_path / name).symlink_to(path)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    for command, message in documented()["An extra is not installed"]:
        refused(start(shlex.split(command), folder, environment=environment), message)


@pytest.mark.long
def test_a_full_disk_and_a_folder_in_use(folder: Path) -> None:
    """A limit on the size of files stands in for the disk: it needs no rights."""
    ((command, message),) = documented()["The disk is full"]
    arguments = [*shlex.split(command), *SHORT, "--quiet"]

    def small() -> None:
        sys.dont_write_bytecode = True  # Python would leave half of a module's
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    full = message.replace(os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG))
    assert full != message
    refused(start(arguments, folder, before=small), full)
    assert [path.name for path in (folder / "runs/network").iterdir()] == ["config.yaml"]

    again = start(arguments, folder)
    assert again.returncode == 0, again.stderr
    assert (folder / "runs/network/model.tflite").is_file()
    before = files(folder)
    for command, message in documented()["The run folder exists"]:
        refused(start([*shlex.split(command), *SHORT], folder), message)
    assert files(folder) == before
