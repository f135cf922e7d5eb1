"""Firmware that times several networks, and its log."""

import math
import re
from collections.abc import Mapping

from micronas.errors import ConfigError, DataError
from micronas.export.firmware.application import Program, program_files, sources_of
from micronas.export.firmware.engines import runtime
from micronas.export.firmware.runtime import EngineName
from micronas.export.firmware.shared import ProjectKind, check_kind
from micronas.quantities import SLOWEST_HZ
from micronas.resources import filled

_MARK = "micronas-timing"
"""Text in every line with a time, which a logger may prefix."""
_LINE = re.compile(rf"{_MARK}[ \t](?P<text>.*)")
_TIME = re.compile(
    r"(?P<name>\w+) (?P<unit>us|cycles) (?P<value>\d{1,10}) runs \d+(?!\w)", re.ASCII
)
_FAILURE = re.compile(r"(?P<name>\w+) failed: (?P<reason>.*)", re.ASCII)
_LONGEST_QUOTE = 80
_TIMES = Program(
    "timing.h", "SayTimes", "Prints the time of one inference of each network, one a line"
)


def timing_project(
    models: Mapping[str, bytes], name: str, *, kind: ProjectKind, engine: EngineName = "tflm"
) -> dict[str, str]:
    """Return the files of a program that prints the time of one inference of each network.

    Every network runs once to warm up and ten times for the clock. The time is the mean of the
    middle six runs: an interrupt in one of them does not change it, and it is finer than a tick.

    Models are contents of ``.tflite`` files, by a name of letters, digits and underscores; `name`
    is that of the program and of its folder. For kinds and engines see `project.write_project`.
    Raises ExportError if there is no such kind of project, and ModelError if a model is damaged or
    holds operators that micronas lacks.
    """
    check_kind(kind)
    symbols = {f"network{number}": model for number, model in enumerate(models.values(), 1)}
    runs = runtime(engine, symbols, kind, "the largest network")
    values = {
        "MARK": _MARK,
        "NAMES": "\n".join(f'    "{network}",' for network in models),
        **runs.values(),
        **sources_of(None, name, runs.sources),
    }
    return {
        **runs.files(works=False),
        **{each: filled(f"{each}.in", values) for each in ("timing.h", "clock.h", "console.h")},
        **program_files(kind, values, _TIMES),
    }


def read_log(text: str, *, clock_hz: float | None = None) -> dict[str, float]:
    """Return milliseconds of one inference by the network's name, as `timing_project` printed them.

    The log may hold other lines, and several projects one after another; the last time of a network
    counts. Raises DataError if there is no time, a line with one is garbled, or a network failed on
    the board, and ConfigError if times are in cycles and the processor's clock is none, or has no
    unit.
    """
    times: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if (found := _LINE.search(line)) is not None:
            name, milliseconds = _time(found["text"], number, clock_hz)
            times[name] = milliseconds
    if not times:
        raise DataError(
            f"a log must hold lines such as '{_MARK} kws_01 us 12345 runs 10', but none of its "
            f"{len(text.splitlines())} has one; start recording, then reset the board"
        )
    return times


def _time(text: str, number: int, clock_hz: float | None) -> tuple[str, float]:
    """Return name and milliseconds from the text of a line after the mark."""
    if (failure := _FAILURE.match(text)) is not None:
        raise DataError(
            f"every network must run on the board, but line {number} of the log says "
            f"{failure['name']} failed: {_quoted(failure['reason'])}; repair it, or delete the line"
        )
    if (time := _TIME.match(text)) is None:
        raise DataError(
            f"a time must read 'NAME us|cycles NUMBER runs NUMBER', but line {number} of the log "
            f"has {_quoted(text)!r}; delete the line if it was cut, or record again"
        )
    value = int(time["value"])
    if value == 0:
        raise DataError(
            f"a time must be positive, but line {number} of the log has 0 for {time['name']}; "
            "delete the line, and see that the board's clock runs"
        )
    if time["unit"] == "us":
        return time["name"], value / 1e3
    if clock_hz is None or not (math.isfinite(clock_hz) and clock_hz >= SLOWEST_HZ):
        raise ConfigError(
            f"times in cycles need the processor's clock, but line {number} of the log has cycles "
            f"and the clock is {clock_hz}; give it, such as 80 MHz"
        )
    return time["name"], value / clock_hz * 1e3


def _quoted(text: str) -> str:
    """Return the printable rest of garbled text, shortened."""
    return "".join(c if c.isprintable() else "?" for c in text.strip())[:_LONGEST_QUOTE]
