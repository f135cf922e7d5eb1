"""Commands on a finished network: export and verify."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from micronas.cli.shared import Json, Wide, show, window

if TYPE_CHECKING:
    from micronas.graph.ir import Graph
    from micronas.graph.kernels.codes import Values


def export(
    model: Annotated[Path, typer.Argument(help="A run folder or a .tflite file.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="tflite, c, engine, onnx, project (CMake), arduino, platformio, esp-idf, zephyr.",
        ),
    ] = "tflite",
    out: Annotated[Path | None, typer.Option(help="Output file or folder.")] = None,
    camera: Annotated[
        str | None, typer.Option(help="Format of the camera, such as 320x240:rgb565; for images.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Engine of a project's network: tflm or micronas; by default the run's."),
    ] = None,
    arena: Annotated[
        str | None,
        typer.Option(
            help="Largest arena of the engine, such as 16KB, above which it computes row by row."
        ),
    ] = None,
    kernels: Annotated[
        str | None,
        typer.Option(
            help="Kernels of --format engine: micronas, or CMSIS-NN: cmsis_nn, cmsis_nn_helium."
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Frames per call of a streaming network in --format engine.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a network as .tflite, ONNX, C, a header, or a program that checks itself."""
    from micronas.errors import ConfigError
    from micronas.export.formats import FIRMWARE
    from micronas.export.formats import export as write
    from micronas.quantities import parse_bytes
    from micronas.runs.folder import model_file
    from micronas.space.load import model_bytes

    data = model_bytes(model_file(model))
    whole = Path(os.path.abspath(model))  # a run folder may be `.`
    application, example, board = None, None, None
    if form in FIRMWARE:
        from micronas.export.firmware.front_ends import Camera
        from micronas.runs.device import device
        from micronas.tflite.reader import read

        found = device(
            model, data, read(data), camera=None if camera is None else Camera.parse(camera)
        )
        application, example, board = found.application, found.example, found.board
        engine = engine or found.engine
    if camera is not None and (application is None or application.front_end.kind != "image"):
        raise ConfigError(
            f"--camera is for programs that read pictures, but got {camera} for --format {form} of "
            f"{model.name}, which makes none; leave it out"
        )
    written = write(
        data,
        form,
        name=whole.name if whole.is_dir() else whole.stem,
        out=out,
        application=application,
        example=example,
        board=board,
        engine=engine,
        arena=None if arena is None else parse_bytes(arena),
        kernels=kernels,
        frames=frames,
    )
    if form == "engine":
        line = (
            f"{written['folder']}: {written['arena_bytes']} bytes of arena; "
            f"without a kernel of their own: {len(written['references'])} operators"
        )
    elif "folder" in written:
        kind = written["front_end"]
        with_it = "" if kind is None else f", with a front end ({kind})"
        line = (
            f"{written['folder']}: a program that checks itself on a {written['golden_input']} "
            f"input{with_it}"
        ).replace("a example", "an example")
    else:
        line = f"{written['file']}: {written['bytes']} bytes"
    show(written, as_json, lambda: line)


def verify(
    model: Annotated[Path, typer.Argument(help="A .tflite file or a run folder.")],
    samples: Annotated[int, typer.Option(min=1, help="Random inputs to compare on.")] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare each layer with float arithmetic instead.")
    ] = False,
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="int8 examples [N, ...] in a .npy file (.npz by name) instead of random ones."
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            help="Sounds, pictures or CSV files for the front end in C; by default the run's."
        ),
    ] = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Compare every output byte of TFLM with integer execution.

    Where the meaning of the input is known, recordings run through the front end of the firmware,
    compiled here, and through that of training; their codes and decisions are compared, too.
    """
    from micronas.export.examples import random_inputs, read_inputs
    from micronas.graph.interface import by_name
    from micronas.runs.folder import model_file
    from micronas.space.load import model_bytes
    from micronas.tflite.reader import read

    data = model_bytes(model_file(model))
    graph = read(data, wide=not layers)
    given = read_inputs(inputs) if inputs else random_inputs(graph, samples, seed=seed)
    examples = by_name(graph, given)
    if layers:
        _verify_layers(model, graph, examples, as_json, width=window(wide))
        return
    from micronas.export.runtimes import compare_runtimes
    from micronas.text import pairs

    found = compare_runtimes(data, examples)
    heard = _compare_front_end(model, data, graph, recordings)
    found |= heard | _promise(model)
    show(found, as_json, lambda: pairs(found))
    if found["tflm_mismatches"] or heard.get("differing_decisions"):
        raise typer.Exit(1)


def _promise(model: Path) -> dict[str, Any]:
    """Return a run's board, its arena, and whether the network fits the budget."""
    from micronas.runs.costs import describe_costs
    from micronas.runs.finished import own

    if own(model).board is None:
        return {}
    described = describe_costs(model)
    return {key: described[key] for key in ("board", "arena_bytes", "fits")}


def _compare_front_end(
    model: Path, data: bytes, graph: "Graph", recordings: Path | None
) -> dict[str, Any]:
    """Compare on given recordings, or on a run's own where there is a compiler."""
    from micronas.errors import DataError
    from micronas.export.firmware.host import find_compiler
    from micronas.runs.device import compare_front_end, recordings_of

    folder = recordings or recordings_of(model)
    if folder is None or len(graph.inputs) != 1:
        return {}
    if recordings is None and find_compiler() is None:
        return {"front_end": "not compared: no C compiler"}
    try:
        found = compare_front_end(model, data, graph, recordings_in=folder, count=100)
    except DataError as error:
        if recordings is not None:
            raise
        return {"front_end": f"not compared: {error}"}
    return {} if found is None else found


def _verify_layers(
    model: Path, graph: "Graph", examples: "dict[str, Values]", as_json: bool, *, width: int | None
) -> None:
    from micronas.evaluation.layers import compare, dequantized, layers_table, layers_view
    from micronas.runs.trained import trained

    network = trained(model) if model.is_dir() else None
    errors = compare(network or dequantized(graph), graph, examples)
    count = len(next(iter(examples.values())))
    reference = "trained float network" if network else "int8 weights in float arithmetic"
    show(
        layers_view(errors, reference=reference, samples=count),
        as_json,
        lambda: f"{layers_table(errors, width=width)}\nreference: {reference}, {count} samples",
    )
