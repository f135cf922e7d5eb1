"""Timing firmware: compiled against stubs of TFLM and a scripted clock, its log is read back.

For a board's compiler: arm-none-eabi-g++ -mcpu=cortex-m4 -mthumb -std=c++17 -fsyntax-only -Wall
-Wextra -Werror -I tests/export/firmware/stubs <project>/main.cc
"""

import re
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from micronas.errors import ConfigError, DataError, ExportError, ModelError
from micronas.export.firmware.shared import ProjectKind, write_folder
from micronas.export.firmware.timing import read_log, timing_project
from micronas.export.verify import tflm_arena
from micronas.hardware.targets import CMSIS_NN, HOST
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph
from tests.export.firmware.listening import STUBS, answers, objects, rounded

SPEAKS = """#include <cstdio>
extern "C" void micronas_puts(const char* text) { std::fputs(text, stdout); }"""
GRAPHS = {
    "ds_01": random_int8_graph(1, family="ds_cnn"),
    "mobile_01": random_int8_graph(2, family="mobilenet"),
    "mobile_02": random_int8_graph(3, family="mobilenet"),
}
MODELS = {name: to_flatbuffer(graph) for name, graph in GRAPHS.items()}
LARGEST = max(tflm_arena(model).total for model in MODELS.values())

WARM_UP = 70_000
# in order the middle six are 100, 100, 101, 102, 103 and 104: 610 ticks, or 101.67 each
RUNS = (100, 9_000, 101, 50, 102, 103, 5_000, 104, 90, 100)
LINE = "micronas-timing kws_03 us 12345 runs 10"


