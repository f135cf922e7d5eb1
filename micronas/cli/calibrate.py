"""Make a latency model of a board: calibrate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from micronas.cli.shared import Json, show
from micronas.errors import ConfigError

if TYPE_CHECKING:
    from micronas.hardware.board import Board

_Quantity = str | None


def calibrate(
    source: Annotated[Path, typer.Argument(help="CSV of model,latency_ms, or a plan's folder.")],
    board: Annotated[str | None, typer.Option(help="Name of the board to describe.")] = None,
    sram: Annotated[_Quantity, typer.Option(help="SRAM of the board, e.g. 256KB.")] = None,
    flash: Annotated[_Quantity, typer.Option(help="Flash of the board, e.g. 1MB.")] = None,
    clock: Annotated[_Quantity, typer.Option(help="Clock, e.g. 80MHz.")] = None,
    power: Annotated[
        float | None, typer.Option(help="Power while computing, in mW; or measure energy_mj.")
    ] = None,
    core: Annotated[str, typer.Option(help="Core, e.g. Cortex-M4.")] = "not given",
    kernels: Annotated[
        str, typer.Option(help="Kernels, e.g. TFLM + CMSIS-NN; or micronas, the engine.")
    ] = "not given",
    out: Annotated[
        Path | None, typer.Option(help="YAML file of the board; by default NAME.yaml here.")
    ] = None,
    plan: Annotated[
        int | None,
        typer.Option(min=1, help="Number of networks to write, with firmware to time them."),
    ] = None,
    spaces: Annotated[str, typer.Option(help="Search spaces to plan with.")] = "kws,ad,vww",
    arduino: Annotated[
        bool, typer.Option("--arduino", help="Plan sketches instead of CMake.")
    ] = False,
    from_log: Annotated[
        Path | None, typer.Option(help="Output of the plan's firmware on the serial port.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Time the plan on this machine: litert or tflm.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a latency model of your board: plan networks, measure them, fit, write its YAML.

    1. micronas calibrate plan --plan 12 --sram 256KB --flash 1MB

    2. run the firmware in plan on the board and save its output

    3. micronas calibrate plan --from-log uart.txt --board NAME --sram 256KB --flash 1MB --clock
    80MHz

    4. micronas search kws board=NAME.yaml ...
    """
    steps = {"--plan": plan, "--from-log": from_log, "--host": host}
    asked = [name for name, value in steps.items() if value is not None]
    if len(asked) > 1:
        raise ConfigError(
            f"a plan is written or timed once per command, but got {' and '.join(asked)}; give one "
            "after another"
        )
    from micronas.hardware.targets import choose
    from micronas.quantities import parse

    target = choose(kernels, core).target
    sizes = [None if size is None else parse(size, "bytes") for size in (sram, flash)]
    clock_hz = None if clock is None else parse(clock, "hertz")
    if plan is not None:
        from micronas.calibration.plan import write_plan

        written = write_plan(
            source,
            plan,
            spaces=spaces.split(","),
            sram_bytes=sizes[0],
            flash_bytes=sizes[1],
            kind="arduino" if arduino else "cmake",
            target=target,
        )
        firmware = sorted(path.name for path in source.glob("firmware*"))
        show(
            {"folder": str(source), "networks": len(written), "firmware": firmware},
            as_json,
            lambda: f"{source}: {len(written)} networks, timed on a board by {', '.join(firmware)}",
        )
        return
    from micronas.calibration.collect import collect

    table = collect(source, log=from_log, host=host, clock_hz=clock_hz, board=board)
    if board is None:
        if table == source:
            raise ConfigError("a calibration must name its board, but does not; add --board NAME")
        show(
            {"file": str(table)},
            as_json,
            lambda: f"{table}: times of {source}; add --board NAME to fit them",
        )
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
        read_measurements(table, locate=model_file, target=target),
        name=board,
        sram_bytes=sizes[0],
        flash_bytes=sizes[1],
        clock_hz=clock_hz,
        core=core,
        power_mw=power,
        kernels=kernels,
    )
    file = out or Path(f"{board}.yaml")
    _check_loses_nothing(file, calibration.board)
    calibration.board.save(file)
    from micronas.calibration.report import calibration_report

    show(
        {"file": str(file), **calibration.view()},
        as_json,
        lambda: f"{calibration_report(calibration)}\n{file}: use it as board={file}",
    )


def _check_loses_nothing(file: Path, board: "Board") -> None:
    """Refuse to replace a file that holds more than an earlier fit of the same board."""
    from micronas.hardware.board import Board

    if not file.exists():
        return
    try:
        fitted = {"form": board.form, "latency": board.latency}
        if Board.load(file).model_copy(update=fitted) == board:
            return
    except ConfigError:
        pass  # no board at all
    raise ConfigError(
        f"a calibration replaces only an earlier fit of the same board, but {file} holds something "
        "else; name another file with --out, or delete it"
    )
