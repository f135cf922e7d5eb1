"""Whole firmware on the generated engine: here, and by `make firmware` on an emulated Cortex-M4."""

import json
import re
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from micronas.errors import ConfigError
from micronas.export.examples import random_inputs
from micronas.export.firmware.application import Application, Value
from micronas.export.firmware.front_ends.front_end import Array
from micronas.export.firmware.host import OnHost
from micronas.export.firmware.project import ProjectKind, write_project
from micronas.graph.frames import FrameByFrame
from micronas.graph.ir import Graph, Tensor
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, measure
from micronas.hardware.front_ends import front_end_costs
from micronas.hardware.profile import profile
from micronas.hardware.targets import MICRONAS
from micronas.runs.device import device
from micronas.runs.listen import listen
from micronas.space.space import Space
from micronas.streaming.events import Detector
from micronas.tflite.metadata import describe
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.builder import Builder
from testing.graphs import ds_cnn, quantize_randomly
from testing.interfaces import opened
from testing.networks import random_network
from testing.recurrent import lstm
from tests.cases import first
from tests.export.firmware.listening import (
    LABELS,
    RATE,
    SKETCH,
    SPEECH,
    WORDS,
    compiled,
    events,
    heard,
    scored,
    speech,
    spoken,
)

KNOWN = Application(speech(), LABELS, Detector((None, 20, 20, None), smoothing=3))
ENGINE = Board.load("stm32f446re").using(None, engine="micronas")


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


@cache
def expected(model: bytes) -> list[str]:
    found = events(read(model), KNOWN, spoken(WORDS))
    assert [line.split()[0] for line in found] == WORDS  # it hears something at all
    return found


@pytest.mark.long
def test_ten_words_are_ten_lines_of_what_integers_compute(model: bytes, tmp_path: Path) -> None:
    project = written(model, tmp_path / "listener")
    lines = heard(compiled(project, main="app.cc"), spoken(WORDS).tobytes())
    assert [re.sub(r"microphone: |, front.*", "", line) for line in lines] == expected(model)


@pytest.mark.long
def test_a_sketch_checks_itself_and_listens(model: bytes, tmp_path: Path) -> None:
    project = written(model, tmp_path / "listener", kind="arduino")
    made = compiled(project, main="listener.ino", around=SKETCH)
    lines = heard(made, spoken(WORDS).tobytes())
    assert lines[2] == "PASS: 4 output bytes as expected"
    assert lines[3:] == expected(model)


@first("seed", [2, 6, 14], 1)
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


def ears(stride: int) -> Graph:
    """A network that streams, of random weights, with scores every few frames."""
    described = {
        "input": [49, 1, 10],
        "classes": 4,
        "streaming": True,
        "stem": {"width": 6, "kernel": [5, 1], "stride": [stride, 1]},
        "blocks": [{"type": "residual", "width": 8, "kernel": [3, 1]}],
    }
    return quantize_randomly(Space.model_validate(described).graph(), 6)


def frame_by_frame(graph: Graph, samples: Array, hop: int) -> list[str]:
    """What is to be said where frames come in calls, each with the latest scores it gives."""
    given = graph.tensors[graph.inputs[0]].quantization
    assert given is not None
    hears, network = OnHost(speech(), given), FrameByFrame(graph)
    starts = range(0, len(samples) - RATE + 1, 320)
    windows = [hears.codes(samples[at : at + RATE]).reshape(49, 1, 10) for at in starts]
    frames = np.concatenate([windows[0], *(each[-1:] for each in windows[1:])])
    codes, calls = [], []
    for call in range(hop, len(frames) + 1, hop):
        if len(rows := network.push(frames[call - hop : call])):
            codes.append(rows[-1])
            calls.append(call)
    rule = Detector((1, 1, 1, 1), smoothing=2, refractory=1, hop=hop)
    return [
        f"{LABELS[event.label]} at {40 + 20 * (calls[event.hop] - 1)} ms (ahead by {event.score})"
        for event in rule.events(np.stack(codes))
    ]


def streaming_run(graph: Graph, hop: int, folder: Path) -> Path:
    folder.mkdir()
    data = to_flatbuffer(graph, metadata=describe(classes=LABELS, meaning=SPEECH))
    (folder / "model.tflite").write_bytes(data)
    decided = {"thresholds": [1] * 4, "smoothing": 2, "refractory": 1, "ignored": []}
    stored = {"decision": decided, "listening": {"hop_frames": hop}}
    (folder / "metrics.json").write_text(json.dumps(stored))
    return folder


@first(("stride", "hop"), [(4, 10), (2, 4), (4, 3)], 1)
def test_a_network_that_streams_hears_each_frame_once(
    stride: int, hop: int, tmp_path: Path
) -> None:
    """Calls in turns, calls alike, and calls of which some give no scores."""
    graph = ears(stride)
    run = streaming_run(graph, hop, tmp_path / "run")
    data = (run / "model.tflite").read_bytes()
    known = device(run, data, graph).application
    project = written(data, tmp_path / "ears", known)
    assert f"#define MODEL_HOP_FRAMES {hop}\n" in (project / "model.h").read_text()
    assert f"#define FRONT_END_ROWS {hop} " in (project / "front_end.h").read_text()
    samples = spoken(WORDS[:4])
    soundfile.write(tmp_path / "four.wav", samples, RATE)
    said = frame_by_frame(graph, samples, hop)
    assert len(said) > 2
    found = listen(run, [tmp_path / "four.wav"], engine="micronas").events
    assert [f"{e.label} at {e.position} ms (ahead by {e.score})" for e in found] == said
    lines = heard(compiled(project, main="app.cc"), samples.tobytes())
    assert [re.sub(r"microphone: |, front.*", "", line) for line in lines] == said
    assert heard(compiled(project), b"")[-1] == "PASS: 4 output bytes as expected"


