"""The generated application listens: compiled, fed with samples, and answered by a stand-in.

TFLM is the stubs' here, the network some lines of C++; front end, decision, events and program are
what a board runs. `make tflm` runs the same with a real network.
"""

import os
import re
import select
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from micronas.export.examples import random_inputs
from micronas.export.firmware.application import Application, Value
from micronas.export.firmware.front_ends import Camera, FrontEnd
from micronas.export.firmware.project import ProjectKind, write_project
from micronas.graph import integer
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from micronas.streaming.events import Detector
from micronas.tasks.device import front_end
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly
from tests.export.firmware.listening import (
    BOARD,
    FLAGS,
    LABELS,
    SKETCH,
    WORDS,
    answers,
    heard,
    objects,
    speech,
    spoken,
)

# of tones whether they are there, and whether they are low; of noise that it is louder
HEARS = """
  int rows = 0, loudness = 0, tilt = 0;
  for (int row = 0; row < 49; ++row) {
    const int loud = input[10 * row] - ZERO;
    if (loud > -22) ++rows, loudness += loud, tilt += input[10 * row + 1] - ZERO;
  }
  const int heard = rows < 10 ? 0 : loudness > 0 ? 3 : tilt > 0 ? 1 : 2;
"""
# whether pictures are bright, or readings positive
SEES = """
  int sum = 0;
  for (int i = 0; i < SIZE; ++i) sum += input[i] - ZERO;
  const int heard = sum > 0 ? 1 : 2;
"""


def network(*shape: int, outputs: int = 4) -> Graph:
    """Return a network, in whose place the stand-in answers."""
    builder = Builder(shape)
    return quantize_randomly(builder.finish(builder.dense(builder.input, "y", outputs)))


def program(
    folder: Path,
    graph: Graph,
    ends: FrontEnd,
    *,
    stand_in: str,
    kind: ProjectKind = "cmake",
    board: str = BOARD,
    flags: tuple[str, ...] = (),
    smoothing: int = 3,
    labels: Sequence[str] = LABELS,
    decision: Detector | Value | None = None,
) -> Path:
    """Write the project, compile it with a stand-in for the network, return the program."""
    project = folder / "listener"
    golden = random_inputs(graph, 1, seed=0)
    told = Detector((None, 9, 9, None), smoothing=smoothing)
    application = Application(ends, labels, decision or told)
    write_project(
        to_flatbuffer(graph), project, golden_input=golden, kind=kind, application=application
    )
    (given,) = golden.values()
    quantization = graph.tensors[graph.inputs[0]].quantization
    zero = int(quantization.zero_point)
    answered = integer.run(graph, given).reshape(-1)
    own = [
        answers([given], [answered]),
        "void stub_network(const std::int8_t* input, std::int8_t* output) {",
        stand_in.replace("SIZE", str(given.size)).replace("ZERO", str(zero)),
        "std::memset(output, -50, 4);\noutput[heard] = 50;\n}" if decision is None else "}",
        board if kind == "cmake" else SKETCH,
    ]
    (folder / "own.cc").write_text("\n".join(own))
    sources = [folder / "own.cc"]
    if kind == "cmake":
        sources += [project / "app.cc", project / "console.cc"]
    made = folder / "program"
    cxx = ["g++", "-std=c++17", *FLAGS, *flags, *map(str, sources)]
    cxx += objects(project.glob("*.c"), *FLAGS)
    if kind == "arduino":
        cxx += ["-include", "Arduino.h", "-x", "c++", str(project / "listener.ino")]
    subprocess.run([*cxx, "-o", str(made)], check=True)
    return made


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program(tmp_path_factory.mktemp("app"), network(49, 10, 1), speech(), stand_in=HEARS)


def test_ten_words_in_one_recording_are_ten_lines(listener: Path) -> None:
    """Each at its place, between its begin and the end of the last window that holds it."""
    lines = heard(listener, spoken(WORDS).tobytes())
    pattern = r"microphone: (\w+) at (\d+) ms \(ahead by \d+\), front end 7 \+ network 7 ticks"
    events = [re.fullmatch(pattern, line) for line in lines if not line.startswith("registered")]
    assert [each and each[1] for each in events] == WORDS
    for number, each in enumerate(events):
        assert 2000 * number + 1000 < int(each[2]) < 2000 * number + 2600


def test_what_is_ignored_or_not_sure_is_no_event(listener: Path) -> None:
    lines = heard(listener, spoken(["unknown", "unknown"]).tobytes())
    assert [re.sub(r" \(.*", "", line) for line in lines[-1:]] == ["microphone: no event; silence"]
    assert heard(listener, b"\0" * 1000)[-1] == "microphone: too short"


