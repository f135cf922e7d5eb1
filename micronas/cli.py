"""The command line: reads arguments, calls the library, prints. It holds no logic of its own."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from micronas._version import VERSION
from micronas.errors import ConfigError, DataError, ExportError, MicronasError, ModelError

if TYPE_CHECKING:
    from micronas.graph.integer import Values
    from micronas.graph.ir import Graph

app = typer.Typer(
    name="micronas",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Give micronas a data set and a board; it returns the most accurate int8 network that "
    "fits the board's SRAM, flash and latency, as a TFLite Micro flatbuffer.",
)
data_app = typer.Typer(no_args_is_help=True, help="Make and check data sets.")
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress bars.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. budget.latency=100ms"),
]


@app.command()
def boards(as_json: Json = False) -> None:
    """List the boards: memory, clock and how well their latency is known."""
    from micronas.hardware.board import Board, available
    from micronas.quantities import format_bytes
    from micronas.terminal import table

    known = [Board.load(name) for name in available()]
    if as_json:
        _print_json([board.view() for board in known])
        return
    rows = [
        [
            board.name,
            board.title,
            format_bytes(board.sram_bytes),
            format_bytes(board.flash_bytes),
            f"{board.clock_hz / 1e6:.0f} MHz",
            f"{board.view()['latency']['leave_one_out_percent']:.0f} %",
        ]
        for board in known
    ]
    typer.echo(table(["board", "title", "SRAM", "flash", "clock", "latency error"], rows))


@app.command()
def spaces(as_json: Json = False) -> None:
    """List the shipped search spaces: what is chosen, and their smallest and largest networks."""
    from micronas.graph.counts import count
    from micronas.quantities import format_macs
    from micronas.resources import names
    from micronas.search_space import SearchSpace
    from micronas.terminal import table

    described: list[dict[str, Any]] = []
    for name in names("search_spaces"):
        space = SearchSpace.load(name)
        low, high = (
            count(space.architecture(choice).graph()).macs
            for choice in (space.smallest(), space.largest())
        )
        described.append(
            {
                "name": name,
                "input": list(space.input),
                "classes": space.classes,
                "decisions": len(space.decisions),
                "networks": float(space.count()),
                "smallest_macs": low,
                "largest_macs": high,
            }
        )
    if as_json:
        _print_json(described)
        return
    rows = [
        [
            each["name"],
            "x".join(map(str, each["input"])),
            str(each["decisions"]),
            f"{each['networks']:.0e}",
            format_macs(each["smallest_macs"]),
            format_macs(each["largest_macs"]),
        ]
        for each in described
    ]
    typer.echo(table(["space", "input", "decisions", "networks", "smallest", "largest"], rows))


@app.command()
def search(
    config: Annotated[str, typer.Argument(help="A run's YAML, or a search space.")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search, train with quantisation, export and verify; the same command resumes a killed run."""
    from micronas.configuration import load_run

    settings = load_run(config, overrides or [])
    settings.check_feasible()
    from micronas.progress import Bars, Log, both
    from micronas.run import run_search
    from micronas.terminal import search_summary

    folder = out or Path("runs") / Path(config).stem
    with _stoppable(), Bars(quiet=quiet or as_json) as bars:
        result, trained = run_search(settings, folder, progress=both(bars, Log(folder / "log")))
    if as_json:
        _print_json(trained.metrics)
        return
    typer.echo(search_summary(result, trained.metrics))
    typer.echo(f"run folder: {folder}")


