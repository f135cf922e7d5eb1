"""A firmware project around a model: it runs one golden input and checks itself."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from micronas._version import VERSION
from micronas.errors import ExportError
from micronas.export.firmware.c_source import to_c_header
from micronas.export.firmware.shared import (
    ProjectKind,
    arena_bytes,
    check_kind,
    check_name,
    check_new,
    filled,
    numbers,
    resolver,
    write_folder,
)
from micronas.graph import integer
from micronas.hardware.targets import CMSIS_NN, HOST
from micronas.tflite.reader import read

Values = npt.NDArray[np.int8]


def write_project(
    model: bytes, folder: Path, *, golden_input: Values, kind: ProjectKind = "cmake"
) -> None:
    """Write a program that runs the model once and prints PASS, or FAIL, and the time it took.

    Parameters
    ----------
    model
        Contents of a ``.tflite`` file of one int8 input and one int8 output.
    folder
        Where to write; must not exist yet, or be empty. Its name becomes that of the program.
    golden_input
        int8, the shape of the model's input, its leading 1 optional. The expected output, compiled
        in beside it, is what integer execution gives.
    kind
        ``cmake``: C++17 for a checkout of tflite-micro. ``arduino``: a sketch for one of its
        Arduino libraries.

    Raises
    ------
    ExportError
        If the folder is not empty, cannot be written, or has a name no program can have.
    ModelError
        If the model is damaged, or `golden_input` does not match its input.
    """
    check_kind(kind)
    folder = folder.expanduser().absolute()
    check_name(folder)
    check_new(folder)
    write_folder(_files(model, golden_input, kind, folder.name), folder)


def _files(model: bytes, golden_input: Values, kind: ProjectKind, name: str) -> dict[str, str]:
    graph = read(model)
    # the graph's own shape, or that of one example
    if len(graph.inputs) == 1 and golden_input.shape == graph.tensors[graph.inputs[0]].shape[1:]:
        golden_input = golden_input[None]
    golden_output = integer.run(graph, golden_input)  # refuses graphs with other operators
    if len(golden_input) != 1:
        raise ExportError(
            f"a project holds one golden input, but got {len(golden_input)}; choose one of them"
        )
    values = {
        "VERSION": VERSION,
        "NAME": name,
        "HOST": str(arena_bytes(graph, HOST)),
        "BOARD": str(arena_bytes(graph, CMSIS_NN)),
        **resolver([graph]),
        "INPUT": numbers(golden_input.reshape(-1).tolist()),
        "OUTPUT": numbers(golden_output.reshape(-1).tolist()),
    }
    sources = {"check.h": "check.h.in", "clock.h": "clock.h.in", "golden.h": "golden.h.in"}
    if kind == "cmake":
        sources |= {"CMakeLists.txt": "CMakeLists.txt.in", "main.cc": "main.cc.in"}
    else:
        sources |= {f"{name}.ino": "sketch.ino.in"}
    return {
        "model.h": to_c_header(model),
        **{target: filled(template, values) for target, template in sources.items()},
    }
