"""What all firmware projects share: templates, operators, arenas, and how they are written."""

import re
import textwrap
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from micronas.errors import ExportError
from micronas.files import aside
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.operators import OPERATORS
from micronas.hardware.targets import ARDUINO, CMSIS_NN, HELIUM, HOST, Target
from micronas.resources import folder as shipped_folder

ProjectKind = Literal["cmake", "arduino"]

TFLM_COMMIT = "90b983c2b3f1480642e040bbd2ddb37b998f3424"
"""Of tensorflow/tflite-micro: what arena, instructions and flash were measured with."""

_ALIGNMENT = 16
_ARDUINO_MARGIN = 32
"""Bytes of arena an operator beside `ARDUINO`'s plan; six networks took 11 to 16."""
INT8_ALONE: tuple[Kind, ...] = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "PAD"),
    *("AVERAGE_POOL_2D", "MAX_POOL_2D", "SOFTMAX", "TRANSPOSE_CONV"),
)
"""Kinds of which CMSIS-NN has a kernel for int8 alone; it takes a third less flash."""


def check_name(folder: Path) -> None:
    """Raise ExportError unless a program can have the folder's name; Arduino needs them equal."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", folder.name):
        raise ExportError(
            "a project's folder must be named in letters, digits, '-' and '_', but got "
            f"{folder.name!r}; choose another name"
        )


def numbers(values: Iterable[int]) -> str:
    """Return numbers as lines of a C initialiser."""
    return lines(map(str, values))


def lines(written: Iterable[str]) -> str:
    """Return what is written in C as lines of an initialiser."""
    listed = ", ".join(written)
    return textwrap.fill(listed, 96, initial_indent="    ", subsequent_indent="    ")


def check_kind(kind: str) -> None:
    """Raise ExportError unless this is a kind of project."""
    if kind not in get_args(ProjectKind):
        raise ExportError(
            f"a project must be one of {', '.join(get_args(ProjectKind))}, but got {kind!r}; "
            "choose one of them"
        )


def check_scales(kind: ProjectKind, graphs: Iterable[Graph]) -> None:
    """Raise ExportError if a sketch's linear layer has a scale for each output.

    The kernels of TFLM's Arduino library take the first for all, without a word.
    """
    for graph in graphs if kind == "arduino" else ():
        for op in graph.ops:
            if op.kind == "FULLY_CONNECTED" and graph.constant_of(op).per_channel:
                raise ExportError(
                    "TFLM's Arduino library knows one scale for all weights of a linear layer, but "
                    f"{op.name} has {graph.constant_of(op).shape[0]}; export the network with "
                    "to_tflite(..., linear_scales='tensor')"
                )


def resolver(graphs: Collection[Graph]) -> dict[str, str]:
    """Return what templates say of the operators of some graphs: COUNT and RESOLVE."""
    kinds: dict[Kind, bool] = {}  # whether one of them has weights of 4 bits
    for graph in graphs:
        for op in graph.ops:
            if op.kind != "UNKNOWN":
                kinds[op.kind] = kinds.get(op.kind, False) or _has_int4(graph, op)
    registers: dict[str, str] = {}  # once each
    for kind in sorted(kinds):
        is_alone = kind in INT8_ALONE and not kinds[kind]
        given = f"MICRONAS_INT8({kind})" if is_alone else ""
        registers.setdefault(OPERATORS[kind].register, given)
    calls = [f"resolver.{name}({given}) == kTfLiteOk" for name, given in registers.items()]
    return {"COUNT": str(len(calls)), "RESOLVE": " &&\n         ".join(calls)}


def _has_int4(graph: Graph, op: Op) -> bool:
    return any(name in graph.tensors and graph.tensors[name].dtype == "int4" for name in op.inputs)


def arena(graphs: Collection[Graph], what: str) -> dict[str, str]:
    """Return what templates say of the arena of the largest of some graphs."""
    board = max(arena_bytes(graph, CMSIS_NN) for graph in graphs)
    sketch = max(arena_bytes(graph, ARDUINO) + _ARDUINO_MARGIN * len(graph.ops) for graph in graphs)
    return {
        "WHAT": what,
        "COMMIT": TFLM_COMMIT,
        "HOST": str(max(arena_bytes(graph, HOST) for graph in graphs)),
        "BOARD": str(board),
        "HELIUM": str(max(arena_bytes(graph, HELIUM) for graph in graphs)),
        "MARGIN": str(-(-(sketch - board) // _ALIGNMENT) * _ALIGNMENT),
    }


def common_files(kind: ProjectKind, values: Mapping[str, str]) -> dict[str, str]:
    """Return the files that every project of a kind has."""
    names = ["arena.h", "resolver.h", "clock.h"]
    if kind == "cmake":
        names += ["console.h", "console.cc"]
    return {name: filled(f"{name}.in", values) for name in names}


def arena_bytes(graph: Graph, target: Target) -> int:
    """Size of the array; TFLM aligns its end, so that odd bytes there would be lost."""
    return -(-target.plan(graph).required // _ALIGNMENT) * _ALIGNMENT


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a shipped template with its ``@NAMES@`` replaced."""
    text = (shipped_folder("export") / template).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], text)


def texts(values: Iterable[str]) -> str:
    """Return C string literals, one a line."""
    return "\n".join(f"    {_quoted(value)}," for value in values)


def _quoted(text: str) -> str:
    """Return a C string literal: ASCII, no trigraphs; three octal digits end by themselves."""
    plain = set(range(32, 127)) - set(b'"?\\')
    escaped = (
        chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode("utf-8", "replace")
    )
    return f'"{"".join(escaped)}"'


def check_new(folder: Path) -> None:
    """Raise ExportError unless a folder is empty or not there yet."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ExportError(
            f"files go into a new or empty folder, but {str(folder)!r} is not; "
            "name another, or empty it"
        )


def write_folder(files: Mapping[str, str | bytes], folder: Path) -> None:
    """Write files aside and rename their folder, so that it is whole or not there.

    Parameters
    ----------
    files
        Contents by path below the folder.
    folder
        Absolute; see `check_new`.

    Raises
    ------
    ExportError
        If it cannot be written.
    """
    try:
        with aside(folder) as whole:
            for name, content in files.items():
                path = whole / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise ExportError(
            f"a folder to write must be writable, but {str(folder)!r} is not ({error.strerror}); "
            "name another"
        ) from error
