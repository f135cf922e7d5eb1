"""Whole firmware on TensorFlow Lite Micro and an emulated Cortex-M4, run by `make tflm`.

TFLM_SOURCE and TFLM_LIBRARY name a build of one's own: it is no part of micronas, and nothing is
downloaded for it. Beside what `make firmware` needs: CMake.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from micronas.export.examples import random_inputs
from micronas.export.firmware.application import Application
from micronas.export.firmware.project import write_project
from micronas.graph.ir import Graph
from micronas.hardware.targets import CMSIS_NN
from micronas.runs.device import device
from micronas.space.space import Space
from micronas.streaming.events import Detector
from micronas.tasks.keywords.synth import synthesise
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly
from tests.export.firmware.listening import events, speech

WORDS = [f"word {number}" for number in range(12)]

OTHERS = ("cat", "house", "tree", "seven", "bird", "four")
SHORT = (
    *("board=stm32f446re", "train.epochs=30", "train.batch_size=32"),
    *("quantize.epochs=6", "quantize.learning_rate=0.0005"),
)

pytestmark = pytest.mark.tflm


@pytest.fixture(scope="module")
def library() -> tuple[str, str]:
    found = os.environ.get("TFLM_SOURCE"), os.environ.get("TFLM_LIBRARY")
    if None in found:
        pytest.fail("TFLM_SOURCE and TFLM_LIBRARY must name a build of TensorFlow Lite Micro")
    return found  # type: ignore[return-value]


def written(published: str, project: Path) -> Graph:
    graph = quantize_randomly(Space.load(f"published/{published}").graph())
    write_project(
        to_flatbuffer(graph),
        project,
        golden_input=random_inputs(graph, 1, seed=0),
        application=Application(speech(), WORDS, Detector((1,) * 12)),
    )
    return graph


def micronas(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "micronas", *arguments], cwd=folder, check=True)


def make(project: Path, library: tuple[str, str], *arguments: str) -> tuple[int, str]:
    source, archive = library
    command = ["make", "-C", f"{project}/qemu", f"TFLM_DIR={source}", f"TFLM_LIBRARY={archive}"]
    subprocess.run(["make", "-C", f"{project}/qemu", "clean"], check=True, capture_output=True)
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("published", ["kws_s", "ds_cnn_s"])
def test_firmware_passes_and_needs_every_line_of_its_arena(
    published: str, library: tuple[str, str], tmp_path: Path
) -> None:
    project = tmp_path / "firmware"
    graph = written(published, project)
    plan = CMSIS_NN.plan(graph)
    code, said = make(project, library, "check")
    assert code == 0, said
    assert "PASS: 12 output bytes as expected" in said
    given = -(-plan.required // 16) * 16
    assert f"arena: {plan.total} of {given} bytes used" in said
    instructions = sum(cost.instructions for cost in CMSIS_NN.prices(graph) if cost)
    (counted,) = re.findall(r"^inference: (\d+) instructions$", said, re.MULTILINE)
    assert int(counted) == pytest.approx(instructions, rel=0.01)
    less = f"DEFINITIONS=-DMICRONAS_ARENA_BYTES={given - 16}"
    code, said = make(project, library, less, "check")
    assert code != 0
    assert f"arena: {given} bytes needed, {given - 16} bytes given" in said


def test_ten_words_in_one_recording_are_ten_lines(library: tuple[str, str], tmp_path: Path) -> None:
    """A network that was trained, on the emulated core: what Python hears in each window."""
    words = ("yes", "no", "left", "stop")
    corpus = synthesise(tmp_path / "speech", words=(*words, *OTHERS), voices=(32, 6, 6))
    network = Space.load("textbook/tc_resnet8").model_copy(update={"classes": 6})
    network.save(tmp_path / "network.yaml")
    settings = [f"data.path={corpus}", f"data.keywords=[{','.join(words)}]", *SHORT]
    micronas(tmp_path, "train", "network.yaml", *settings, "--out", "run", "--quiet")
    micronas(tmp_path, "export", "run", "--format", "project", "--out", "firmware")
    spoken = ["yes", "no", "left", "stop", "stop", "yes", "no", "no", "left", "yes"]
    clip = np.random.default_rng(0).normal(size=21 * 16_000) * 20
    for number, word in enumerate(spoken):
        sound, _ = soundfile.read(min((corpus / word).glob("*.wav")), dtype="int16")
        clip[(2 * number + 1) * 16_000 :][: len(sound)] += sound
    soundfile.write(tmp_path / "ten.wav", clip.astype(np.int16), 16_000)
    code, said = make(tmp_path / "firmware", library, f"FILES={tmp_path / 'ten.wav'}", "say")
    assert code == 0, said
    lines = re.findall(r"ten\.wav: (.*), front end \d+ \+ network \d+ instructions", said)
    data = (tmp_path / "run/model.tflite").read_bytes()
    known = device(tmp_path / "run", data, read(data)).application
    assert known is not None
    assert lines == events(read(data), known, clip.astype(np.int16))
    assert [line.split()[0] for line in lines] == spoken


def test_cmake_builds_it_as_the_head_of_its_file_says(
    library: tuple[str, str], tmp_path: Path
) -> None:
    project = tmp_path / "firmware"
    written("ds_cnn_s", project)
    head = (project / "CMakeLists.txt").read_text().split("cmake_minimum_required")[0]
    (command,) = re.findall(r"cmake -S . -B build -DTFLM_DIR=<checkout> -DTFLM_LIB.*", head, re.S)
    command = re.sub(r"[#\\\n]", " ", command)
    for name, value in zip(("<checkout>", "<libtensorflow-microlite.a>"), library, strict=True):
        command = command.replace(name, value)
    for each in (command.split(), ["cmake", "--build", "build"]):
        done = subprocess.run(each, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    emulator = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none"]
    emulator += ["-icount", "shift=0"]
    emulator += ["-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel"]
    done = subprocess.run(
        [*emulator, "build/firmware"], cwd=project, capture_output=True, text=True, check=False
    )
    assert "PASS: 12 output bytes as expected" in done.stderr
    assert (project / "build/firmware-app").stat().st_size > 0
