"""Replay long recordings as on the device: front end in C, network in integers, detector."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from micronas.errors import ConfigError, DataError
from micronas.files import write_atomically
from micronas.progress import Progress, nobody
from micronas.runs.ear import Ear
from micronas.runs.folder import DETECTOR, METRICS
from micronas.runs.marks import Marked, assigned, foreign, is_marks
from micronas.streaming.events import Detector
from micronas.streaming.thresholds import SHAPES, Choice, Heard, Outcome, choose, judge
from micronas.tasks.recorded import files
from micronas.text import listed, percent
from micronas.text import table as text_table

_VERSION = 1


class Reported(NamedTuple):
    """An event as firmware reports it."""

    recording: str
    label: str
    position: int
    """Begin of the event, in milliseconds of sound or in readings."""
    score: int


@dataclass(frozen=True)
class Listened:
    """Result of replaying recordings."""

    run: Path
    detector: Detector
    labels: tuple[str, ...]
    unit: str
    """Unit of positions, as in firmware: ``ms`` or ``readings``."""
    recordings: int
    hours: float | None
    """Duration of the recordings; None where the rate of readings is unknown."""
    silent: float
    """Share of inferences skipped by the gate."""
    events: tuple[Reported, ...]
    outcome: Outcome | None = None
    """Misses and false alarms; None without labels."""
    choice: Choice | None = None
    shown: Mapping[str, Any] | None = None
    """Some seconds for the report, see `micronas.runs.stored.Listening`."""
    notes: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        found: dict[str, Any] = {
            "recordings": self.recordings,
            "hours": self.hours,
            "silent": self.silent,
            "unit": self.unit,
            "events": [event._asdict() for event in self.events],
            "detector": {**self.detector.plain(), "labels": list(self.labels)},
            "notes": list(self.notes),
        }
        if self.outcome is not None:
            found |= _figures(self.outcome)
        if self.choice is not None:
            held_out = self.choice.held_out
            found |= {
                "held_out": None if held_out is None else _figures(held_out),
                "curve": [
                    {**_figures(outcome), "thresholds": list(detector.thresholds)}
                    for detector, outcome in self.choice.curve
                ],
            }
        return found

    def write(self) -> Path:
        """Write the detector into the run for `export`; return the file.

        Raises ConfigError if the run is no finished run folder.
        """
        require_run(self.run)
        described = {key: value for key, value in self.described().items() if key != "events"}
        content = {"version": _VERSION, **described, "shown": self.shown}
        path = self.run / DETECTOR
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
        return path


def require_run(run: Path) -> None:
    """Raise ConfigError if `run` is no finished run folder, into which thresholds are written."""
    if not (run / METRICS).is_file():
        raise ConfigError(
            f"thresholds are written into a finished run, but {str(run)!r} is none; listen with a "
            "run folder"
        )


def _figures(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "missed": outcome.missed, "false_alarms_per_hour": outcome.per_hour}


def listen(
    run: Path,
    recordings: Sequence[Path],
    *,
    marked: Sequence[Marked] | None = None,
    false_alarms: float | None = None,
    misses: float | None = None,
    hop: int | None = None,
    gate_db: float | None = None,
    rate_hz: float | None = None,
    engine: str | None = None,
    progress: Progress = nobody,
) -> Listened:
    """Replay recordings through a run's front end and int8 network, and return its events.

    Raises ConfigError if the network predicts values, or the meaning of its input is unknown;
    DataError if there are no recordings, or none can be read (one that cannot is named in `notes`);
    ExportError if there is no C compiler.

    Parameters
    ----------
    marked
        Occurrences of labels, see `micronas.runs.marks.read_marks`; required for the curve of
        misses.
    false_alarms, misses
        Wanted false alarms per hour, or share of misses, for which thresholds, smoothing and
        confirmation are chosen, see `micronas.streaming.thresholds.choose`; by default the run's.
    hop
        Rows of the front end (20 ms of speech) or readings from one inference to the next; by
        default the run's.
    gate_db
        Level in dB below the quietest marked occurrence under which inferences are skipped.
    rate_hz
        Readings per second, where the model does not give it.
    """
    if marked is None and (false_alarms, misses, gate_db) != (None, None, None):
        raise ConfigError(
            "a detector must be chosen on recordings whose events are known, but --labels is left "
            "out; name a CSV file with the columns recording, label, start and end"
        )
    ear = Ear(run, hop, rate_hz, engine)
    if gate_db is not None and ear.frames is not None:
        raise ConfigError(
            "a network that streams must hear every frame, but --gate lets it rest; leave --gate "
            "out"
        )
    if marked is not None and ear.rate is None:
        raise ConfigError(
            "false alarms are counted by the hour, but the model does not say how many readings a "
            "second has; give --rate"
        )
    paths = [path for path in files(recordings, ear.meaning) if not is_marks(path)]
    if not paths:
        raise DataError(
            f"there must be recordings to listen to, but {listed(map(str, recordings))} holds "
            "none; name another file or folder"
        )
    occurring, elsewhere = assigned(paths, marked or ())
    others = foreign(marked or (), ear.labels)
    heard, ends, unread = [], [], dict[Path, DataError]()
    for number, path in enumerate(paths):
        progress("listening", number, len(paths), {})
        try:
            samples = ear.read(path)
        except DataError as error:
            unread[path] = error
            continue
        made, places = ear.hear(path, samples, occurring.get(path, ()))
        heard.append(made)
        ends.append(places)
    progress("listening", len(paths), len(paths), {})
    if not heard:
        raise unread[paths[0]]
    paths = [path for path in paths if path not in unread]
    detector, choice, outcome = ear.detector, None, None
    if gate_db is not None:
        detector = _gated(detector, heard, gate_db, ear.stays)
    if marked is not None:
        is_wanted = (false_alarms, misses) != (None, None)
        shapes = SHAPES if is_wanted else ((detector.smoothing, detector.confirm),)
        choice = choose(heard, detector, false_alarms=false_alarms, misses=misses, shapes=shapes)
        if is_wanted:
            detector = choice.detector
        else:
            choice = replace(choice, held_out=None)  # of other thresholds than the detector's
        outcome = judge(detector, heard)
    unheard = [path.name for path, each in zip(paths, heard, strict=True) if not len(each.codes)]
    is_open = np.concatenate([detector.is_open(each.levels) for each in heard])
    return Listened(
        run,
        detector,
        ear.labels,
        ear.unit,
        len(paths),
        sum(each.hours for each in heard) if ear.rate else None,
        float(1 - is_open.mean()) if len(is_open) else 0.0,
        tuple(
            Reported(
                str(path), ear.labels[event.label], ear.position(places[event.hop]), event.score
            )
            for path, each, places in zip(paths, heard, ends, strict=True)
            for event in detector.events(each.codes, each.levels)
        ),
        outcome,
        choice,
        None if choice is None else ear.shown(paths, heard, ends, detector, occurring),
        (
            *_note(f"{len(elsewhere)} lines of --labels are of other recordings", elsewhere),
            *_note("no labels of the network", others),
            *_note("too short for an inference", unheard),
            *(f"left out: {error}" for error in unread.values()),
        ),
    )


def _note(said: str, names: Sequence[str]) -> list[str]:
    return [f"{said}: {listed(dict.fromkeys(names))}"] if names else []


def table(found: Listened) -> str:
    """Return events, one per line, and their misses and false alarms."""
    lines = [
        f"{event.recording}: {event.label} at {event.position} {found.unit} ({event.score})"
        for event in found.events
    ]
    length = "" if found.hours is None else f" of {found.hours:.3g} h"
    silent = f", {percent(found.silent)} of the inferences spared" if found.silent else ""
    lines.append(f"{len(found.events)} events in {found.recordings} recordings{length}{silent}")
    lines += found.notes
    if found.choice is None or found.outcome is None:
        return "\n".join(lines)
    header = ("misses", "false alarms", "an hour")
    rows = [
        (f"{percent(each.missed)}", str(each.false_alarms), f"{each.per_hour:.3g}")
        for _, each in found.choice.curve
    ]
    lines += ["", text_table(header, rows), "", f"this detector   {_said(found.outcome)}"]
    if found.choice.held_out is not None:
        lines.append(f"on others       {_said(found.choice.held_out)}")
    thresholds = zip(found.labels, found.detector.thresholds, strict=True)
    shown = [f"{label} {each}" for label, each in thresholds if each is not None]
    shape = found.detector
    lines.append(
        f"thresholds      {', '.join(shown)}; smoothing {shape.smoothing}, "
        f"confirm {shape.confirm}, gate {shape.gate}"
    )
    return "\n".join(lines)


def _said(outcome: Outcome) -> str:
    return (
        f"{outcome.misses} of {outcome.occurrences} missed ({percent(outcome.missed)}), "
        f"{outcome.false_alarms} false alarms ({outcome.per_hour:.3g} an hour)"
    )


def _gated(
    detector: Detector, recordings: Sequence[Heard], decibels: float, stays: int
) -> Detector:
    """Return a detector whose gate is `decibels` below the quietest occurrence."""
    loudest = [
        int(heard.levels[each.first : each.last + 1].max())
        for heard in recordings
        for each in heard.occurrences
        if detector.thresholds[each.label] is not None and each.first <= each.last
    ]
    level = min(loudest, default=0) / 10 ** (decibels / 20)
    return replace(detector, gate=int(level), hold=stays)
