"""Commands on a finished network: export and verify."""

from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Annotated
from zipfile import BadZipFile

import typer

from micronas.cli.shared import Json, print_json, random_inputs
from micronas.errors import ConfigError, DataError, ExportError

if TYPE_CHECKING:
    from micronas.graph.integer import Values
    from micronas.graph.ir import Graph


def export(
    model: Annotated[Path, typer.Argument(help="A run folder or a .tflite file.")],
    form: Annotated[
        str, typer.Option("--format", help="tflite, c, onnx, project (CMake) or arduino.")
    ] = "tflite",
    out: Annotated[Path | None, typer.Option(help="Output file, or the project's folder.")] = None,
    as_json: Json = False,
) -> None:
    """Write a network as a .tflite file, C++ header, ONNX or a program that checks itself."""
    from micronas.files import write_atomically
    from micronas.runs.folder import model_file
    from micronas.space.load import model_bytes
    from micronas.tflite.reader import read

    data = model_bytes(model_file(model))
    if form == "tflite":
        from micronas.tflite.metadata import entries
        from micronas.tflite.writer import to_flatbuffer

        target = out or Path(f"{model.stem}.tflite")
        content = to_flatbuffer(read(data), metadata=entries(data))
    elif form == "c":
        from micronas.export.firmware.c_source import to_c_header

        target = out or Path(f"{model.stem}.h")
        content = to_c_header(data, name=target.stem).encode()
    elif form == "onnx":
        from micronas.export.onnx import to_onnx

        target, content = out or Path(f"{model.stem}.onnx"), to_onnx(read(data))
    elif form in ("project", "arduino"):
        from micronas.export.firmware.project import write_project

        target = out or Path(f"{model.stem}-{form}")
        golden = random_inputs(read(data), 1, seed=0)
        write_project(
            data, target, golden_input=golden, kind="cmake" if form == "project" else "arduino"
        )
        if as_json:
            print_json({"folder": str(target), "format": form})
        else:
            typer.echo(f"{target}: a program that runs one input and checks itself")
        return
    else:
        raise ConfigError(
            f"a format must be tflite, c, onnx, project or arduino, but got {form!r}; "
            "choose one of them"
        )
    try:
        write_atomically(target, content)
    except OSError as error:
        raise ExportError(f"an output file must be writable: {error}; choose another") from error
    if as_json:
        print_json({"file": str(target), "format": form, "bytes": len(content)})
    else:
        typer.echo(f"{target}: {len(content)} bytes")


def verify(
    model: Annotated[Path, typer.Argument(help="A .tflite file or a run folder.")],
    samples: Annotated[int, typer.Option(min=1, help="Random inputs to compare on.")] = 100,
    seed: int = 0,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare each layer with float arithmetic instead.")
    ] = False,
    inputs: Annotated[
        Path | None, typer.Option(help="int8 examples [N, ...] in a .npy file, not random ones.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a network on TFLM and compare every output byte with integer execution."""
    from micronas.runs.folder import model_file
    from micronas.space.load import model_bytes
    from micronas.tflite.reader import read

    data = model_bytes(model_file(model))
    graph = read(data)
    examples = random_inputs(graph, samples, seed) if inputs is None else _load(inputs)
    if layers:
        _verify_layers(model, graph, examples, as_json)
        return
    from micronas.export import verify as runtimes
    from micronas.text import pairs

    checked = runtimes.verify(data, examples)
    arena = runtimes.tflm_arena(data)
    count = len(examples)
    litert = runtimes.litert_run(data, examples).reshape(count, -1).astype(int)
    tflm = runtimes.tflm_run(data, examples).reshape(count, -1)
    found = {
        "samples": checked.samples,
        "bytes_compared": checked.bytes_compared,
        "tflm_mismatches": checked.mismatches,
        "max_difference": checked.max_difference,
        "litert_mismatches": int((litert != tflm).sum()),
        "litert_max_difference": int(abs(litert - tflm).max()),
        "host_arena_head_bytes": arena.head,
        "host_arena_bytes": arena.total,
    }
    if as_json:
        print_json(found)
    else:
        typer.echo(pairs(found))
    if checked.mismatches:
        raise typer.Exit(1)


def _verify_layers(model: Path, graph: "Graph", examples: "Values", as_json: bool) -> None:
    from micronas.evaluation.layers import compare, culprit, dequantized
    from micronas.runs.trained import trained
    from micronas.text import layers_table

    network = trained(model) if model.is_dir() else None
    errors = compare(network or dequantized(graph), graph, examples)
    worst = culprit(errors)
    reference = "trained float network" if network else "int8 weights in float arithmetic"
    if as_json:
        print_json(
            {
                "reference": reference,
                "samples": len(examples),
                "culprit": worst.name if worst else None,
                "layers": [error.view() for error in errors],
            }
        )
        return
    typer.echo(layers_table(errors, worst))
    typer.echo(f"reference: {reference}, {len(examples)} samples")


def _load(path: Path) -> "Values":
    import numpy as np

    try:
        values: Values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TokenError, BadZipFile) as error:
        # its header is Python text, and a damaged one fails in every way that Python's text does
        raise DataError(f"examples must be a .npy file of an int8 array: {error}") from error
    if not isinstance(values, np.ndarray):
        raise DataError(f"examples must be one array, but {path} holds several; save a .npy file")
    return values
