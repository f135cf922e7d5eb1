"""A firmware project of a composition: it classifies golden inputs and checks itself."""

from pathlib import Path

import numpy as np

from micronas._version import VERSION
from micronas.errors import ExportError
from micronas.export.firmware.application import sources_of
from micronas.export.firmware.board import board_files
from micronas.export.firmware.c_source import to_c_header
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
    quoted,
    resolver,
    texts,
    write_folder,
)
from micronas.router.device.composition import LOWEST_CODE, Codes, Composition, scores
from micronas.tflite.writer import to_flatbuffer


def write_composition(
    composition: Composition, folder: Path, *, golden_inputs: Codes, kind: ProjectKind = "cmake"
) -> None:
    """Write a program that classifies golden inputs and prints PASS, or FAIL, and the time.

    ``composition.h`` holds the classifier for other firmware: it runs the router and one expert in
    one arena, and decides in integers alone. Every code of both networks is checked, and who
    answered.

    Parameters
    ----------
    folder
        Where to write; must not exist yet, or be empty. Its name becomes that of the program.
    golden_inputs
        int8 [N, height, width, channels], compiled in with what integer execution makes of them.
    kind
        ``cmake``: C++17 for a checkout of tflite-micro. ``arduino``: a sketch for one of its
        Arduino libraries.

    Raises
    ------
    ExportError
        If the folder is not empty, cannot be written, or has a name no program can have; if an
        expert gets none of the golden inputs and so would stay unchecked (the general one may,
        where the threshold sends it nothing).
    ModelError
        If the golden inputs do not match the networks' input.
    """
    check_kind(kind)
    check_scales(kind, composition.graphs)
    folder = folder.expanduser().absolute()
    check_name(folder)
    check_new(folder)
    values = _values(composition, folder.name) | _golden(composition, golden_inputs)
    sources = {
        "composition.h": "composition.h.in",
        "check.h": "composition_check.h.in",
        "golden.h": "composition_golden.h.in",
    }
    if kind == "cmake":
        sources |= {"CMakeLists.txt": "CMakeLists.txt.in", "main.cc": "composition_main.cc.in"}
    else:
        sources |= {f"{folder.name}.ino": "composition_sketch.ino.in"}
    files = {
        f"network{number}.h": to_c_header(to_flatbuffer(graph), name=f"network{number}")
        for number, graph in enumerate(composition.graphs)
    }
    files |= common_files(kind, values)
    files |= board_files(values) if kind == "cmake" else {}
    files |= {target: filled(template, values) for target, template in sources.items()}
    write_folder(files, folder)


def _values(composition: Composition, name: str) -> dict[str, str]:
    graphs, experts = composition.graphs, composition.experts
    source = composition.router.tensors[composition.router.inputs[0]]
    assert source.quantization is not None, "a composition's networks are int8"
    return {
        "VERSION": VERSION,
        "NAME": name,
        **sources_of(None, name),
        **arena(graphs, "the largest network; they take turns, and none leaves anything there"),
        **resolver(graphs),
        "INCLUDES": "\n".join(f'#include "network{number}.h"' for number in range(len(graphs))),
        "SIZE": str(source.elements),
        "SCALE": repr(float(source.quantization.scale[0])),
        "ZERO": str(source.quantization.zero_point),
        "CLASSES": texts(composition.classes),
        "CATEGORIES": texts(composition.names),
        "LABELS": "\n".join(
            f"constexpr std::uint16_t kLabels{number}[] = {{\n"
            f"{numbers(composition.class_indices(expert).tolist())}\n}};"
            for number, expert in enumerate(experts, 1)
        ),
        "EXPERTS": "\n".join(
            f"    {{{quoted(expert.name)}, kNetwork{number}, kLabels{number}, "
            f"{len(expert.labels)}}},"
            for number, expert in enumerate(experts, 1)
        ),
        "ROUTES": numbers(composition.routes[:-1].tolist()),
        "GENERAL": str(composition.routes[-1]),
        "THRESHOLD": str(composition.threshold),
        "MOST": str(max(len(expert.labels) for expert in experts)),
    }


def _golden(composition: Composition, inputs: Codes) -> dict[str, str]:
    outcome = composition.predict(inputs)  # refuses inputs of another shape
    served = composition.routes[:-1] if composition.threshold == LOWEST_CODE else composition.routes
    idle = set(served.tolist()) - set(outcome.experts.tolist())
    if idle:
        names = sorted(composition.experts[index].name for index in idle)
        raise ExportError(
            f"golden inputs must reach every expert, but none of {len(inputs)} is sent to {names}; "
            "add inputs of their categories"
        )
    parts = []
    for example, index in zip(inputs, outcome.experts, strict=True):
        graph = composition.experts[index].graph
        parts += [scores(composition.router, example[None]), scores(graph, example[None])]
    return {
        "COUNTED": str(len(inputs)),
        "INPUTS": numbers(inputs.reshape(-1).tolist()),
        "OUTPUTS": numbers(np.concatenate(parts, axis=1)[0].tolist()),
        "ANSWERED": numbers(outcome.experts.tolist()),
        "ANSWERS": numbers(outcome.labels.tolist()),
    }
