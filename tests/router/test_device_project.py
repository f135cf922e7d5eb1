"""Firmware of a composition: compiled against stubs of TFLM, it passes, and fails when it should.

The stubs answer with what TFLM's own wheel computes for each network, and overwrite the arena
whenever a network is set up in it. For a board's compiler: arm-none-eabi-g++ -mcpu=cortex-m4
-mthumb -std=c++17 -fsyntax-only -Wall -Wextra -Werror -I tests/router/stubs
-I tests/export/firmware/stubs <project>/main.cc
"""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from micronas.errors import ExportError, ModelError
from micronas.export.firmware.shared import ProjectKind
from micronas.export.verify import tflm_arena, tflm_run
from micronas.hardware.targets import CMSIS_NN, HOST, Target, plan
from micronas.router.device import Composition, write_composition
from micronas.testing.graphs import random_inputs
from micronas.tflite.writer import to_flatbuffer
from tests.compositions import CLASSES, composition

STUBS = (
    Path(__file__).parent / "stubs",
    Path(__file__).parents[1] / "export" / "firmware" / "stubs",
)
COMPILER = ("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", *(f"-I{stub}" for stub in STUBS))
COUNT = 12
Codes = npt.NDArray[np.int8]


def golden(parts: Composition) -> Codes:
    inputs: Codes = random_inputs(parts.router, COUNT, seed=1)
    return inputs


def array(name: str, kind: str, values: Iterable[int]) -> str:
    return f"alignas(16) const std::{kind} {name}[] = {{{', '.join(map(str, values))}}};"


