"""Libraries for PlatformIO, ESP-IDF and Zephyr, built by their own files against stubs.

The stubs are headers and CMake functions of these platforms, whose toolchains no package registry
has; network, front end, decision and program are what a board runs.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from micronas.errors import ConfigError, ExportError
from micronas.export.examples import random_inputs
from micronas.export.firmware.library import write_library
from micronas.export.firmware.shared import ProjectKind
from micronas.export.formats import export
from micronas.tflite.reader import read
from tests.cases import first
from tests.export.firmware.listening import SKETCH, STUBS, WORDS, heard, objects, spoken
from tests.export.firmware.test_engine import KNOWN, expected


def written(model: bytes, folder: Path, kind: ProjectKind) -> Path:
    golden = random_inputs(read(model), 1, seed=0)
    write_library(model, folder, golden_input=golden, kind=kind, application=KNOWN)
    return folder


def built(project: Path, tree: dict[str, str], *names: str) -> list[Path]:
    """Build with CMake; return the programs."""
    build = project / "build"
    environment = {**os.environ, **tree}
    for command in (["cmake", "-S", ".", "-B", str(build)], ["cmake", "--build", str(build)]):
        done = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return [build / name for name in names]


def platformio(library: Path) -> Path:
    described = json.loads((library / "library.json").read_text())
    source = library / described["build"]["srcDir"]
    (example,) = described["examples"]
    (library / "own.cc").write_text("#include <cstdio>\n" + SKETCH)
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{STUBS}", f"-I{source}"]
    (sketch,) = (library / example["base"] / each for each in example["files"])
    given = [*objects(source.rglob("*.c"), *flags), str(library / "own.cc")]
    command = ["g++", "-std=gnu++17", *flags, *given]
    command += ["-include", "Arduino.h", "-x", "c++", str(sketch), "-o", str(library / "program")]
    subprocess.run(command, check=True)
    return library / "program"


def esp_idf(library: Path) -> Path:
    component = yaml.safe_load((library / "idf_component.yml").read_text())
    assert {*component} == {"version", "description", "dependencies"}
    (made,) = built(library / "examples/listen", {"IDF_PATH": str(STUBS / "idf")}, "main/main")
    return made


def zephyr(library: Path) -> Path:
    module = yaml.safe_load((library / "zephyr/module.yml").read_text())
    assert (library / module["build"]["kconfig"]).is_file()
    tree = {"ZEPHYR_BASE": str(STUBS / "zephyr_tree")}
    (made,) = built(library / "samples/listen", tree, "app")
    return made


@first(
    ("kind", "build", "name"),
    [
        ("platformio", platformio, "detector"),  # as a file of the program
        ("esp-idf", esp_idf, "Wake-word"),
        ("zephyr", zephyr, "Wake-word"),
    ],
    1,
)
def test_a_program_of_each_library_checks_itself_and_listens(
    kind: ProjectKind, build: "object", name: str, model: bytes, tmp_path: Path
) -> None:
    made = build(written(model, tmp_path / name, kind))  # type: ignore[operator]
    lines = heard(made, spoken(WORDS).tobytes())
    assert lines[2] == "PASS: 4 output bytes as expected"
    assert lines[3:] == expected(model)


def test_a_program_takes_one_library(model: bytes, tmp_path: Path) -> None:
    sources = [written(model, tmp_path / name, "platformio") / "src" for name in ("a", "b")]
    command = ["g++", "-E", "-xc++", f"-I{STUBS}", *(f"-I{each}" for each in sources), "-"]
    for text, code in (
        ('#include "a.h"\n#include "a.h"\n', 0),
        ('#include "a.h"\n#include "b.h"', 1),
    ):
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
    assert "for several networks take --format engine" in done.stderr


def test_arduinos_libraries_may_follow_it(model: bytes, tmp_path: Path) -> None:
    """Their functions take a Print, which was ours too."""
    source = written(model, tmp_path / "a", "platformio") / "src"
    command = ["g++", "-std=gnu++17", "-fsyntax-only", "-xc++", f"-I{STUBS}", f"-I{source}", "-"]
    text = '#include <Arduino.h>\n#include "a.h"\nvoid Show(Print& to);\n'
    subprocess.run(command, input=text, text=True, check=True)


def test_a_modules_name_is_text_whatever_yaml_takes_it_for(model: bytes, tmp_path: Path) -> None:
    module = written(model, tmp_path / "2024", "zephyr") / "zephyr/module.yml"
    assert yaml.safe_load(module.read_text())["name"] == "2024"


@pytest.mark.parametrize("name", ["signal", "Features"])
def test_a_header_that_hides_the_compilers_is_refused(
    name: str, model: bytes, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=f"got '{name}', for which"):
        written(model, tmp_path / name, "zephyr")


def test_a_kind_that_is_no_library_and_an_engine_that_is_none_are_refused(
    model: bytes, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="platformio, esp-idf, zephyr, but got 'cmake'"):
        written(model, tmp_path / "a", "cmake")
    for form, options, said in (
        ("zephyr", {"engine": "tflm"}, "leave the engine out"),
        ("project", {"engine": "tflite"}, "must be tflm or micronas"),
        ("esp-idf", {"engine": "tflite"}, "must be tflm or micronas"),
        ("onnx", {"engine": "micronas"}, "--engine is for --format project, arduino"),
        ("c", {"arena": 16_000}, "--arena is for --format engine, project"),
        ("project", {"arena": 16_000}, "TFLM plans its arena itself"),
    ):
        with pytest.raises(ConfigError, match=said):
            export(model, form, name="a", out=tmp_path / "a", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "a").exists()
