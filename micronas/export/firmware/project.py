"""Firmware project around a model, which runs one golden input and checks itself."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from micronas.errors import ExportError
from micronas.export.firmware.application import CHECK, Application, program_files, sources_of
from micronas.export.firmware.board import CORTEX_M4, Emulated, board_files
from micronas.export.firmware.c_source import identifiers
from micronas.export.firmware.engines import runtime
from micronas.export.firmware.runtime import EngineName, Runtime
from micronas.export.firmware.shared import PROGRAMS, ProjectKind, lines, new_folder, write_folder
from micronas.graph.interface import Given, by_name
from micronas.resources import filled
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
    engine: EngineName = "tflm",
    arena: int | None = None,
) -> None:
    """Write a program that runs the model once and prints PASS, or FAIL, and the time it took.

    With an application, a second program goes from samples to labels. A project for CMake has an
    emulated board in ``qemu``, with a Makefile that builds and runs both. Raises ExportError if the
    folder is not empty, cannot be written, or has an invalid name for a program, or the application
    does not match the model; ModelError if the model is damaged, or `golden_input` does not match
    its input.

    Parameters
    ----------
    model
        Contents of a ``.tflite`` file, int8 in and out.
    folder
        Folder to write; must not exist yet, or be empty. Its name becomes that of the program.
    golden_input
        int8, of the shape of the model's input, its leading 1 optional; for several inputs a tuple,
        or a mapping by name. The expected outputs, compiled in too, are those of integer execution.
    kind
        ``cmake``: C++17 for any board. ``arduino``: a sketch.
    application
        Front end, labels and decision.
    board
        Emulated board, with the memory that the linker may fill; only for CMake.
    engine
        ``tflm``: a checkout of tflite-micro, or one of its Arduino libraries, runs the network.
        ``micronas``: generated C does, see `micronas.engine.generate.generate`.
    arena
        Bytes of the engine's arena beyond which its first operators run row by row.
    """
    folder = new_folder(folder, kind, PROGRAMS)
    application = application and application.on(engine, read(model))
    models = {"model": model}
    runs = runtime(engine, models, kind, "the network", arena=arena, application=application)
    values = {**runs.values(), **sources_of(application, folder.name, runs.sources)}
    files = {
        **common_files(model, golden_input, kind, application, runs),
        **program_files(kind, values, CHECK, application),
    }
    if kind == "cmake":
        files |= board_files(values, board) | runs.board_files()
    write_folder(files, folder)


def common_files(
    model: bytes,
    golden_input: Given[_Values],
    kind: ProjectKind,
    application: Application | None,
    runs: Runtime,
) -> dict[str, str]:
    """Return network, check and application, without build files and entries of programs."""
    graph = read(model)
    inputs = {
        # the graph's own shape, or that of one example
        name: values[None] if values.shape == graph.tensors[name].shape[1:] else values
        for name, values in by_name(graph, golden_input).items()
    }
    count = len(next(iter(inputs.values())))
    if count != 1:
        raise ExportError(f"a project holds one golden input, but got {count}; choose one of them")
    values = {**runs.values(), **_golden(*runs.golden(graph, inputs))}
    files = runs.files(works=application is not None and application.front_end.work_bytes > 0)
    names = ("check.h", "golden.h", "clock.h", "console.h")
    files |= {each: filled(f"{each}.in", values) for each in names}
    return files if application is None else files | application.files(graph, kind, values)


def _golden(inputs: Mapping[str, _Values], outputs: Mapping[str, _Values]) -> dict[str, str]:
    """Return the template's values for golden tensors: an array each, and lists of these."""
    arrays, lists = [], {}
    for role, tensors in (("Input", inputs), ("Output", outputs)):
        words = identifiers(tensors) if len(tensors) > 1 else dict.fromkeys(tensors, "")
        names = {name: f"kGolden{role}{word}" for name, word in words.items()}
        for name, values in tensors.items():
            codes = lines(map(str, values.reshape(-1).tolist()))
            arrays.append(f"constexpr std::int8_t {names[name]}[] = {{\n{codes}\n}};")
        lists[f"{role.upper()}S"] = "\n".join(
            f"    {{{each}, sizeof({each})}}," for each in names.values()
        )
    size = sum(values.size for values in outputs.values())
    return {"ARRAYS": "\n".join(arrays), "BYTES": str(size), **lists}
