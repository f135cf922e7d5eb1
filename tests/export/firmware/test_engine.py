"""Whole firmware on the generated engine: here, and by `make firmware` on an emulated Cortex-M4."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from micronas.export.examples import random_inputs
from micronas.export.firmware.application import Application
from micronas.export.firmware.project import ProjectKind, write_project
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Tensor
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, measure
from micronas.hardware.front_ends import front_end_costs
from micronas.hardware.profile import profile
from micronas.streaming.events import Detector
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import ds_cnn, quantize_randomly
from testing.interfaces import opened
from testing.networks import random_network
from testing.recurrent import lstm
from tests.export.firmware.listening import (
    BOARD,
    LABELS,
    SKETCH,
    SPEECH,
    STUBS,
    WORDS,
    events,
    heard,
    speech,
    spoken,
    trained,
)

FLAGS = ("-O1", "-Wall", "-Wextra", "-Werror", f"-I{STUBS}")
KNOWN = Application(speech(), LABELS, Detector((None, 20, 20, None), smoothing=3))
ENGINE = Board.load("stm32f446re").using(None, engine="micronas")


@pytest.fixture(scope="module")
def model() -> bytes:
    return trained()


def written(
    model: bytes,
    project: Path,
    application: Application | None = KNOWN,
    kind: ProjectKind = "cmake",
    arena: int | None = None,
) -> Path:
    golden = random_inputs(read(model), 1, seed=0)
    write_project(
        *(model, project),
        golden_input=golden,
        kind=kind,
        application=application,
        engine="micronas",
        arena=arena,
    )
    return project


def compiled(project: Path, *, main: str = "main.cc", around: str = BOARD) -> Path:
    """Compile for this machine, with what a board would bring."""
    (project.parent / "own.cc").write_text(
        "#include <cstddef>\n#include <cstdint>\n#include <cstdio>\n" + around
    )
    objects = []
    for source in project.glob("*.c"):
        objects.append(str(source.with_suffix(".o")))
        c = ["gcc", "-std=c99", *FLAGS, "-c", str(source), "-o", objects[-1]]
        subprocess.run(c, check=True)
    made = project.parent / "program"
    given = [str(project.parent / "own.cc"), *objects]
    if main.endswith(".ino"):
        given += ["-include", "Arduino.h", "-x", "c++"]
    cxx = ["g++", "-std=c++17", *FLAGS, *given, str(project / main), "-o", str(made)]
    subprocess.run(cxx, check=True)
    return made


def expected(model: bytes) -> list[str]:
    found = events(read(model), KNOWN, spoken(WORDS))
    assert [line.split()[0] for line in found] == WORDS  # it hears something at all
    return found


def test_ten_words_are_ten_lines_of_what_integers_compute(model: bytes, tmp_path: Path) -> None:
    project = written(model, tmp_path / "listener")
    lines = heard(compiled(project, main="app.cc"), spoken(WORDS).tobytes())
    assert [re.sub(r"microphone: |, front.*", "", line) for line in lines] == expected(model)


def test_a_sketch_checks_itself_and_listens(model: bytes, tmp_path: Path) -> None:
    project = written(model, tmp_path / "listener", kind="arduino")
    made = compiled(project, main="listener.ino", around=SKETCH)
    lines = heard(made, spoken(WORDS).tobytes())
    assert lines[2] == "PASS: 4 output bytes as expected"
    assert lines[3:] == expected(model)


@pytest.mark.parametrize("seed", [2, 6, 14])
@pytest.mark.parametrize("several", [False, True], ids=["one", "several inputs and outputs"])
def test_a_network_of_any_operators_checks_itself(several: bool, seed: int, tmp_path: Path) -> None:
    graph = random_network(seed)
    graph = opened(graph, seed) if several else graph
    assert not several or len(graph.inputs) + len(graph.outputs) > 2
    project = written(to_flatbuffer(graph), tmp_path / "any", None)
    assert heard(compiled(project), b"")[-1].startswith("PASS")
    golden = project / "golden.h"
    arrays = golden.read_text()
    last = re.findall(r"(-?\d+)\n};\n\nstruct", arrays)[0]
    golden.write_text(arrays.replace(f"{last}\n}};\n\nstruct", f"{int(last) ^ 1}\n}};\n\nstruct"))
    assert "output bytes differ (1 of" in heard(compiled(project), b"")[-1]


def emulated(project: Path, *arguments: str) -> str:
    command = ["make", "-C", f"{project}/qemu", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@pytest.mark.firmware
@pytest.mark.parametrize("arena", [None, 0], ids=["whole maps", "row by row"])
def test_an_emulated_core_hears_the_same(model: bytes, arena: int | None, tmp_path: Path) -> None:
    project = written(model, tmp_path / "listener", arena=arena)
    soundfile.write(tmp_path / "ten.wav", spoken(WORDS), 16_000)
    said = emulated(project, "check", "say", f"FILES={tmp_path / 'ten.wav'}")
    assert "PASS: 4 output bytes as expected" in said
    assert re.findall(r"ten\.wav: (.*), front end \d+ \+ netw", said) == expected(model)


@pytest.mark.firmware
def test_cmake_builds_it_without_anything_else(model: bytes, tmp_path: Path) -> None:
    project = written(model, tmp_path / "listener")
    head = (project / "CMakeLists.txt").read_text().split("cmake_minimum_required")[0]
    (command,) = re.findall(r"cmake -S . -B build +\\.*", head, re.S)
    command = re.sub(r"[#\\\n]", " ", command)
    for each in (command.split(), ["cmake", "--build", "build"]):
        subprocess.run(each, cwd=project, capture_output=True, check=True)
    sizes = subprocess.run(
        ["arm-none-eabi-size", "build/listener-app"], cwd=project, capture_output=True, check=True
    ).stdout.split()
    text, data, bss = map(int, sizes[6:9])
    assert text + data < 32 * 1024
    assert bss - 4096 < 8 * 1024  # a stack of 4 KB among it


def few(units: int) -> Graph:
    """A network of a few bytes, with a recurrent state where it has units."""
    builder = Builder((49, 10, 1))
    value = builder.reshape(builder.input, "rows", (1, 49, 10))
    if units:
        tensors: dict[str, Tensor] = {}
        op = lstm(value, "lstm", (10, units), tensors)
        for tensor in tensors.values():
            builder.learnt(tensor)
        value = builder.append(op, (1, 49, units))
    return quantize_randomly(builder.finish(builder.dense(value, "scores", len(LABELS))), 1)


@pytest.mark.firmware
@pytest.mark.parametrize(
    "graph",
    [few(0), few(6), quantize_randomly(ds_cnn())],
    ids=["less than a frame's work", "with a state", "more than that"],
)
def test_predicted_sram_is_what_is_linked(graph: Graph, tmp_path: Path) -> None:
    """The front end works in the arena: the larger of both counts, with what both keep."""
    project = written(to_flatbuffer(graph), tmp_path / "listener", replace(KNOWN, labels=()))
    source = '#include "front_end.h"\nFrontEnd front_end;\n'
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-c", "-xc", "-"]
    subprocess.run([*command, "-o", "kept.o"], input=source.encode(), cwd=project, check=True)
    emulated(project, "BUILD=build", "build/app.elf")
    sizes = symbols(project / "qemu/build/app.elf") | symbols(project / "kept.o")
    linked = {name: sizes[name] for name in ("tensor_arena", "front_end")}
    linked |= {name: -(-size // 4) * 4 for name, size in sizes.items() if name == "model_kept"}
    device = profile(graph, ENGINE, meaning=SPEECH)["device"]
    assert device["sram_bytes"] == sum(linked.values()), linked
    limits = Budget(sram=device["sram_bytes"]).on(
        ENGINE, front_end=front_end_costs(SPEECH, (49, 10, 1))
    )
    costs = measure(graph, ENGINE, kind="kws", outputs=12)
    assert limits.used(costs)["sram"] == 1


def symbols(image: Path) -> dict[str, int]:
    """Bytes of each object."""
    command = ["arm-none-eabi-nm", "-S", str(image)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line[3]: int(line[1], 16) for line in map(str.split, said.splitlines()) if line[3:]}