@app.command()
def train(
    architecture: Annotated[Path, typer.Argument(help="An architecture's YAML.")],
    overrides: Overrides = None,
    config: Annotated[Path | None, typer.Option(help="A run's YAML to take settings from.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train one given network as a found one is trained: float, int8, export, verification."""
    from micronas.architecture import Architecture
    from micronas.configuration import load_training

    network = Architecture.load(architecture)
    settings = load_training(config, overrides or [])
    from micronas.progress import Bars, Log, both
    from micronas.run import run_training
    from micronas.terminal import metrics_table

    folder = out or Path("runs") / architecture.stem
    with _stoppable(), Bars(quiet=quiet or as_json) as bars:
        progress = both(bars, Log(folder / "log"))
        trained = run_training(network, settings, folder, progress=progress)
    if as_json:
        _print_json(trained.metrics)
        return
    typer.echo(metrics_table(trained.metrics))
    typer.echo(f"run folder: {folder}")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A run folder or a .tflite file.")],
    form: Annotated[
        str, typer.Option("--format", help="tflite, c, onnx, project (CMake) or arduino.")
    ] = "tflite",
    out: Annotated[Path | None, typer.Option(help="Output file, or the project's folder.")] = None,
) -> None:
    """Write a network as a .tflite file, C++ header, ONNX or a program that checks itself."""
    from micronas.files import write_atomically
    from micronas.graph.read import read

    data = _model_bytes(model)
    if form == "tflite":
        from micronas.export.metadata import entries
        from micronas.export.tflite import to_flatbuffer

        target = out or Path(f"{model.stem}.tflite")
        content = to_flatbuffer(read(data), metadata=entries(data))
    elif form == "c":
        from micronas.export.c_source import to_c_header

        target = out or Path(f"{model.stem}.h")
        content = to_c_header(data, name=target.stem).encode()
    elif form == "onnx":
        from micronas.export.onnx import to_onnx

        target, content = out or Path(f"{model.stem}.onnx"), to_onnx(read(data))
    elif form in ("project", "arduino"):
        from micronas.export.project import write_project

        target = out or Path(f"{model.stem}-{form}")
        golden = _random_inputs(read(data), 1, seed=0)
        write_project(
            data, target, golden_input=golden, kind="cmake" if form == "project" else "arduino"
        )
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
    typer.echo(f"{target}: {len(content)} bytes")


@app.command()
def profile(
    network: Annotated[Path, typer.Argument(help="A .tflite, an architecture, a run folder.")],
    board: Annotated[
        list[str] | None,
        typer.Option("--board", help="A board of `micronas boards`; may be repeated, or all."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Count MACs, flash, arena, latency and energy on a board, in total and for each layer."""
    from micronas.architecture import Architecture
    from micronas.export.metadata import placeholder, read_metadata
    from micronas.export.tflite import flatbuffer_bytes
    from micronas.graph.read import read
    from micronas.hardware.board import Board, available
    from micronas.profile import on_boards
    from micronas.profile import profile as measure
    from micronas.terminal import profile_table

    named = board or ["stm32f446re"]
    boards = [Board.load(name) for name in (available() if named == ["all"] else named)]
    if network.suffix in (".yaml", ".yml"):
        architecture, metadata = Architecture.load(network), {}
        graph = architecture.graph()
        size = flatbuffer_bytes(graph, metadata=placeholder(architecture.classes))
    else:
        data = _model_bytes(network)
        graph, size, metadata = read(data, unknown="keep"), len(data), read_metadata(data)
    described = measure(graph, boards[0], flash_bytes=size) | {"metadata": metadata}
    if len(boards) > 1:
        described["boards"] = on_boards(graph, boards, flash_bytes=size)
    if as_json:
        _print_json(described)
        return
    typer.echo(profile_table(described))


@app.command()
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
    from micronas.graph.read import read

    data = _model_bytes(model)
    graph = read(data)
    examples = _random_inputs(graph, samples, seed) if inputs is None else _load(inputs)
    if layers:
        _verify_layers(model, graph, examples, as_json)
        return
    from micronas.export import verify as runtimes
    from micronas.terminal import pairs

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
        _print_json(found)
    else:
        typer.echo(pairs(found))
    if checked.mismatches:
        raise typer.Exit(1)


def _verify_layers(model: Path, graph: "Graph", examples: "Values", as_json: bool) -> None:
    from micronas.compare import compare, culprit, dequantized, trained
    from micronas.terminal import layers_table

    network = trained(model) if model.is_dir() else None
    errors = compare(network or dequantized(graph), graph, examples)
    worst = culprit(errors)
    reference = "trained float network" if network else "int8 weights in float arithmetic"
    if as_json:
        _print_json(
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


@data_app.command("synth")
def data_synth(
    task: Annotated[str, typer.Argument(help="kws")],
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    seed: int = 0,
) -> None:
    """Make a corpus of synthetic speech, for trying the tool without a download."""
    from micronas.tasks.speech import synthesise

    _require_kws(task)
    synthesise(folder, seed=seed)
    typer.echo(f"{folder}: synthetic speech, for trying the tool and not for products")


@data_app.command("check")
def data_check(
    task: Annotated[str, typer.Argument(help="kws")],
    folder: Annotated[Path, typer.Argument(help="A folder of words.")],
    as_json: Json = False,
) -> None:
    """Report what is missing, damaged or shared between the parts of a data set."""
    from micronas.tasks.kws import check

    _require_kws(task)
    findings = [str(finding) for finding in check(folder)]
    if as_json:
        _print_json(findings)
    else:
        typer.echo("\n".join(findings) or "nothing found")
    if findings:
        raise typer.Exit(1)


def _require_kws(task: str) -> None:
    if task != "kws":
        raise ConfigError(f"a task must be kws, but got {task!r}")


def _model_bytes(path: Path) -> bytes:
    file = path / "model.tflite" if path.is_dir() else path
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModelError(
            f"a model must be a .tflite file or a run folder that holds one: {error}"
        ) from error


def _random_inputs(graph: "Graph", count: int, seed: int) -> "Values":
    import numpy as np

    if not graph.inputs:
        raise ModelError("a model must have an input to be run, but has none; convert it again")
    shape = (count, *graph.tensors[graph.inputs[0]].shape[1:])
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def _load(path: Path) -> "Values":
    import numpy as np

    try:
        values: Values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"examples must be a .npy file of an int8 array: {error}") from error
    if not isinstance(values, np.ndarray):
        raise DataError(f"examples must be one array, but {path} holds several; save a .npy file")
    return values


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; what a user can cause ends as one line and exit code 2."""
    try:
        app()
    except MicronasError as error:
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn Ctrl-C during a long command into one line and the usual exit code."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last saved step", file=sys.stderr)
        raise typer.Exit(130) from None
