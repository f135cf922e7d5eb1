"""Write a network as a file or project of a given form."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from micronas.errors import ConfigError, ExportError
from micronas.export.examples import random_inputs
from micronas.files import write_atomically
from micronas.graph.kernels.codes import Values
from micronas.tflite.reader import read

if TYPE_CHECKING:
    from micronas.export.firmware.application import Application
    from micronas.export.firmware.board import Emulated

_SUFFIXES = {"tflite": ".tflite", "c": ".h", "onnx": ".onnx"}
_PROJECTS = {"project": "cmake", "arduino": "arduino"}
_LIBRARIES = ("platformio", "esp-idf", "zephyr")
FIRMWARE = (*_PROJECTS, *_LIBRARIES)
"""Forms that are programs, or contain one."""
FORMS = (*_SUFFIXES, "engine", *FIRMWARE)


def export(
    data: bytes,
    form: str,
    *,
    name: str,
    out: Path | None = None,
    application: "Application | None" = None,
    example: Values | None = None,
    board: "Emulated | None" = None,
    engine: str | None = None,
    arena: int | None = None,
    kernels: str | None = None,
    frames: int | None = None,
) -> dict[str, Any]:
    """Write a network and return the path of the output and its properties, as JSON values.

    Raises ConfigError if there is no such form, engine or kernels, or options do not go together;
    ExportError if the output cannot be written.

    Parameters
    ----------
    data
        Contents of a ``.tflite`` file.
    form
        ``tflite``, ``c``, ``engine``, ``onnx``, ``project`` (CMake), ``arduino``, or a library for
        ``platformio``, ``esp-idf`` or ``zephyr``.
    name
        Beginning of the output's name where `out` is not given.
    application
        Application around the network; only for projects and libraries.
    example
        int8 codes of a real input, on which a project checks itself; random ones when left out.
    board
        Emulated board of a project, with the memory it has to fit; a large one when left out.
    engine
        Engine of a project's network: ``tflm``, the default, or ``micronas``.
    arena
        Bytes of the engine's arena beyond which its first operators run row by row.
    kernels
        Kernels of the form ``engine``: its own, ``micronas``, the default; or those of a checkout
        of CMSIS-NN, with scratch memory for cores without Helium, ``cmsis_nn``, or with it,
        ``cmsis_nn_helium``.
    frames
        Frames per call of a streaming network; only for the form ``engine``.
    """
    for option, given_to, forms in (
        ("kernels", kernels, ("engine",)),
        ("frames", frames, ("engine",)),
        ("arena", arena, ("engine", *FIRMWARE)),
        ("engine", engine, FIRMWARE),
    ):
        if given_to is not None and form in FORMS and form not in forms:
            raise ConfigError(
                f"--{option} is for --format {', '.join(forms)} alone, but the format is {form}; "
                "leave it out"
            )
    if form in FIRMWARE:
        from micronas.export.firmware.runtime import engine_of

        folder = out or Path(f"{name}-{form}")
        golden = random_inputs(read(data), 1, seed=0) if example is None else example
        kind: Any = _PROJECTS.get(form, form)
        given: Any = {"golden_input": golden, "application": application, "arena": arena}
        if form in _LIBRARIES:
            from micronas.export.firmware.library import write_library

            if engine_of(engine or "micronas") == "tflm":
                raise ConfigError(
                    f"--format {form} runs the network on --engine micronas, but got tflm; leave "
                    "the engine out, or take --format project or arduino"
                )
            engine = "micronas"
            write_library(data, folder, kind=kind, **given)
        else:
            from micronas.export.firmware.board import CORTEX_M4
            from micronas.export.firmware.project import write_project

            engine = engine_of(engine)
            write_project(data, folder, kind=kind, board=board or CORTEX_M4, engine=engine, **given)
        return {
            "folder": str(folder),
            "format": form,
            "engine": engine,
            "front_end": None if application is None else application.front_end.kind,
            "golden_input": "random" if example is None else "example",
        }
    if form == "engine":
        folder = out or Path(f"{name}-engine")
        return _engine(data, folder, name, arena, kernels or "micronas", frames)
    if form not in _SUFFIXES:
        raise ConfigError(
            f"a format must be one of {', '.join(FORMS)}, but got {form!r}; choose one of them"
        )
    path = out or Path(f"{name}{_SUFFIXES[form]}")
    content = _content(data, form, path)
    if content != data and path.is_file() and path.read_bytes() == data:
        raise ExportError(
            f"an output must not replace the model it is made of, but {str(path)!r} is that; "
            "choose another --out"
        )
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ExportError(f"an output file must be writable: {error}; choose another") from error
    return {"file": str(path), "format": form, "bytes": len(content)}


def _engine(
    data: bytes, folder: Path, name: str, arena: int | None, kernels: str, frames: int | None
) -> dict[str, Any]:
    from micronas.engine import cmsis_nn
    from micronas.engine.generate import generate
    from micronas.engine.hop_writer import generate_hops
    from micronas.engine.kernels import maker_of
    from micronas.export.firmware.shared import check_new, write_folder
    from micronas.hardware.targets import CMSIS_NN, HELIUM, MICRONAS

    known = {each.name: cmsis_nn.makers(each.scratch) for each in (CMSIS_NN, HELIUM)}
    known[MICRONAS.name] = maker_of
    if kernels not in known:
        raise ConfigError(
            f"kernels must be one of {', '.join(known)}, but got {kernels!r}; choose one of them"
        )
    if frames is not None and frames < 1:
        raise ConfigError(f"a call must take at least one frame, but got --frames {frames}; give 1")
    if frames is not None and arena is not None:
        raise ConfigError(
            f"calls of some frames run row by row in any case, but got --frames {frames} and "
            f"--arena {arena}; leave out --arena"
        )
    if arena is not None and kernels != MICRONAS.name:
        raise ConfigError(
            f"--arena is for --kernels {MICRONAS.name} alone, as others compute whole maps, but "
            f"got {kernels}; leave it out"
        )
    check_new(folder)
    if frames is None:
        files = generate(read(data), name, most=arena, makers=known[kernels])
    else:
        files = generate_hops(read(data), name, hop=frames, makers=known[kernels])
    write_folder(
        {f"{files.name}.h": files.header, f"{files.name}.c": files.source}, folder.absolute()
    )
    return {
        "folder": str(folder),
        "format": "engine",
        "kernels": kernels,
        "arena_bytes": files.arena,
        "arena_bound_bytes": files.bound,
        "state_bytes": files.state,
        "references": list(files.references),
    }


def _content(data: bytes, form: str, path: Path) -> bytes:
    if form == "c":
        from micronas.export.firmware.c_source import to_c_header

        return to_c_header(data, name=path.stem).encode()
    if form == "onnx":
        # needs the extra onnx
        from micronas.export.onnx import to_onnx

        return to_onnx(read(data))
    from micronas.tflite.metadata import entries
    from micronas.tflite.writer import to_flatbuffer

    return to_flatbuffer(read(data, wide=True), metadata=entries(data))
