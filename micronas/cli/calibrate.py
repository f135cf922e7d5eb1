"""The command that makes a latency model for the board on the desk."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from micronas.cli.shared import Json, print_json
from micronas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from micronas.calibration.fit import Calibration

_Quantity = str | None


def calibrate(
    source: Annotated[Path, typer.Argument(help="A CSV of model,latency_ms; or a plan's folder.")],
    board: Annotated[str | None, typer.Option(help="Name of the board to describe.")] = None,
    sram: Annotated[_Quantity, typer.Option(help="All of the board's, e.g. 256KB.")] = None,
    flash: Annotated[_Quantity, typer.Option(help="All of the board's, e.g. 1MB.")] = None,
    clock: Annotated[_Quantity, typer.Option(help="E.g. 80MHz.")] = None,
    power: Annotated[
        float | None, typer.Option(help="mW while it computes; or measure energy_mj.")
    ] = None,
    core: Annotated[str, typer.Option(help="E.g. Cortex-M4.")] = "not given",
    kernels: Annotated[str, typer.Option(help="E.g. TFLM + CMSIS-NN.")] = "not given",
    out: Annotated[Path | None, typer.Option(help="The board's YAML; NAME.yaml here.")] = None,
    plan: Annotated[
        int | None, typer.Option(min=1, help="Write so many networks and firmware to time them.")
    ] = None,
    spaces: Annotated[str, typer.Option(help="Search spaces to plan with.")] = "kws,ad,vww",
    arduino: Annotated[bool, typer.Option("--arduino", help="Plan sketches, not CMake.")] = False,
    from_log: Annotated[
        Path | None, typer.Option(help="What the plan's firmware printed on the serial port.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Time the plan on this machine: litert or tflm.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a latency model of your board: plan networks, measure them, fit, get its YAML.

    1. micronas calibrate plan --plan 12 --sram 256KB --flash 1MB

    2. run plan/firmware on the board and save what it prints

    3. micronas calibrate plan --from-log uart.txt --board NAME --sram 256KB --flash 1MB --clock
    80MHz

    4. micronas search kws board=NAME.yaml ...
    """
    from micronas.quantities import parse

    sizes = [None if size is None else parse(size, "bytes") for size in (sram, flash)]
    clock_hz = None if clock is None else parse(clock, "hertz")
    if plan is not None:
        networks = _write_plan(
            source, plan, spaces.split(","), sizes, "arduino" if arduino else "cmake"
        )
        firmware = sorted(path.name for path in source.glob("firmware*"))
        if as_json:
            print_json({"folder": str(source), "networks": networks, "firmware": firmware})
        else:
            typer.echo(
                f"{source}: {networks} networks; {', '.join(firmware)} prints their times on a "
                "board"
            )
        return
    table = _measured(source, from_log, host, clock_hz)
    if board is None:
        if table == source:
            raise ConfigError("a calibration must name its board, but does not; add --board NAME")
        if as_json:
            print_json({"file": str(table)})
        else:
            typer.echo(f"{table}: times of {source}; add --board NAME to fit them")
        return
    if sizes[0] is None or sizes[1] is None or clock_hz is None:
        raise ConfigError(
            "a board must have its sizes and its clock, but some are missing; add --sram 256KB "
            "--flash 1MB --clock 80MHz"
        )
    from micronas.calibration import fit as fitting
    from micronas.calibration.measurements import read_measurements
    from micronas.runs.folder import model_file

    calibration = fitting.calibrate(
        read_measurements(table, locate=model_file),
        name=board,
        sram_bytes=sizes[0],
        flash_bytes=sizes[1],
        clock_hz=clock_hz,
        core=core,
        power_mw=power,
        kernels=kernels,
    )
    target = out or Path(f"{board}.yaml")
    calibration.board.save(target)
    if as_json:
        print_json(_view(calibration, target))
        return
    from micronas.text import calibration_report

    typer.echo(calibration_report(calibration))
    typer.echo(f"{target}: use it as board={target}")


def _write_plan(
    folder: Path, count: int, spaces: list[str], sizes: list[float | None], kind: Any
) -> int:
    from micronas.calibration.plan import write_plan

    written = write_plan(
        folder, count, spaces=spaces, sram_bytes=sizes[0], flash_bytes=sizes[1], kind=kind
    )
    return len(written)


def _measured(source: Path, log: Path | None, host: str | None, clock_hz: float | None) -> Path:
    """Return the CSV of measurements; a plan's is completed with times of a log or this host."""
    if source.is_file() and log is None and host is None:
        return source
    from micronas.calibration.measurements import add_times
    from micronas.calibration.plan import MEASUREMENTS, read_plan

    if log is not None:
        from micronas.export.firmware.timing import read_log

        try:
            text = log.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise DataError(f"a log must be a readable text file: {error}") from error
        return add_times(source, read_log(text, clock_hz=clock_hz))
    models = read_plan(source)
    if host is None:
        return source / MEASUREMENTS
    from micronas.calibration.host import Engine, measure_all

    # the engine's name is checked there
    files = {name: path.read_bytes() for name, path in models.items()}
    timed = measure_all(files, engine=cast("Engine", host))
    return add_times(source, {name: timing.median_ms for name, timing in timed.items()})


def _view(calibration: "Calibration", path: Path) -> dict[str, Any]:
    chosen = calibration.fits[calibration.board.form]
    return {
        "file": str(path),
        "board": calibration.board.view(),
        "networks": list(calibration.names),
        "errors": list(chosen.errors),
        "left_out_errors": None if chosen.left_out is None else list(chosen.left_out),
        "learning_percent": calibration.learning,
        "more_networks": calibration.more,
    }