def run(
    project: Path, parts: Composition, *, wrong: int | None = None, arena: int = 0
) -> tuple[int, str]:
    """Compile a project with interpreters that answer as TFLM does; run it.

    `wrong` names a network (0: the router) whose lowest code for the first input sent to it is off
    by one; `arena` is asked for by every network on top of what TFLM needs.
    """
    code, rows, inputs = ["#include <tensorflow/lite/micro/micro_interpreter.h>"], [], golden(parts)
    code += [array(f"input{i}", "int8_t", example.reshape(-1)) for i, example in enumerate(inputs)]
    first = int(np.flatnonzero(parts.predict(inputs).experts == (wrong or 1) - 1)[0])
    for n, graph in enumerate(parts.graphs):
        model = to_flatbuffer(graph)
        code.append(array(f"model{n}", "uint8_t", model))
        outputs = tflm_run(model, inputs)
        if n == wrong:
            outputs[first, outputs[first].argmin()] += 1
        for i, output in enumerate(outputs):
            code.append(array(f"output{n}_{i}", "int8_t", output))
            rows.append(
                f"{{model{n}, {len(model)}, input{i}, {inputs[i].size}, output{n}_{i}, "
                f"{output.size}, {tflm_arena(model).total + arena}}},"
            )
    code += [f"extern const StubAnswer stub_answers[] = {{{''.join(rows)}}};"]
    code += [f"extern const std::size_t stub_answer_count = {len(rows)};"]
    sketch = project / f"{project.name}.ino"
    source = [str(project / name) for name in ("main.cc", "console.cc")]
    if sketch.exists():
        code += ["void setup();\nvoid loop();", "int main() { setup(); loop(); }"]
        source = ["-include", "Arduino.h", "-x", "c++", str(sketch)]
    answer, program = project.parent / "answer.cc", project.parent / "program"
    answer.write_text("\n".join(code))
    subprocess.run([*COMPILER, str(answer), *source, "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def written(parts: Composition, folder: Path, kind: ProjectKind = "cmake") -> Path:
    write_composition(parts, folder, golden_inputs=golden(parts), kind=kind)
    return folder


def largest(parts: Composition, target: Target) -> int:
    """Round up to whole lines of 16 bytes, of which TFLM's arena consists."""
    return (max(plan(graph, target).required for graph in parts.graphs) + 15) // 16 * 16


def test_a_board_that_computes_as_tflm_passes(tmp_path: Path) -> None:
    parts = composition()
    code, said = run(written(parts, tmp_path / "words"), parts)
    assert code == 0, said
    registered = re.findall(r"registered (\w+)", said)
    assert sorted(registered) == sorted({op.kind for graph in parts.graphs for op in graph.ops})
    experts = parts.predict(golden(parts)).experts
    compared = sum(2 + len(parts.experts[expert].labels) for expert in experts)
    used = [tflm_arena(to_flatbuffer(graph)).total for graph in parts.graphs]
    met = max(used[0], *(used[1 + expert] for expert in experts))
    assert said.splitlines()[-3:] == [
        f"arena: {met} of {largest(parts, HOST)} bytes used",
        "slowest classification: 7 ticks of 1/1000 s",
        f"PASS: {compared} output bytes of {COUNT} inputs as expected",
    ]


@pytest.mark.parametrize("wrong", range(4))
def test_one_wrong_byte_of_any_network_fails(wrong: int, tmp_path: Path) -> None:
    parts = composition()
    code, said = run(written(parts, tmp_path / "words"), parts, wrong=wrong)
    assert code == 1
    assert "FAIL: output bytes differ (1 of " in said


def test_an_arena_that_is_too_small_fails(tmp_path: Path) -> None:
    parts = composition()
    code, said = run(written(parts, tmp_path / "words"), parts, arena=largest(parts, HOST))
    assert code == 1
    assert "FAIL: the tensor arena is too small" in said


def test_another_threshold_on_the_board_is_found_out(tmp_path: Path) -> None:
    parts = composition()
    project = written(parts, tmp_path / "words")
    header = project / "composition.h"
    text = header.read_text()
    header.write_text(text.replace("kThreshold = 10;", "kThreshold = -128;"))
    assert header.read_text() != text
    code, said = run(project, parts)
    assert code == 1
    assert "FAIL: an input is sent to another expert" in said


@pytest.mark.parametrize(("wrong", "last"), [(None, "PASS"), (2, "mismatches: 1")])
def test_a_sketch_checks_itself(tmp_path: Path, wrong: int | None, last: str) -> None:
    parts = composition()
    project = written(parts, tmp_path / "Words", "arduino")
    assert {path.name for path in project.iterdir()} == {
        *("Words.ino", "arena.h", "resolver.h", "check.h", "clock.h", "composition.h", "golden.h"),
        *(f"network{number}.h" for number in range(4)),
    }
    assert run(project, parts, wrong=wrong)[1].splitlines()[-1].endswith(last)


def test_a_cmake_project_is_complete(tmp_path: Path) -> None:
    parts = composition()
    project = written(parts, tmp_path / "words")
    files = {path.name: path.read_text() for path in project.iterdir() if path.is_file()}
    assert set(files) == {
        *("CMakeLists.txt", "arena.h", "resolver.h", "console.h", "console.cc"),
        *("check.h", "clock.h", "composition.h", "golden.h", "main.cc"),
        *(f"network{number}.h" for number in range(4)),
    }
    assert not any(re.search(r"@[A-Z]+@", text) for text in files.values())
    sizes = largest(parts, HOST), largest(parts, CMSIS_NN)
    assert "sizeof(void*) == 8 ? {} : {};".format(*sizes) in files["arena.h"]
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


def test_any_name_becomes_a_c_string(tmp_path: Path) -> None:
    names = ('say "hi"', "back\\slash", "größer", "line\nbreak", "??/", "6\x016", *CLASSES[6:])
    renamed = dict(zip(CLASSES, names, strict=True))
    parts = composition()
    parts = replace(
        parts,
        classes=names,
        categories={
            name: tuple(renamed[label] for label in labels)
            for name, labels in parts.categories.items()
        },
        experts=tuple(
            replace(expert, labels=tuple(renamed[label] for label in expert.labels))
            for expert in parts.experts
        ),
    )
    project = written(parts, tmp_path / "words")
    printer = tmp_path / "names.cc"
    printer.write_text(
        '#include "composition.h"\n#include <cstdio>\n'
        "const StubAnswer stub_answers[] = {{}};\nconst std::size_t stub_answer_count = 0;\n"
        'int main() { for (const char* name : kClasses) std::printf("%s|", name); }\n'
    )
    command = [*COMPILER, f"-I{project}", str(printer), "-o", str(tmp_path / "names")]
    subprocess.run(command, check=True)
    said = subprocess.run([tmp_path / "names"], capture_output=True, check=True).stdout
    assert said.decode() == "|".join(names) + "|"


def test_golden_inputs_must_reach_every_expert(tmp_path: Path) -> None:
    parts = composition()
    sure = golden(parts)[parts.predict(golden(parts)).experts != 2]
    with pytest.raises(ExportError, match=rf"none of {len(sure)} is sent to \['polymath'\]; add"):
        write_composition(parts, tmp_path / "words", golden_inputs=sure)
    assert list(tmp_path.iterdir()) == []


def test_a_general_expert_that_gets_nothing_needs_no_golden_input(tmp_path: Path) -> None:
    parts = composition(threshold=-128)
    code, said = run(written(parts, tmp_path / "words"), parts)
    assert code == 0, said


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    parts = composition()
    for inputs in (np.zeros((1, 2, 2, 3), np.int8), golden(parts).astype(np.float32)):
        with pytest.raises(ModelError, match="inputs must be int8"):
            write_composition(parts, tmp_path / "words", golden_inputs=inputs)
    with pytest.raises(ExportError, match="choose another name"):
        written(parts, tmp_path / "my words")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "file").write_text("")
    with pytest.raises(ExportError, match="new or empty folder"):
        written(parts, tmp_path / "words")
