"""The command that simulates an expert store."""

from pathlib import Path
from typing import Annotated, Any

import typer

from micronas.cli.shared import Json, show


def simulate(
    host: Annotated[str, typer.Option(help="Bound of the host's memory, such as 64GB.")],
    disk_bw: Annotated[str, typer.Option(help="From the disk to the host, such as 2GB/s.")],
    trace: Annotated[
        Path | None, typer.Option(help="Requests: CSV or JSON lines with `expert`.")
    ] = None,
    zipf: Annotated[
        float | None, typer.Option(help="Draw requests with this exponent instead; 0: uniform.")
    ] = None,
    experts: Annotated[int, typer.Option(help="Experts that are drawn.")] = 50,
    requests: Annotated[int, typer.Option(help="Requests that are drawn.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    size: Annotated[str | None, typer.Option(help="Bytes of every expert, such as 1GB.")] = None,
    sizes: Annotated[
        Path | None, typer.Option(help="YAML of expert: size, the most popular first.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Bound of the device's memory.")] = None,
    host_bw: Annotated[str | None, typer.Option(help="From the host to the device.")] = None,
    batch: Annotated[
        int, typer.Option(help="Requests that wait at a time and are grouped by expert.")
    ] = 1,
    patience: Annotated[int, typer.Option(help="Most batches that overtake a request.")] = 16,
    pin: Annotated[
        list[str] | None, typer.Option(help="Expert, or router, that stays; repeatable.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Time of a request itself: 50ms.")] = None,
    warmup: Annotated[int, typer.Option(help="First requests, which are not counted.")] = 0,
    as_json: Json = False,
) -> None:
    """Say what tiers of memory would do with a trace: hits, bytes, time; LRU beside Belady."""
    settings: dict[str, Any] = {**locals(), "pin": tuple(pin or ())}
    del settings["as_json"]
    from micronas.router.store.scenario import Scenario, outcomes_table
    from micronas.settings import validate_settings

    outcomes = validate_settings(settings, Scenario, source="simulate").simulate()
    show([each.values() for each in outcomes], as_json, lambda: outcomes_table(outcomes))
