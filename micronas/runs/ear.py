"""Front end in C, int8 network and detector of a run, on recordings as in firmware."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from micronas.errors import ConfigError, DataError
from micronas.export.firmware.application import Value
from micronas.export.firmware.front_ends.front_end import Array
from micronas.export.firmware.host import OnHost
from micronas.export.firmware.runtime import engine_of
from micronas.graph import integer
from micronas.graph.kernels.codes import Values
from micronas.graph.streaming import recording, timings
from micronas.objectives.mistakes import mu_law
from micronas.runs.device import device, meaning_of
from micronas.runs.folder import model_file
from micronas.runs.marks import Marked
from micronas.space.load import model_bytes
from micronas.streaming.events import Detector, Integers
from micronas.streaming.thresholds import Heard, Occurrence
from micronas.tasks.recorded import whole
from micronas.tflite.reader import read

_BATCH = 256
_SHOWN_S = 15.0
_SHOWN_INPUTS = 20
"""Length of shown sensor data, in whole inputs."""
_SHOWN_LABELS = 6


class Ear:
    """A run's front end, network and detector, as in firmware."""

    def __init__(
        self, run: Path, hop: int | None, rate_hz: float | None, engine: str | None = None
    ) -> None:
        data = model_bytes(model_file(run))
        self._graph = read(data)
        found = device(run, data, self._graph)
        known = found.application
        if known is None or known.front_end.pace is None or isinstance(known.decision, Value):
            raise ConfigError(
                "a network that listens must tell labels of sound or of sensors, and its file must "
                f"say what its input is, but {run} is none of these; name another run"
            )
        detector, self.pace = known.decision, known.front_end.pace
        self._stride = hop or detector.hop or self.pace.stride
        self.stays = -(-self.pace.whole // (self.pace.row * self._stride))
        """Number of hops whose input includes a given sample."""
        if hop is not None:
            hold = self.stays if detector.gate else detector.hold
            detector = replace(detector, hop=hop, hold=hold)
        self.detector = detector
        self.meaning = meaning_of(run, data)
        self.labels = tuple(known.labels or map(str, range(len(detector.thresholds))))
        known = replace(known, decision=detector).on(engine_of(engine or found.engine), self._graph)
        self.frames = known.frames
        """Frames of a call of a network that streams; None of one that computes windows."""
        own = self.pace.rate or self.meaning.get("rate_hz")
        if rate_hz is not None and own:
            raise ConfigError(
                "--rate is for a network that does not say how many readings a second has, but "
                f"{run} says {own:g}; leave it out"
            )
        self.rate = own or rate_hz
        self.unit = "readings" if self.pace.rate is None else "ms"
        self._front_end, self._calls = known.front_end, known.front_end.pace
        given = self._graph.tensors[self._graph.inputs[0]]
        assert given.quantization is not None, "the network is int8"
        self._shape = given.shape[1:]
        self._none = np.zeros((0, len(self.labels)), np.int8)
        self._compiled = OnHost(known.front_end, given.quantization)

    def read(self, path: Path) -> Array:
        """Return the samples of a recording; raise DataError where it cannot be read."""
        return whole(path, self.meaning, self._front_end)

    def hear(
        self, path: Path, samples: Array, occurring: Sequence[Marked]
    ) -> tuple[Heard, list[int]]:
        """Run the network on a recording; return also the number of samples read at each hop."""
        codes, ends = self._windows(samples) if self.frames is None else self._streamed(samples)
        unit, most = self.pace.rate or 1, len(samples) + self.pace.whole  # an end may be rounded
        times = "seconds" if self.pace.rate else "whole numbers of readings"
        for each in occurring:
            lies = each.start * unit < len(samples) and each.end * unit <= most
            counts = bool(self.pace.rate) or not (each.start % 1 or each.end % 1)
            if not (lies and counts):
                raise DataError(
                    f"--labels must give {times} within their recording, but {each.label} begins "
                    f"at {each.start:g} and ends at {each.end:g}, and {path} ends at "
                    f"{len(samples) / unit:g}; mend them"
                )
        heard = Heard(
            codes,
            self._levels(samples, ends),
            len(samples) / (3600 * self.rate) if self.rate else 0.0,
            tuple(
                Occurrence(
                    self.labels.index(each.label),
                    int(np.searchsorted(ends, each.start * unit)),
                    int(np.searchsorted(ends, each.end * unit + self.pace.whole, "right")) - 1,
                )
                for each in occurring
                if each.label in self.labels
            ),
        )
        return heard, ends.tolist()

    def _windows(self, samples: Array) -> tuple[Values, Integers]:
        """Return codes of each window, and how many samples were read at its end."""
        ends = self.pace.ends(len(samples), self._stride)
        inputs = self._compiled.stream(samples, ends).reshape(-1, *self._shape)
        codes = [
            integer.run(self._graph, inputs[start : start + _BATCH]).reshape(-1, len(self.labels))
            for start in range(0, len(inputs), _BATCH)
        ]
        return np.concatenate([self._none, *codes]), np.array(ends, np.int64)

    def _streamed(self, samples: Array) -> tuple[Values, Integers]:
        """Return the latest codes of each call that gives some, and the samples read by then."""
        assert self._calls is not None
        assert self.frames is not None
        ends = self._calls.ends(len(samples), self.frames)
        frames = self._compiled.stream(samples, ends).reshape(-1, *self._shape[1:])
        when = timings(self._graph)[self._graph.outputs[0]]
        codes = [self._none]
        for first in range(0, when.rows(len(frames)), _BATCH):
            begin = first * when.stride
            part = frames[begin : begin + (_BATCH - 1) * when.stride + when.reach]
            rows = integer.run(recording(self._graph, len(part)), part[None])
            codes.append(rows.reshape(-1, len(self.labels)))
        rows_by = np.array([max(0, when.rows(self.frames * call)) for call in range(len(ends) + 1)])
        gives = np.diff(rows_by) > 0
        return np.concatenate(codes)[rows_by[1:][gives] - 1], np.array(ends, np.int64)[gives]

    def shown(
        self,
        paths: Sequence[Path],
        heard: Sequence[Heard],
        ends: Sequence[Sequence[int]],
        detector: Detector,
        occurring: Mapping[Path, Sequence[Marked]],
    ) -> dict[str, Any] | None:
        """Return scores, events and sound around the first event of the recording with the most."""
        events = [detector.events(each.codes, each.levels) for each in heard]
        number = max(range(len(paths)), key=lambda place: len(events[place]))
        if not events[number]:
            return None
        path, unit = paths[number], self.pace.rate or 1
        samples = self.read(path)
        # seconds of sound, or readings
        end = ends[number][events[number][0].hop] / unit
        length = _SHOWN_S if self.pace.rate else _SHOWN_INPUTS * self.pace.whole
        begin = max(0.0, end - length / 3)
        scores = detector.scores(heard[number].codes, heard[number].levels)[0]
        hops = [
            hop for hop, place in enumerate(ends[number]) if 0 <= place / unit - begin <= length
        ]
        near = [each for each in events[number] if each.hop in set(hops)]
        # those with an event, then those of the largest score
        order = np.argsort(-scores[hops].max(axis=0), kind="stable").tolist()
        labels = list(dict.fromkeys([*(each.label for each in near), *order]))[:_SHOWN_LABELS]
        part = samples[int(begin * unit) : int((begin + length) * unit)]
        return {
            "recording": path.name,
            "unit": "s" if self.pace.rate else "readings",
            "begin": begin,
            "times": [round(ends[number][hop] / unit, 3) for hop in hops],
            "series": [
                {
                    "label": self.labels[label],
                    "threshold": detector.thresholds[label],
                    "scores": scores[hops, label].tolist(),
                }
                for label in labels
            ],
            "events": [
                {"label": self.labels[each.label], "at": ends[number][each.hop] / unit}
                for each in near
            ],
            "marks": [
                {"label": each.label, "start": each.start, "end": each.end}
                for each in occurring.get(path, ())
                if begin <= each.start <= begin + length
            ],
            "sound": mu_law(part / 32768.0) if self.pace.rate else None,
        }

    def position(self, samples: int) -> int:
        """Return a position in a recording as firmware reports it."""
        return samples if self.pace.rate is None else 1000 * samples // self.pace.rate

    def _levels(self, samples: Array, ends: Integers) -> Integers:
        """Return the mean of absolute new samples of each input, rounded down; 0 for sensors."""
        if self.pace.rate is None or not len(ends):
            return np.zeros(len(ends), np.int64)
        # -32768, which int16 leaves as it is, is 32768 in uint16
        sizes = np.abs(samples[: ends[-1]]).view(np.uint16)
        total = np.add.reduceat(sizes, [0, *ends[:-1]], dtype=np.int64)
        return total // np.diff(ends, prepend=0)
