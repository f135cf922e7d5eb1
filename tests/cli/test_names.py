"""Names beyond ASCII, in a locale that has none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph


@pytest.mark.long
def test_folders_and_files_of_any_name_in_the_locale_c(tmp_path: Path) -> None:
    folder = tmp_path / "größe é 模型"
    folder.mkdir()
    (folder / "nétz.tflite").write_bytes(to_flatbuffer(random_int8_graph(0, family="ds_cnn")))
    environment = {name: value for name, value in os.environ.items() if name[:3] != "LC_"}
    command = [sys.executable, "-m", "micronas", "export", str(folder / "nétz.tflite")]
    done = subprocess.run(
        [*command, "--format", "engine", "--out", str(folder / "mötor")],
        capture_output=True,
        env={**environment, "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith(f"{folder / 'mötor'}: ")
    assert sorted(each.suffix for each in (folder / "mötor").iterdir()) == [".c", ".h"]
