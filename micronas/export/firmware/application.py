"""Sources of a program from samples to events: front end, network and decision."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from micronas.errors import ConfigError, ExportError
from micronas.export.firmware.front_ends.front_end import FrontEnd, literal
from micronas.export.firmware.shared import SKETCHES, ProjectKind, quoted, texts
from micronas.graph.ir import Graph, Quantization, Tensor
from micronas.graph.streaming import streams
from micronas.resources import filled
from micronas.streaming.events import Detector

_SOURCES: Mapping[ProjectKind, str] = {
    **dict.fromkeys(SKETCHES, "sketch_serial.ino.in"),
    "esp-idf": "source_espidf.in",
    "zephyr": "source_zephyr.in",
}

_MOST_DIGITS, _LARGEST = 9, 2e9
"""Most digits after the point of a value, and the largest whole number with all its digits."""


@dataclass(frozen=True)
class Value:
    """Report of an output as a value, at every inference."""

    mean: float
    """Value of an output of 0."""
    deviation: float
    """Difference of the value per 1 of output."""
    unit: str = ""


@dataclass(frozen=True)
class Application:
    """Parts of a program around the network."""

    front_end: FrontEnd
    labels: Sequence[str]
    """Labels in the order of the outputs; numbers where the model has none."""
    decision: Detector | Value
    source: str = ""
    """Source of the thresholds, for a comment."""
    frames: int | None = None
    """Frames per call of a streaming network, which are the rows of the front end's inputs; None
    where each call computes a window."""

    def on(self, engine: str | None, graph: Graph) -> "Application":
        """Return the application on an engine, where a streaming network takes frames per call.

        Raises ConfigError if the network streams and its detector has a gate, which would drop
        frames.
        """
        if engine != "micronas" or self.front_end.pace is None or not streams(graph):
            return self
        if isinstance(self.decision, Detector) and self.decision.gate:
            raise ConfigError(
                "a streaming network needs every frame, but its detector has a gate of "
                f"{self.decision.gate}; delete detector.json and choose without --gate, or take "
                "--engine tflm, which computes windows"
            )
        rows = self.stride
        return replace(self, front_end=self.front_end.of_rows(rows), frames=rows)

    def files(self, graph: Graph, kind: ProjectKind, values: Mapping[str, str]) -> dict[str, str]:
        """Return the sources by name.

        Raises ExportError if the network has several inputs or outputs, or they have another size.
        """
        source, target = self._ends(graph)
        output = target.quantization
        assert source.quantization is not None, "the network is int8"
        assert output is not None, "the network is int8"
        labels = self.labels or [str(number) for number in range(target.elements)]
        is_value = isinstance(self.decision, Value)
        values = {**values, "LABELS": texts(labels), **self._decided(output)}
        stride = {} if self.front_end.pace is None else {"STRIDE": str(self.stride)}
        values["INPUT"] = filled(f"input_{self._senses}.h.in", stride)
        files = self.front_end.files(source.quantization)
        files["decision.h"] = filled(f"decision_{'value' if is_value else 'events'}.h.in", values)
        shared = ("input.h", "listen.h", "ring.h", *(() if is_value else ("detector.h",)))
        files |= {name: filled(f"{name}.in", values) for name in shared}
        if kind == "cmake":
            files["app.cc"] = filled("app.cc.in", values)
        return files

    @property
    def stride(self) -> int:
        """Rows of the front end from one inference to the next; 1 for pictures."""
        own = self.decision.hop if isinstance(self.decision, Detector) else 0
        pace = self.front_end.pace
        return self.frames or own or (1 if pace is None else pace.stride)

    def _decided(self, output: Quantization) -> dict[str, str]:
        """Return the values of the template of ``decision.h``."""
        decided, scale, zero = self.decision, float(output.scale[0]), int(output.zero_point)
        if isinstance(decided, Detector):
            limits = ("kNever" if each is None else str(each) for each in decided.thresholds)
            return {
                "SCALE": literal(np.float32(scale)),
                "ZERO": str(zero),
                "SOURCE": f"; chosen {self.source}" if self.source else "",
                "THRESHOLDS": ", ".join(limits),
                "EXCLUSIVE": str(decided.exclusive).lower(),
                "SMOOTHING": str(decided.smoothing),
                "CONFIRM": str(decided.confirm),
                "REFRACTORY": str(decided.refractory),
                "GATE": str(decided.gate),
                "HOLD": str(decided.hold),
                "BEFORE": "ahead by " if decided.exclusive else "code ",
            }
        step = scale * decided.deviation
        first = decided.mean - step * zero
        digits = 0
        if step > 0:
            room = math.log10(_LARGEST / (abs(first) + 128 * step))
            digits = max(0, min(_MOST_DIGITS, math.floor(room), math.ceil(-math.log10(step))))
        return {
            "STEP": literal(np.float32(step * 10**digits)),
            "FIRST": literal(np.float32(first * 10**digits)),
            "DIGITS": str(digits),
            "POWER": str(10**digits),
            "UNIT": quoted(f" {decided.unit}" if decided.unit else ""),
        }

    def listening(self, kind: ProjectKind) -> str:
        """Return the part of a program with one entry that listens after the check."""
        sensor = {"audio": "microphone", "image": "camera", "series": "sensors"}[self._senses]
        source = filled(_SOURCES[kind], {"SENSOR": sensor})
        if self._senses == "audio" and kind in SKETCHES:
            source = filled("sketch_microphone.ino.in", {"SERIAL": source})
        return filled("listening.in", {"SOURCE": source})

    @property
    def _senses(self) -> str:
        """Word in the names of templates, one for all front ends that read samples alike."""
        return "audio" if self.front_end.samples == "int16" else self.front_end.kind

    def _ends(self, graph: Graph) -> tuple[Tensor, Tensor]:
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise ExportError(
                "a front end feeds a network of one input and one output, but this one has "
                f"{len(graph.inputs)} and {len(graph.outputs)}; write the project without it"
            )
        source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
        reads = (self.frames or source.shape[1]) * math.prod(source.shape[2:])
        if reads != self.front_end.codes:
            raise ExportError(
                f"a front end must give as many codes as the network reads, but gives "
                f"{self.front_end.codes} of {reads}; export the network of this front end"
            )
        if self.labels and len(self.labels) != target.elements:
            raise ExportError(
                f"a network must have an output for each label, but has {target.elements} of "
                f"{len(self.labels)}; export it with its own labels"
            )
        return source, target


@dataclass(frozen=True)
class Program:
    """Task of a program at its start."""

    header: str
    function: str
    """C function that does it and returns whether it succeeded."""
    says: str
    """Comment on it."""


CHECK = Program(
    "check.h", "SayCheck", "Prints PASS if this board computes what was promised, or FAIL"
)


def program_files(
    kind: ProjectKind,
    values: Mapping[str, str],
    program: Program,
    application: Application | None = None,
) -> dict[str, str]:
    """Return the entry of a program of a kind, and its build files."""
    values = {**values, "HEADER": program.header, "PROGRAM": program.function, "SAYS": program.says}
    if kind == "cmake":
        own = ("console.cc", "main.cc", "CMakeLists.txt")
        return {name: filled(f"{name}.in", values) for name in own}
    headers = [program.header, *(["listen.h"] if application else [])]
    return {f"{values['NAME']}.ino": sketch(values, headers, program, application, kind)}


def sketch(
    values: Mapping[str, str],
    headers: Sequence[str],
    program: Program,
    application: Application | None,
    kind: ProjectKind,
) -> str:
    """Return a program with one entry and one loop, for Arduino, ESP-IDF or Zephyr."""
    listens = application is not None
    template = "sketch.ino.in" if kind in SKETCHES else f"{kind}_main.cc.in"
    return filled(
        template,
        {
            **values,
            "SAYS": program.says,
            "THEN": ", then every event it hears" if listens else "",
            "INCLUDES": "\n".join(f'#include "{each}"' for each in headers),
            "LISTENING": "" if application is None else application.listening(kind),
            "START": f"if ({program.function}()) StartListening()"
            if listens
            else f"{program.function}()",
            "LOOP": " Listen(); " if listens else "",
        },
    )


def sources_of(
    application: Application | None, name: str, sources: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return the values of build files and sketches that depend on an application, or on none."""
    files = (*sources, *(() if application is None else ("front_end.c",)))
    values = {
        "NAME": name,
        "SOURCES": " ".join(files),
        "OBJECTS": "".join(f" $(BUILD)/{Path(each).stem}.o" for each in files),
    }
    if application is None:
        return {**values, **dict.fromkeys(("PROGRAMS", "PHONY", "SAY", "APP"), "")}
    say = (
        "comma := ,\nspace := $() $()\n"
        "say: $(BUILD)/app.elf\n"
        "\t$(QEMU) -semihosting-config enable=on,target=native,arg=app$(subst $(space),,$(foreach "
        "FILE,$(wildcard $(FILES)),$(comma)arg=$(FILE))) -kernel $<\n\n"
    )
    return {
        **values,
        "PROGRAMS": f"if(MICRONAS_SOURCES)\n  add_firmware({name}-app app.cc)\nendif()\n",
        "PHONY": " say",
        "SAY": say,
        "APP": " $(BUILD)/app.elf",
    }
