"""Libraries for PlatformIO, ESP-IDF and Zephyr: a network on the engine, and a program."""

from pathlib import Path

from micronas._version import VERSION
from micronas.engine.c_text import identifier
from micronas.export.firmware.application import CHECK, Application, sketch
from micronas.export.firmware.engines import runtime
from micronas.export.firmware.project import common_files
from micronas.export.firmware.shared import LIBRARIES, ProjectKind, new_folder, write_folder
from micronas.graph.interface import Given
from micronas.graph.kernels.codes import Values
from micronas.resources import filled
from micronas.tflite.reader import read

_METADATA: dict[ProjectKind, dict[str, str]] = {
    "platformio": {"library.json": "library.json.in"},
    "esp-idf": {
        "CMakeLists.txt": "espidf_component.cmake.in",
        "idf_component.yml": "espidf_component.yml.in",
        "examples/listen/CMakeLists.txt": "espidf_example.cmake.in",
        "examples/listen/main/CMakeLists.txt": "espidf_main.cmake.in",
    },
    "zephyr": {
        "zephyr/module.yml": "zephyr_module.yml.in",
        "zephyr/CMakeLists.txt": "zephyr_library.cmake.in",
        "zephyr/Kconfig": "zephyr_kconfig.in",
        "samples/listen/CMakeLists.txt": "zephyr_sample.cmake.in",
        "samples/listen/prj.conf": "zephyr_prj.conf.in",
    },
}
_ALONE = """\
#ifdef MICRONAS_LIBRARY
#error "a program takes one library of micronas: for several networks take --format engine"
#endif
#define MICRONAS_LIBRARY"""
_PROGRAMS: dict[ProjectKind, str] = {
    "platformio": "examples/listen/listen.ino",
    "esp-idf": "examples/listen/main/main.cc",
    "zephyr": "samples/listen/src/main.cc",
}


def write_library(
    model: bytes,
    folder: Path,
    *,
    golden_input: Given[Values],
    kind: ProjectKind,
    application: Application | None = None,
    arena: int | None = None,
) -> None:
    """Write a library with its metadata, and a program that checks itself and then listens.

    For ``platformio`` it is one of Arduino's framework, for ``esp-idf`` a component, for ``zephyr``
    a module. Other parameters and errors are those of
    `micronas.export.firmware.project.write_project`.
    """
    folder = new_folder(folder, kind, LIBRARIES)
    name = folder.name
    application = application and application.on("micronas", read(model))
    models = {f"{identifier(name)}_model": model}  # no file of the program has such a name
    runs = runtime("micronas", models, kind, "the network", arena=arena, application=application)
    sources = common_files(model, golden_input, kind, application, runs)
    up = "../" if kind == "zephyr" else ""
    values = {
        **runs.values(),
        "NAME": name,
        "SYMBOL": f"MICRONAS_{identifier(name).upper()}",
        "DESCRIPTION": "An int8 network in C99, and a program around it",
        "SOURCES": " ".join(f"{up}src/{name}/{each}" for each in sources if each.endswith(".c")),
    }
    files = {f"src/{name}/{each}": text for each, text in sources.items()}
    headers = ["check.h", *(["listen.h"] if application else [])]
    includes = "\n".join(f'#include "{name}/{each}"' for each in headers)
    files[f"src/{name}.h"] = (
        f"// Written by micronas {VERSION}.\n#pragma once\n{_ALONE}\n{includes}\n"
    )
    files[_PROGRAMS[kind]] = sketch(values, [f"{name}.h"], CHECK, application, kind)
    files |= {each: filled(template, values) for each, template in _METADATA[kind].items()}
    write_folder(files, folder)