def test_it_speaks_and_calls_back_while_it_listens(tmp_path: Path) -> None:
    """The line is there while the microphone goes on; so is what a board does at an event."""
    own = r"""
    extern "C" void micronas_event(const char* label, std::uint32_t position, int margin) {
      std::printf("event %s %u %d\n", label, static_cast<unsigned>(position), margin);
    }"""
    made = program(tmp_path, network(49, 10, 1), speech(), stand_in=HEARS, board=BOARD + own)
    with subprocess.Popen([str(made)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        said = b""
        for word in ("low", "high"):
            running.stdin.write(spoken([word]).tobytes())
            running.stdin.flush()
            while f"event {word}".encode() not in said:
                assert select.select([running.stdout], [], [], 20)[0], said
                said += os.read(running.stdout.fileno(), 4096)
        running.stdin.close()
        assert running.wait() == 0
    lines = re.findall(r"(?:microphone: |event )\w+(?: at)? \d+", said.decode())
    assert [line.split()[1] for line in lines] == ["low", "low", "high", "high"]
    assert lines[0].split()[-1] == lines[1].split()[-1]  # one place in both


@pytest.mark.parametrize("flags", [(), ("-DARDUINO_ARDUINO_NANO33BLE",)], ids=["serial", "pdm"])
def test_a_sketch_checks_itself_and_listens(flags: tuple[str, ...], tmp_path: Path) -> None:
    made = program(
        tmp_path, network(49, 10, 1), speech(), stand_in=HEARS, kind="arduino", flags=flags
    )
    lines = [line for line in heard(made, spoken(WORDS).tobytes()) if "registered" not in line]
    assert lines[1:3] == ["inference: 7 ticks of 1/1000 s", "PASS: 4 output bytes as expected"]
    assert [line.split(" at ")[0] for line in lines[3:]] == WORDS


def test_a_state_that_lasts_is_one_event(tmp_path: Path) -> None:
    """Readings that stay positive, then negative; two windows of a lapse are no end."""
    made = program(tmp_path, network(8, 1, 1), readings(), stand_in=SEES, smoothing=1)
    signs = np.repeat([1, -1, 1, -1, 1], [40, 4, 40, 40, 40]).astype(np.float32)
    lines = [line for line in heard(made, signs.tobytes()) if "registered" not in line]
    # a window of 8 every 4 readings, negative where it is half and half; three end a state
    assert [" ".join(line.split()[1:5]) for line in lines] == [
        "low at 8 readings",
        "high at 96 readings",
        "low at 140 readings",
    ]


def readings(channels: int = 1) -> FrontEnd:
    meaning = {
        "features": "series",
        "window": 8,
        "limit": 4.0,
        "mean": [0.0] * channels,
        "deviation": [1.0] * channels,
    }
    ends = front_end(meaning, (1, 8, 1, channels))
    assert ends is not None
    return ends


@pytest.mark.parametrize(
    ("mean", "step", "digits"), [(-1.5, 0.05, 2), (-4e-6, 5e-7, 7), (3e6, 5e-5, 2)]
)
def test_a_value_is_told_in_its_unit_at_every_inference(
    tmp_path: Path, mean: float, step: float, digits: int
) -> None:
    """Mean + deviation x scale x (code - zero point), with as many digits as a step has.

    A current in A has seven; a value of millions as many as a whole number of 32 bits holds.
    """
    graph = network(8, 1, 1, outputs=1)
    output = graph.tensors[graph.outputs[0]].quantization
    deviation = step / float(output.scale[0])
    made = program(
        tmp_path,
        graph,
        readings(),
        stand_in="output[0] = input[SIZE - 1] > ZERO ? 100 : -100;",
        labels=("rul",),
        decision=Value(mean, deviation, "cycles"),
    )
    signs = np.repeat([1, -1], 8).astype(np.float32)
    lines = [line for line in heard(made, signs.tobytes()) if "registered" not in line]
    values = [mean + step * (code - output.zero_point) for code in (100, -100, -100)]
    for place, (line, value) in enumerate(zip(lines, values, strict=True)):
        told = line.split(": ")[1].split(", front end")[0]
        found = re.fullmatch(rf"rul at {8 + 4 * place} readings \((-?\d+\.\d+) cycles\)", told)
        assert found, told
        assert len(found[1].split(".")[1]) == digits
        assert float(found[1]) == pytest.approx(value, rel=1e-7, abs=0.51 / 10**digits)


def test_every_label_over_its_threshold_is_an_event_of_its_own(tmp_path: Path) -> None:
    """Of two sensors, whose last readings are the outputs: one goes high, then the other too."""
    made = program(
        tmp_path,
        network(8, 1, 2, outputs=2),
        readings(2),
        stand_in="for (int i = 0; i < 2; ++i) output[i] = input[SIZE - 2 + i] > ZERO ? 60 : 0;",
        labels=("fan", "pump"),
        decision=Detector((50, 60), exclusive=False),
    )
    fan, pump = np.repeat([-1, 1, 1, -1], 8), np.repeat([-1, -1, 1, -1], 8)
    samples = np.stack([fan, pump], 1).astype(np.float32)
    lines = [line for line in heard(made, samples.tobytes()) if "registered" not in line]
    assert [line.split(": ")[1].split(", front end")[0] for line in lines] == [
        "fan at 12 readings (code 60)",
        "pump at 20 readings (code 60)",
    ]
    below = np.full((16, 2), -1, np.float32)
    (line,) = [each for each in heard(made, below.tobytes()) if "registered" not in each]
    assert "no event; fan? (code 0)" in line


def test_pictures_are_events_where_they_change(tmp_path: Path) -> None:
    meaning = {"features": "pixels", "fit": "stretch", "mean": 128.0}
    ends = front_end(meaning, (1, 8, 8, 1), camera=Camera.parse("16x16:gray"))
    assert ends is not None
    made = program(tmp_path, network(8, 8, 1), ends, stand_in=SEES, smoothing=1)
    pictures = np.repeat(np.array([250] * 5 + [5] * 5, np.uint8), 256)
    lines = [line for line in heard(made, pictures.tobytes()) if "registered" not in line]
    assert [" ".join(line.split()[1:5]) for line in lines] == [
        "low at 1 pictures",
        "high at 8 pictures",
    ]
