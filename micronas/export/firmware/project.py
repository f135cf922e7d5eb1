"""A firmware project around a model: it runs one golden input and checks itself."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from micronas._version import VERSION
from micronas.errors import ExportError
from micronas.export.firmware.application import Application, sources_of
from micronas.export.firmware.board import CORTEX_M4, Emulated, board_files
from micronas.export.firmware.c_source import identifiers, to_c_header
from micronas.export.firmware.shared import (
    ProjectKind,
    arena,
    check_kind,
    check_name,
    check_new,
    check_scales,
    common_files,
    filled,
    numbers,
    resolver,
    write_folder,
)
from micronas.graph import integer
from micronas.graph.interface import Given, by_name
from micronas.tflite.reader import read

_Values = npt.NDArray[np.int8]


def write_project(
    model: bytes,
    folder: Path,
    *,
    golden_input: Given[_Values],
    kind: ProjectKind = "cmake",
    application: Application | None = None,
    board: Emulated = CORTEX_M4,
) -> None:
    """Write a program that runs the model once and prints PASS, or FAIL, and the time it took.

    With an application, a second program goes from samples to labels. A project for CMake has an
    emulated board in ``qemu``, with a Makefile that builds and runs both.

    Parameters
    ----------
    model
        Contents of a ``.tflite`` file, int8 in and out.
    folder
        Where to write; must not exist yet, or be empty. Its name becomes that of the program.
    golden_input
        int8, the shape of the model's input, its leading 1 optional; of several inputs a tuple, or
        a mapping by name. The expected outputs, compiled in beside it, are what integer execution
        gives.
    kind
        ``cmake``: C++17 for a checkout of tflite-micro. ``arduino``: a sketch for one of its
        Arduino libraries.
    application
        Front end, labels and decision.
    board
        What is emulated, with the memory that the linker may fill; of a project for CMake.

    Raises
    ------
    ExportError
        If the folder is not empty, cannot be written, or has a name no program can have; if the
        application does not match the model.
    ModelError
        If the model is damaged, or `golden_input` does not match its input.
    """
    check_kind(kind)
    folder = folder.expanduser().absolute()
    check_name(folder)
    check_new(folder)
    write_folder(_files(model, golden_input, kind, folder.name, application, board), folder)


def _files(
    model: bytes,
    golden_input: Given[_Values],
    kind: ProjectKind,
    name: str,
    application: Application | None,
    board: Emulated,
) -> dict[str, str]:
    graph = read(model)
    check_scales(kind, [graph])
    inputs = {
        # the graph's own shape, or that of one example
        name: values[None] if values.shape == graph.tensors[name].shape[1:] else values
        for name, values in by_name(graph, golden_input).items()
    }
    outputs = integer.run_outputs(graph, inputs)  # refuses graphs with other operators
    count = len(next(iter(outputs.values())))
    if count != 1:
        raise ExportError(f"a project holds one golden input, but got {count}; choose one of them")
    values = {
        "VERSION": VERSION,
        "NAME": name,
        **arena([graph], "the network"),
        **resolver([graph]),
        **_golden(inputs, outputs),
        **sources_of(application, name),
    }
    sources = {"check.h": "check.h.in", "golden.h": "golden.h.in"}
    if kind == "cmake":
        sources |= {"CMakeLists.txt": "CMakeLists.txt.in", "main.cc": "main.cc.in"}
    else:
        sources |= {f"{name}.ino": "sketch.ino.in"}
    files = {
        "model.h": to_c_header(model),
        **common_files(kind, values),
        **{target: filled(template, values) for target, template in sources.items()},
    }
    if application is not None:
        files |= application.files(graph, kind, values)
    return files | (board_files(values, board) if kind == "cmake" else {})


def _golden(inputs: Mapping[str, _Values], outputs: Mapping[str, _Values]) -> dict[str, str]:
    """Return what the template says of golden tensors: an array each, and lists of them."""
    arrays, lists = [], {}
    for role, tensors in (("Input", inputs), ("Output", outputs)):
        words = identifiers(tensors) if len(tensors) > 1 else dict.fromkeys(tensors, "")
        names = {name: f"kGolden{role}{word}" for name, word in words.items()}
        for name, values in tensors.items():
            codes = numbers(values.reshape(-1).tolist())
            arrays.append(f"constexpr std::int8_t {names[name]}[] = {{\n{codes}\n}};")
        lists[f"{role.upper()}S"] = "\n".join(
            f"    {{{each}, sizeof({each})}}," for each in names.values()
        )
    size = sum(values.size for values in outputs.values())
    return {"ARRAYS": "\n".join(arrays), "BYTES": str(size), **lists}
