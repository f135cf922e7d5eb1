"""Helpers of all firmware projects: templates, text in C, writing of folders."""

import re
import textwrap
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

from micronas.engine.c_text import is_header
from micronas.errors import DiskError, ExportError
from micronas.files import aside
from micronas.graph.ir import Graph
from micronas.hardware.targets import Target
from micronas.quantities import aligned

ProjectKind = Literal["cmake", "arduino", "platformio", "esp-idf", "zephyr"]
PROGRAMS: tuple[ProjectKind, ...] = ("cmake", "arduino")
LIBRARIES: tuple[ProjectKind, ...] = ("platformio", "esp-idf", "zephyr")
SKETCHES: tuple[ProjectKind, ...] = ("arduino", "platformio")
"""Kinds that use Arduino's libraries."""
_TARGETS = {"all", "clean", "edit_cache", "help", "install", "m", "preinstall", "rebuild_cache"}
"""CMake's own targets, and the library that a program links."""


def new_folder(folder: Path, kind: str, kinds: Collection[str]) -> Path:
    """Return a project's folder as an absolute path.

    Raises ExportError unless `kind` is one of `kinds`, the folder is empty or does not exist, and
    its name is valid for the program, which has the same.
    """
    check_kind(kind, kinds)
    folder = folder.expanduser().absolute()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", folder.name):
        raise ExportError(
            "a project's folder must be named in letters, digits, '-' and '_', but got "
            f"{folder.name!r}; choose another name"
        )
    if kind == "cmake" and folder.name in _TARGETS:
        raise ExportError(
            f"a program must not be named like a target of CMake, but got {folder.name!r}; choose "
            "another name"
        )
    if kind in LIBRARIES and is_header(folder.name):
        raise ExportError(
            f"a library's header must not hide the compiler's, but got {folder.name!r}, for which "
            "there is one; choose another name"
        )
    check_new(folder)
    return folder


def lines(written: Iterable[str]) -> str:
    """Return C expressions as lines of an initialiser."""
    listed = ", ".join(written)
    return textwrap.fill(listed, 96, initial_indent="    ", subsequent_indent="    ")


def check_kind(kind: str, kinds: Collection[str] = PROGRAMS) -> None:
    """Raise ExportError unless `kind` is one of `kinds`."""
    if kind not in kinds:
        raise ExportError(
            f"a project must be one of {', '.join(kinds)}, but got {kind!r}; choose one of them"
        )


def arena_bytes(graph: Graph, target: Target) -> int:
    """Return the arena's size in bytes, a multiple of 16: TFLM aligns its end downwards."""
    return aligned(target.plan(graph).required, 16)


def texts(values: Iterable[str]) -> str:
    """Return C string literals, one per line."""
    return "\n".join(f"    {quoted(value)}," for value in values)


def quoted(text: str) -> str:
    """Return a C string literal of ASCII without trigraphs; others are three octal digits."""
    plain = set(range(32, 127)) - set(b'"?\\')
    escaped = (
        chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode("utf-8", "replace")
    )
    return f'"{"".join(escaped)}"'


def check_new(folder: Path) -> None:
    """Raise ExportError unless a folder is empty or does not exist."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ExportError(
            f"files go into a new or empty folder, but {str(folder)!r} is not; "
            "name another, or empty it"
        )


def write_folder(files: Mapping[str, str | bytes], folder: Path) -> None:
    """Write files, by path below a folder, aside and rename it, so that it is complete or absent.

    Raises ExportError if the folder cannot be written.
    """
    try:
        with aside(folder) as whole:
            for name, content in files.items():
                path = whole / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
    except DiskError:
        raise
    except OSError as error:
        raise ExportError(
            f"a folder to write must be writable, but {str(folder)!r} is not ({error.strerror}); "
            "name another"
        ) from error