def test_a_gate_and_an_arena_are_not_for_networks_that_stream(tmp_path: Path) -> None:
    gated = Application(speech(), LABELS, Detector((None, 1, 1, None), gate=9, hop=4))
    data = to_flatbuffer(ears(2))
    with pytest.raises(ConfigError, match="has a gate of 9; delete"):
        written(data, tmp_path / "gated", gated)
    with pytest.raises(ConfigError, match="leave --arena out"):
        written(data, tmp_path / "rows", KNOWN, arena=0)
    run = streaming_run(ears(2), 4, tmp_path / "run")
    with pytest.raises(ConfigError, match="leave --gate out"):
        listen(run, [run], marked=[], gate_db=20, engine="micronas")


@pytest.mark.firmware
@pytest.mark.parametrize("hop", [4, 10])
def test_an_emulated_core_streams_the_same(hop: int, tmp_path: Path) -> None:
    """Its arena is the state, and the larger of the rest and of what the front end works in."""
    graph = ears(2)
    run = streaming_run(graph, hop, tmp_path / "run")
    data = (run / "model.tflite").read_bytes()
    project = written(data, tmp_path / "ears", device(run, data, graph).application)
    soundfile.write(tmp_path / "four.wav", spoken(WORDS[:4]), RATE)
    said = emulated(project, "check", "say", f"FILES={tmp_path / 'four.wav'}")
    assert "PASS: 4 output bytes as expected" in said
    found = re.findall(r"four\.wav: (.*), front end \d+ \+ netw", said)
    assert found == frame_by_frame(graph, spoken(WORDS[:4]), hop)
    plan, work = MICRONAS.hops(graph, hop).plan, speech().work_bytes
    sizes = symbols(project / "qemu/build/app.elf")
    assert sizes["tensor_arena"] == max(plan.total, plan.tail + work)
    linked = sizes["tensor_arena"] + kept_by_front_end(project)
    budget = Budget(hop=20 * hop)
    predicted = profile(graph, ENGINE, meaning=SPEECH, budget=budget)
    assert predicted["device"]["sram_bytes"] == linked
    assert predicted["used"]["sram"] * predicted["budget"]["sram"] == pytest.approx(linked)


def few(units: int, outputs: int = len(LABELS), seed: int = 1) -> Graph:
    """A network of a few bytes, with a recurrent state where it has units."""
    builder = Builder((49, 10, 1))
    value = builder.reshape(builder.input, "rows", (1, 49, 10))
    if units:
        tensors: dict[str, Tensor] = {}
        op = lstm(value, "lstm", (10, units), tensors)
        for tensor in tensors.values():
            builder.learnt(tensor)
        value = builder.append(op, (1, 49, units))
    return quantize_randomly(builder.finish(builder.dense(value, "scores", outputs)), seed)


def test_each_window_begins_without_a_state(tmp_path: Path) -> None:
    """The state of the window before was there, and 19 of 21 values were others."""
    graph = few(6, outputs=1, seed=2)
    output = graph.tensors[graph.outputs[0]].quantization
    assert output is not None
    known = Application(speech(), ("value",), Value(0.0, 1 / float(output.scale[0])))
    project = written(to_flatbuffer(graph), tmp_path / "listener", known)
    samples = spoken(WORDS[:2])
    said = "\n".join(heard(compiled(project, main="app.cc"), samples.tobytes()))
    told = [int(each) + int(output.zero_point) for each in re.findall(r"\((-?\d+)\)", said)]
    assert told == scored(graph, known, samples).ravel().tolist()


@pytest.mark.firmware
@pytest.mark.parametrize(
    "graph",
    [few(0), few(6), quantize_randomly(ds_cnn())],
    ids=["less than a frame's work", "with a state", "more than that"],
)
def test_predicted_sram_is_what_is_linked(graph: Graph, tmp_path: Path) -> None:
    """The front end works in the arena: the larger of both counts, with what both keep."""
    project = written(to_flatbuffer(graph), tmp_path / "listener", replace(KNOWN, labels=()))
    emulated(project, "BUILD=build", "build/app.elf")
    sizes = symbols(project / "qemu/build/app.elf")
    linked = {"tensor_arena": sizes["tensor_arena"], "front_end": kept_by_front_end(project)}
    linked |= {name: -(-size // 4) * 4 for name, size in sizes.items() if name == "model_kept"}
    device = profile(graph, ENGINE, meaning=SPEECH)["device"]
    assert device["sram_bytes"] == sum(linked.values()), linked
    limits = Budget(sram=device["sram_bytes"]).on(
        ENGINE, front_end=front_end_costs(SPEECH, (49, 10, 1))
    )
    costs = measure(graph, ENGINE, kind="kws")
    assert limits.used(costs)["sram"] == 1


def kept_by_front_end(project: Path) -> int:
    """Bytes of a front end's state on a Cortex-M4."""
    source = '#include "front_end.h"\nFrontEnd front_end;\n'
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-c", "-xc", "-"]
    subprocess.run([*command, "-o", "kept.o"], input=source.encode(), cwd=project, check=True)
    return symbols(project / "kept.o")["front_end"]


def symbols(image: Path) -> dict[str, int]:
    """Bytes of each object."""
    command = ["arm-none-eabi-nm", "-S", str(image)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line[3]: int(line[1], 16) for line in map(str.split, said.splitlines()) if line[3:]}
