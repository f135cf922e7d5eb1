"""Firmware projects: compiled against stubs of TFLM, they pass, and fail when they should.

The stubs answer with what TFLM's own wheel computes. For a board's compiler:
arm-none-eabi-g++ -mcpu=cortex-m4 -mthumb -std=c++17 -fsyntax-only -Wall -Wextra -Werror
-I tests/export/firmware/stubs <project>/main.cc
"""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from micronas.errors import DataError, ExportError, ModelError
from micronas.export.examples import random_inputs
from micronas.export.firmware.project import ProjectKind, write_project
from micronas.export.firmware.shared import texts
from micronas.export.firmware.tflm import resolver
from micronas.export.verify import Tflm, tflm_arena, tflm_run
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.kernels.codes import Values
from micronas.hardware.targets import CMSIS_NN, HOST, plan
from micronas.tflite.metadata import describe, read_metadata
from micronas.tflite.writer import to_flatbuffer
from testing.builder import Builder
from testing.graphs import ds_cnn, quantize_randomly, random_int8_graph, random_op_graph
from tests.export.firmware.listening import STUBS, answers, rounded

COMPILER = ("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{STUBS}")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return random_int8_graph(0, family="mobilenet")


def test_hostile_labels_are_what_they_are_in_c(tmp_path: Path) -> None:
    """Quotes, ends of comments and of lines, trigraphs, digits after escapes, halves of pairs."""
    labels = ['a"b', "a\\", "a\n2", "??/", "??=", "*/ /* //", "%s${X}", "\0017", "\u202e", "\ud800"]
    program = f"""#include <cstdio>
    static const char* const kLabels[] = {{
{texts(labels)}
    }};
    int main() {{ for (auto each : kLabels) {{ std::fputs(each, stdout), std::putchar(9); }} }}
    """
    (tmp_path / "labels.cc").write_text(program, encoding="ascii")
    made = tmp_path / "labels"
    strict = (*COMPILER, "-trigraphs", "-Wno-error=trigraphs")
    subprocess.run([*strict, str(tmp_path / "labels.cc"), "-o", str(made)], check=True)
    printed = subprocess.run([str(made)], capture_output=True, check=True).stdout
    whole = [label.split("\0")[0].encode("utf-8", "replace") for label in labels]
    assert printed.split(b"\t")[:-1] == whole
    written = describe(classes=labels, meaning={})
    assert read_metadata(to_flatbuffer(random_int8_graph(0), metadata=written))["labels"] == labels


def golden(graph: Graph) -> dict[str, Values]:
    return {name: values[2:] for name, values in random_inputs(graph, 3, seed=0).items()}


