"""The command that replays long recordings: listen."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from micronas.cli.ending import stoppable
from micronas.cli.shared import Json, Quiet, show

if TYPE_CHECKING:
    from micronas.runs.listen import Listened


def listen(
    run: Annotated[Path, typer.Argument(help="A run folder or a .tflite file.")],
    recordings: Annotated[
        list[Path],
        typer.Argument(help="Long sound files or CSV files of sensors, or folders of them."),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV file: recording, label, start, end in seconds of sound or readings."
        ),
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(min=0, help="Choose thresholds for at most this many false alarms per hour."),
    ] = None,
    misses: Annotated[
        float | None,
        typer.Option(
            min=0, max=100, help="Choose thresholds for at most this share of misses, in per cent."
        ),
    ] = None,
    hop: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows of the front end (20 ms of speech) or readings between inferences."
        ),
    ] = None,
    gate: Annotated[
        float | None,
        typer.Option(
            min=0, help="Skip inferences while sound is this many dB below the quietest label."
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=1e-6, help="Readings per second, where no file gives it.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Runtime of the network, tflm or micronas; by default the run's."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Replay long recordings as on the device; choose its thresholds.

    Prints each event with its time; with --labels also false alarms per hour and misses, and with
    --false-alarms or --misses a threshold for each label, which export then writes into firmware.
    """
    from micronas.progress import Bars
    from micronas.runs.listen import listen as replay
    from micronas.runs.listen import require_run
    from micronas.runs.marks import read_marks

    wanted = (false_alarms, misses) != (None, None)
    if wanted:
        require_run(run)
    with stoppable("nothing was written"), Bars(quiet=quiet or as_json) as bars:
        found = replay(
            run,
            recordings,
            marked=None if labels is None else read_marks(labels),
            false_alarms=false_alarms,
            misses=None if misses is None else misses / 100,
            hop=hop,
            gate_db=gate,
            rate_hz=rate,
            engine=engine,
            progress=bars,
        )
    written = found.write() if wanted else None
    described = {**found.described(), "written": None if written is None else str(written)}
    show(described, as_json, lambda: _text(found, written))


def _text(found: "Listened", written: Path | None) -> str:
    from micronas.runs.listen import table

    lines = [table(found)]
    if written is not None:
        lines.append(f"written: {written}; export writes it into firmware")
    return "\n".join(lines)
