"""The command line: reads arguments, calls the library, prints. It holds no logic of its own."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from micronas._version import VERSION
from micronas.errors import ConfigError, MicronasError, ModelError

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
BoardName = Annotated[str, typer.Option("--board", help="A board that `micronas boards` lists.")]


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
    form: Annotated[str, typer.Option("--format", help="tflite or c.")] = "tflite",
    out: Annotated[Path | None, typer.Option(help="Output file.")] = None,
) -> None:
    """Write a network as a .tflite file or a C++ header."""
    from micronas.export.c_source import to_c_header
    from micronas.export.tflite import to_flatbuffer
    from micronas.files import write_atomically
    from micronas.graph.read import read

    data = _model_bytes(model)
    if form == "tflite":
        target, content = out or Path(f"{model.stem}.tflite"), to_flatbuffer(read(data))
    elif form == "c":
        target = out or Path(f"{model.stem}.h")
        content = to_c_header(data, name=target.stem).encode()
    else:
        raise ConfigError(f"a format must be tflite or c, but got {form!r}")
    write_atomically(target, content)
    typer.echo(f"{target}: {len(content)} bytes")


@app.command()
def profile(
    network: Annotated[Path, typer.Argument(help="A .tflite, an architecture, a run folder.")],
    board: BoardName = "stm32f446re",
    as_json: Json = False,
) -> None:
    """Count MACs, flash, arena, latency and energy on a board, in total and for each layer."""
    from micronas.architecture import Architecture
    from micronas.graph.read import read
    from micronas.hardware.board import Board
    from micronas.profile import profile as measure
    from micronas.terminal import profile_table

    target = Board.load(board)
    if network.suffix in (".yaml", ".yml"):
        described = measure(Architecture.load(network).graph(), target)
    else:
        data = _model_bytes(network)
        described = measure(read(data), target, flash_bytes=len(data))
    if as_json:
        _print_json(described)
        return
    typer.echo(profile_table(described))


@app.command()
def verify(
    model: Annotated[Path, typer.Argument(help="A .tflite file or a run folder.")],
    samples: Annotated[int, typer.Option(min=1, help="Random inputs to compare on.")] = 100,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Run a network on TFLM and compare every output byte with integer execution."""
    import numpy as np

    from micronas.export import verify as runtimes
    from micronas.graph.read import read
    from micronas.terminal import pairs

    data = _model_bytes(model)
    graph = read(data)
    shape = (samples, *graph.tensors[graph.inputs[0]].shape[1:])
    inputs = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    checked = runtimes.verify(data, inputs)
    arena = runtimes.tflm_arena(data)
    litert = runtimes.litert_run(data, inputs).reshape(samples, -1).astype(int)
    tflm = runtimes.tflm_run(data, inputs).reshape(samples, -1)
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