Built = Callable[[ProjectKind], Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The firmware as a program, compiled once with a clock that reads its times from a file."""
    return cache(lambda kind: compiled(tmp_path_factory.mktemp("timing"), kind))


def compiled(folder: Path, kind: ProjectKind) -> Path:
    project = folder / "firmware"
    write_folder(timing_project(MODELS, "firmware", kind=kind), project)
    clock = folder / "clock" / "tensorflow" / "lite" / "micro" / "micro_time.h"
    clock.parent.mkdir(parents=True)
    clock.write_text(
        """#pragma once
        #include <cstdint>
        #include <cstdio>
        #include <cstdlib>
        namespace tflite {
        inline std::uint32_t ticks_per_second() { return std::atoi(std::getenv("TICKS")); }
        inline std::uint32_t GetCurrentTimeTicks() {
          static std::FILE* const readings = std::fopen(std::getenv("READINGS"), "r");
          unsigned next = 0;
          return std::fscanf(readings, "%u", &next) == 1 ? next : 0;
        }
        }"""
    )
    answer = folder / "answer.cc"
    inputs, outputs = [np.zeros(100, np.int8), np.zeros(200, np.int8)], [np.zeros(12, np.int8)]
    own = SPEAKS if kind == "cmake" else "void setup(); int main() { setup(); }"
    answer.write_text(answers(inputs, outputs, 'std::atoi(std::getenv("ARENA"))') + own)
    source = ["-include", "Arduino.h", "-x", "c++", str(project / "firmware.ino")]
    if kind == "cmake":
        source = [str(project / name) for name in ("main.cc", "console.cc")]
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{folder / 'clock'}"]
    command += [f"-I{STUBS}", str(answer), *source, "-o", str(folder / "program")]
    subprocess.run(command, check=True)
    return folder / "program"


def run(
    program: Path, *, ticks_per_second: int = 1000, runs: Sequence[int] = RUNS, arena: int = LARGEST
) -> tuple[int, str]:
    """Run the firmware with a clock on which inferences take these times."""
    now, readings = 2**32 - 500, []  # a counter that overflows
    for taken in (WARM_UP, *runs) * len(MODELS):
        readings += [now % 2**32, (now + taken) % 2**32]
        now += taken + 13
    script = program.with_name("readings")
    script.write_text(" ".join(map(str, readings)))
    given = {"TICKS": str(ticks_per_second), "READINGS": str(script), "ARENA": str(arena)}
    done = subprocess.run([program], capture_output=True, text=True, check=False, env=given)
    return done.returncode, done.stdout


@pytest.mark.parametrize("kind", ["cmake", "arduino"])
def test_times_are_printed_and_read_back(kind: ProjectKind, built: Built) -> None:
    code, said = run(built(kind))
    assert code == 0
    assert read_log(said) == pytest.approx(dict.fromkeys(GRAPHS, 610 / 6), rel=1e-5)
    assert re.findall(r"micronas-timing .*", said) == [
        f"micronas-timing {name} us 101667 runs 10" for name in GRAPHS
    ]
    assert {*re.findall(r"registered (\w+)", said)} == {
        op.kind for graph in GRAPHS.values() for op in graph.ops
    }


def test_networks_on_the_engine_are_timed_too(tmp_path: Path) -> None:
    """By a real clock; nothing of TFLM is there."""
    project = tmp_path / "firmware"
    write_folder(timing_project(MODELS, "firmware", kind="cmake", engine="micronas"), project)
    (tmp_path / "own.cc").write_text(SPEAKS)
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", str(project / "main.cc")]
    command += [
        *objects(project.glob("*.c")),
        str(tmp_path / "own.cc"),
        "-o",
        str(tmp_path / "program"),
    ]
    subprocess.run(command, check=True)
    said = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True).stdout
    assert {*read_log(said)} == {*GRAPHS}
    assert all(time > 0 for time in read_log(said).values())


def test_ticks_of_unknown_length_are_neither_cycles_nor_a_time(built: Built) -> None:
    code, said = run(built("cmake"), ticks_per_second=0)
    assert code == 0
    assert said.count(" ticks 102 runs 10\n") == len(GRAPHS)
    with pytest.raises(DataError, match=r"must read 'NAME us\|cycles NUMBER"):
        read_log(said)


def test_the_longest_times_do_not_overflow(built: Built) -> None:
    said = run(built("cmake"), ticks_per_second=1_000_000, runs=[2**32 - 1] * 10)[1]
    assert read_log(said) == dict.fromkeys(GRAPHS, (2**32 - 1) / 1000)


def test_a_clock_that_stands_still_is_no_time(built: Built) -> None:
    code, said = run(built("cmake"), runs=[0] * 10)
    assert code == 1
    with pytest.raises(DataError, match="ds_01 failed: the clock stands still"):
        read_log(said)


def test_the_arena_is_that_of_the_largest_network(built: Built) -> None:
    host = max(rounded(graph, HOST) for graph in GRAPHS.values())
    board = max(rounded(graph, CMSIS_NN) for graph in GRAPHS.values())
    header = timing_project(MODELS, "firmware", kind="cmake")["arena.h"]
    assert f"sizeof(void*) == 8 ? {host} : {board};" in header
    code, said = run(built("cmake"), arena=host + 1)
    assert code == 1
    assert said.endswith(f"0 of {len(GRAPHS)} networks timed\n")
    with pytest.raises(DataError, match="ds_01 failed: the tensor arena is too small"):
        read_log(said)


def test_a_project_is_complete() -> None:
    files = timing_project(MODELS, "firmware", kind="cmake")
    headers = {f"network{number}.h" for number in (1, 2, 3)}
    assert set(files) == {
        *("CMakeLists.txt", "arena.h", "clock.h", "console.cc", "console.h", "main.cc"),
        *("network.h", "resolver.h", "tflm.cmake", "timing.h", *headers),
    }
    assert not any(re.search(r"@[A-Z]+@", text) for text in files.values())
    assert "project(firmware " in files["CMakeLists.txt"]


def test_a_wrong_kind_or_model_is_refused() -> None:
    with pytest.raises(ExportError, match="cmake, arduino, but got 'zephyr'"):
        timing_project(MODELS, "firmware", kind="zephyr")  # type: ignore[arg-type]
    with pytest.raises(ModelError):
        timing_project({"kws_01": MODELS["ds_01"][:100]}, "firmware", kind="cmake")


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
NOISE = st.text(st.characters(codec="utf-8"), max_size=40).filter(
    lambda text: "micronas-timing" not in text
)
TIMES = st.lists(st.tuples(NAMES, st.integers(1, 2**32 - 1), st.booleans()), min_size=1, max_size=6)


@pytest.mark.long
@settings(max_examples=30)
@given(times=TIMES, data=st.data(), end=st.sampled_from(["\n", "\r\n"]))
def test_times_are_found_among_anything(
    times: list[tuple[str, int, bool]], data: st.DataObject, end: str
) -> None:
    lines, expected = [], {}
    for name, value, cycles in times:
        prefix = data.draw(NOISE) + data.draw(st.sampled_from([" ", "\x1b[0;32m", "INFO:", "]"]))
        unit = "cycles" if cycles else "us"
        suffix = data.draw(st.sampled_from(["", " ", "\x1b[0m", " # 3 ms"]))
        lines += [f"{prefix}micronas-timing {name} {unit} {value} runs 10{suffix}"]
        lines += [data.draw(NOISE)]
        expected[name] = value / 64e6 * 1e3 if cycles else value / 1e3  # the last one counts
    assert read_log(end.join(lines), clock_hz=64e6) == pytest.approx(expected)


@given(NOISE)
@example("")
def test_a_log_without_times_is_refused(noise: str) -> None:
    with pytest.raises(DataError, match=r"none of its \d+ has one; start recording"):
        read_log(noise)


@given(st.integers(len("micronas-timing "), len(LINE) - 3))
def test_a_line_that_was_cut_is_refused(length: int) -> None:
    with pytest.raises(DataError, match="but line 2 of the log has"):
        read_log(f"{LINE}\n{LINE[:length]}")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("kws_03 us 12x45 runs 10", "has 'kws_03 us 12x45 runs 10'; delete the line"),
        ("kws_03 us -5 runs 10", "must read 'NAME us|cycles NUMBER runs NUMBER'"),
        ("kws_03 ms 5 runs 10", "must read"),
        ("kws_03 us 1.5 runs 10", "must read"),
        ("kws_03 us 12345678901 runs 10", "must read"),
        ("kws_03 us 0 runs 10", "must be positive, but line 1 of the log has 0 for kws_03"),
        ("kws_03 failed: inference failed", "line 1 of the log says kws_03 failed: inference"),
        ("kws_03 us 12\x1b[1mmicronas-timing ad_01 us 5 runs 10", "must read"),
    ],
)
def test_each_damage_has_its_error_of_one_line(said: str, words: str) -> None:
    with pytest.raises(DataError) as error:
        read_log(f"micronas-timing {said}")
    assert words in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("clock", [None, 0.0, 80.0, -1.0, float("nan"), float("inf")])
def test_times_in_cycles_need_the_clock(clock: float | None) -> None:
    said = "micronas-timing kws_03 cycles 102 runs 10"
    with pytest.raises(ConfigError, match=f"the clock is {clock}; give it"):
        read_log(said, clock_hz=clock)
    assert read_log(said, clock_hz=80e6) == pytest.approx({"kws_03": 102 / 80e3})
    assert read_log(LINE, clock_hz=clock) == {"kws_03": 12.345}


def test_a_programs_file_name_is_no_time() -> None:
    log = f"-- Built target micronas-timing\nflash build/micronas-timing.elf\n[1] {LINE}"
    assert read_log(log) == {"kws_03": 12.345}