def run(
    project: Path, graph: Graph, *, wrong_byte: bool = False, arena: int | None = None
) -> tuple[int, str]:
    """Compile a project with an interpreter that answers as TFLM does; run it."""
    model, example = to_flatbuffer(graph), tuple(golden(graph).values())
    outputs = [np.array(each) for each in Tflm(model).outputs(example)]
    if wrong_byte:
        outputs[-1].flat[-1] ^= 1
    required = tflm_arena(model).total if arena is None else arena
    sketch = project / f"{project.name}.ino"
    code = answers(example, outputs, required)
    if sketch.exists():
        code += "void setup();\nvoid loop();\nint main() { setup(); loop(); }"
    answer, program = project.parent / "answer.cc", project.parent / "program"
    answer.write_text(code)
    source = [str(project / name) for name in ("main.cc", "console.cc")]
    if sketch.exists():
        source = ["-include", "Arduino.h", "-x", "c++", str(sketch)]
    objects = project.parent / "objects"
    if not objects.exists():  # else of a project that answers once more
        objects.mkdir()
        subprocess.run([*COMPILER, "-c", *source], cwd=objects, check=True)
    linked = [str(answer), *map(str, objects.iterdir()), "-o", str(program)]
    subprocess.run([*COMPILER, *linked], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def written(graph: Graph, folder: Path, kind: ProjectKind = "cmake") -> Path:
    write_project(to_flatbuffer(graph), folder, golden_input=golden(graph), kind=kind)
    return folder


@pytest.fixture(scope="module")
def kws(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(graph, tmp_path_factory.mktemp("project") / "kws")


def test_a_board_that_computes_as_tflm_passes(graph: Graph, kws: Path) -> None:
    code, said = run(kws, graph)
    assert code == 0
    assert {*re.findall(r"registered (\w+)", said)} == {op.kind for op in graph.ops}
    size = graph.tensors[graph.outputs[0]].elements
    used, size_of_arena = tflm_arena(to_flatbuffer(graph)).total, rounded(graph, HOST)
    assert said.splitlines()[-3:] == [
        f"arena: {used} of {size_of_arena} bytes used",
        "inference: 7 ticks of 1/1000 s",
        f"PASS: {size} output bytes as expected",
    ]


@pytest.mark.parametrize(("kind", "resets"), [("UNIDIRECTIONAL_SEQUENCE_LSTM", 1), ("ADD", 0)])
def test_each_inference_begins_without_a_state(kind: Kind, resets: int, tmp_path: Path) -> None:
    graph = random_op_graph(kind, 3)
    project = written(graph, tmp_path / "kws")
    assert (project / "network.h").read_text().count("interpreter_.Reset()") == resets
    assert run(project, graph)[0] == 0


def test_one_wrong_byte_fails(graph: Graph, kws: Path) -> None:
    code, said = run(kws, graph, wrong_byte=True)
    size = graph.tensors[graph.outputs[0]].elements
    assert code == 1
    assert said.splitlines()[-1] == f"FAIL: output bytes differ (1 of {size})"


def test_an_arena_that_is_too_small_fails(graph: Graph, kws: Path) -> None:
    more = rounded(graph, HOST) + 1
    code, said = run(kws, graph, arena=more)
    assert code == 1
    given = rounded(graph, HOST)
    assert f"arena: {given} bytes needed, {given} bytes given" in said
    assert "FAIL: the tensor arena is too small" in said


def test_a_sketch_checks_itself(graph: Graph, tmp_path: Path) -> None:
    project = written(graph, tmp_path / "Wake_word", "arduino")
    assert {path.name for path in project.iterdir()} == {
        *("Wake_word.ino", "arena.h", "check.h", "clock.h", "console.h", "golden.h", "model.h"),
        *("network.h", "resolver.h"),
    }
    for wrong_byte, last in ((False, "as expected"), (True, "differ (1 of 10)")):
        assert run(project, graph, wrong_byte=wrong_byte)[1].splitlines()[-1].endswith(last)


def test_a_cmake_project_is_complete(graph: Graph, tmp_path: Path) -> None:
    project = written(graph, tmp_path / "kws")
    files = {path.name: path.read_text() for path in project.rglob("*") if path.is_file()}
    assert set(files) == {
        *("CMakeLists.txt", "arena.h", "check.h", "clock.h", "console.cc", "console.h"),
        *("golden.h", "main.cc", "model.h", "network.h", "resolver.h", "tflm.cmake", "tflm.mk"),
        *("Makefile", "board.c", "board.ld", "toolchain.cmake"),
    }
    assert not any(re.search(r"@[A-Z]+@", text) for text in files.values())
    board, host = rounded(graph, CMSIS_NN), rounded(graph, HOST)
    assert f"sizeof(void*) == 8 ? {host} : {board};" in files["arena.h"]
    assert f"kModelArenaBytes = {board};" in files["model.h"]
    assert 0 <= board - plan(graph).required < 16
    kinds = {op.kind for op in graph.ops}
    assert f"MicroMutableOpResolver<{len(kinds)}>" in files["resolver.h"]
    assert [path.name for path in tmp_path.iterdir()] == ["kws"]


def test_the_golden_output_is_tflms(graph: Graph, kws: Path) -> None:
    text = (kws / "golden.h").read_text()
    arrays = [
        [int(code) for code in array.replace("\n", "").split(",")]
        for array in re.findall(r"int8_t k\w+\[\] = \{\n(.*?)\n\};", text, re.DOTALL)
    ]
    (given,) = golden(graph).values()
    expected = tflm_run(to_flatbuffer(graph), given)
    assert arrays == [given.reshape(-1).tolist(), expected.reshape(-1).tolist()]


def test_a_golden_input_may_have_the_models_own_shape(tmp_path: Path) -> None:
    graph = quantize_randomly(ds_cnn(4, 1))
    model = to_flatbuffer(graph)
    (given,) = golden(graph).values()
    for number, example in enumerate((given, given[0], {"input": given})):
        write_project(model, tmp_path / str(number), golden_input=example)
    written = {(tmp_path / f"{number}/golden.h").read_text() for number in range(3)}
    assert len(written) == 1


def test_each_of_several_tensors_has_an_array_and_a_position(tmp_path: Path) -> None:
    """Names that C cannot have, two that become equal in C, and a word of the program's own."""
    builder = Builder((6, 6, 2))
    numbers = builder.another_input("9 numbers/\n#fühler", (1, 3))
    boxes = builder.conv(builder.input, "head/boxes", 4, (3, 3))
    builder.dense(numbers, "head boxes", 2)
    builder.dense(numbers, "bytes", 1)
    graph = quantize_randomly(builder.finish(boxes, "head boxes", "bytes"))
    project = written(graph, tmp_path / "two")
    assert run(project, graph)[1].splitlines()[-1] == "PASS: 147 output bytes as expected"
    assert run(project, graph, wrong_byte=True)[1].splitlines()[-1].endswith("differ (1 of 147)")
    assert re.findall(r"int8_t (k\w+)\[\]", (project / "golden.h").read_text()) == [
        *("kGoldenInputInput", "kGoldenInput9NumbersFHler"),
        *("kGoldenOutputHeadBoxes", "kGoldenOutputHeadBoxes_1", "kGoldenOutputBytes"),
    ]
    assert re.findall(r"int (k\w+) = (\d);  // int8 (.*)", (project / "model.h").read_text()) == [
        ("kModelInputInput", "0", "[1, 6, 6, 2]"),
        ("kModelInput9NumbersFHler", "1", "[1, 3]"),
        ("kModelOutputHeadBoxes", "0", "[1, 6, 6, 4]"),
        ("kModelOutputHeadBoxes_1", "1", "[1, 2]"),
        ("kModelOutputBytes", "2", "[1, 1]"),
    ]


def test_an_empty_folder_is_taken_and_a_full_one_refused(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "kws").mkdir()
    project = written(graph, tmp_path / "kws")
    before = {path: path.read_bytes() for path in project.rglob("*.*")}
    with pytest.raises(ExportError, match="new or empty folder"):
        written(graph, tmp_path / "kws", "arduino")
    assert {path: path.read_bytes() for path in project.rglob("*.*")} == before


@pytest.mark.parametrize("name", ["my project", ".hidden", "größe", "a" * 64, "install", "m"])
def test_a_name_that_no_program_has_is_refused(graph: Graph, tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="choose another name"):
        written(graph, tmp_path / name)


def test_a_wrong_golden_input_leaves_nothing(graph: Graph, tmp_path: Path) -> None:
    model, (given,) = to_flatbuffer(graph), golden(graph).values()
    for example, error in (
        (np.zeros((1, 2, 2, 3), np.int8), ModelError),
        (given.astype(np.float32), ModelError),
        (np.concatenate((given, given)), ExportError),
        ((given, given), DataError),
    ):
        with pytest.raises(error):
            write_project(model, tmp_path / "kws", golden_input=example)
    with pytest.raises(ModelError):
        write_project(model[:100], tmp_path / "kws", golden_input=given)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_is_refused(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="must be writable"):
        written(graph, tmp_path / "file" / "kws")


def test_an_operator_that_stands_for_two_kinds_is_registered_once() -> None:
    builder = Builder((2, 2, 3))
    wide = builder.append(Op("QUANTIZE", "wide", (builder.input,), ("wide",)), (1, 2, 2, 3))
    graph = builder.finish(builder.function(wide, "y", "gelu"))
    found = resolver([graph, graph])
    assert found["COUNT"] == "2"
    assert re.findall(r"Add\w+", found["RESOLVE"]) == ["AddQuantize", "AddGather"]
