"""A firmware project around a model: it runs one golden input and checks itself."""

import re
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from micronas._version import VERSION
from micronas.errors import ExportError
from micronas.export.c_source import to_c_header
from micronas.graph import integer
from micronas.graph.ir import Graph, Kind
from micronas.graph.memory import Target, plan
from micronas.graph.read import read
from micronas.resources import folder as shipped_folder

Values = npt.NDArray[np.int8]
ProjectKind = Literal["cmake", "arduino"]

_REGISTER: dict[Kind, str] = {
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "FULLY_CONNECTED": "AddFullyConnected",
    "ADD": "AddAdd",
    "PAD": "AddPad",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean",
    "RESHAPE": "AddReshape",
    "SOFTMAX": "AddSoftmax",
    "CONCATENATION": "AddConcatenation",
    "LOGISTIC": "AddLogistic",
    "HARD_SWISH": "AddHardSwish",
    "RELU": "AddRelu",
    "RELU6": "AddRelu6",
}
"""Methods of TFLM's MicroMutableOpResolver."""
_ALIGNMENT = 16


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
    if kind not in get_args(ProjectKind):
        raise ExportError(
            f"a project must be one of {', '.join(get_args(ProjectKind))}, but got {kind!r}; "
            "choose one of them"
        )
    folder = folder.expanduser().absolute()
    # Arduino compiles a sketch only if it has its folder's name.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", folder.name):
        raise ExportError(
            "a project's folder must be named in letters, digits, '-' and '_', but got "
            f"{folder.name!r}; choose another name"
        )
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ExportError(
            f"a project goes into a new or empty folder, but {str(folder)!r} is not; "
            "name another, or empty it"
        )
    files = _files(model, golden_input, kind, folder.name)
    try:
        _write_all(files, folder)
    except OSError as error:
        raise ExportError(
            f"a project's folder must be writable, but {str(folder)!r} is not ({error.strerror}); "
            "name another"
        ) from error


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
    kinds = sorted({op.kind for op in graph.ops if op.kind != "UNKNOWN"})
    calls = [f"resolver.{_REGISTER[used]}() != kTfLiteOk" for used in kinds]
    values = {
        "VERSION": VERSION,
        "NAME": name,
        "HOST": str(_arena_bytes(graph, "host")),
        "BOARD": str(_arena_bytes(graph, "board")),
        "COUNT": str(len(kinds)),
        "RESOLVE": " ||\n      ".join(calls),
        "INPUT": _numbers(golden_input),
        "OUTPUT": _numbers(golden_output),
    }
    sources = {"check.h": "check.h.in", "golden.h": "golden.h.in"}
    if kind == "cmake":
        sources |= {"CMakeLists.txt": "CMakeLists.txt.in", "main.cc": "main.cc.in"}
    else:
        sources |= {f"{name}.ino": "sketch.ino.in"}
    return {
        "model.h": to_c_header(model),
        **{target: _filled(template, values) for target, template in sources.items()},
    }


def _arena_bytes(graph: Graph, target: Target) -> int:
    """Size of the array; TFLM aligns its end, so that odd bytes there would be lost."""
    return -(-plan(graph, target).required // _ALIGNMENT) * _ALIGNMENT


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = (shipped_folder("export") / template).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], text)


def _numbers(codes: Values) -> str:
    """Return codes as lines of a C initialiser."""
    listed = ", ".join(map(str, codes.reshape(-1).tolist()))
    return textwrap.fill(listed, 96, initial_indent="    ", subsequent_indent="    ")


def _write_all(files: Mapping[str, str], folder: Path) -> None:
    """Write files aside and rename their folder, so that it is whole or not there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".micronas-", dir=folder.parent) as scratch:
        whole = Path(scratch) / folder.name
        whole.mkdir()
        for name, text in files.items():
            (whole / name).write_text(text, encoding="utf-8")
        whole.rename(folder)
