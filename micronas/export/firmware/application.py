"""From samples to events: the sources of a program around front end, network and decision."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from micronas.errors import ExportError
from micronas.export.firmware.front_ends.front_end import FrontEnd, literal
from micronas.export.firmware.shared import SKETCHES, ProjectKind, filled, quoted, texts
from micronas.graph.ir import Graph, Quantization, Tensor

_SOURCES: Mapping[ProjectKind, str] = {
    **dict.fromkeys(SKETCHES, "sketch_serial.ino.in"),
    "esp-idf": "source_espidf.in",
    "zephyr": "source_zephyr.in",
}

_MOST_DIGITS = 4
"""Behind the point of a value."""


@dataclass(frozen=True)
class DecisionRule:
    """When a label is believed."""

    margin: int = 0
    """Codes by which the best label has to lead the next."""
    smoothing: int = 1
    """Inferences whose scores are averaged."""
    source: str = ""
    """Where the margin comes from, as a comment says it."""
    ignored: tuple[str, ...] = ()
    """Labels of nothing, such as silence: they make no event."""
    refractory: int = 3
    """Inferences in a row without an event's label after which the event is over."""
    kind: Literal["best", "each", "value"] = "best"
    """What is told of outputs: the label that leads, each label over its threshold, or a value."""
    thresholds: tuple[int, ...] = ()
    """Of each label, in codes; without any, labels are told that are likelier than not."""
    mean: float = 0.0
    """Of a value: what an output of 0 stands for."""
    deviation: float = 1.0
    """Of a value: what an output of 1 is beyond that."""
    unit: str = ""


@dataclass(frozen=True)
class Application:
    """Parts of a program around the network."""

    front_end: FrontEnd
    labels: Sequence[str]
    """In the order of the outputs; numbers where the model has none."""
    decision: DecisionRule = DecisionRule()

    def files(self, graph: Graph, kind: ProjectKind, values: Mapping[str, str]) -> dict[str, str]:
        """Return the sources by name.

        Raises
        ------
        ExportError
            If the network has several inputs or outputs, or another size of either.
        """
        source, target = self._ends(graph)
        output = target.quantization
        assert source.quantization is not None, "the network is int8"
        assert output is not None, "the network is int8"
        labels = self.labels or [str(number) for number in range(target.elements)]
        ignored = (str(label in self.decision.ignored).lower() for label in labels)
        values = {
            **values,
            "LABELS": texts(labels),
            "SCALE": literal(np.float32(output.scale[0])),
            "ZERO": str(int(output.zero_point)),
            "SMOOTHING": str(self.decision.smoothing),
            "MARGIN": str(self.decision.margin),
            "SOURCE": f" ({self.decision.source})" if self.decision.source else "",
            "IGNORED": ", ".join(ignored),
            "REFRACTORY": str(self.decision.refractory),
            **self._told(output),
            "INPUT": filled(f"input_{self._senses}.h.in", {}),
        }
        files = self.front_end.files(source.quantization)
        files["decision.h"] = filled(f"decision_{self.decision.kind}.h.in", values)
        files |= {name: filled(f"{name}.in", values) for name in ("input.h", "listen.h")}
        if kind == "cmake":
            files["app.cc"] = filled("app.cc.in", values)
        return files

    def _told(self, output: Quantization) -> dict[str, str]:
        """Return what templates say of thresholds and of values."""
        decided, zero = self.decision, int(output.zero_point)
        count = len(self.labels)
        step = float(output.scale[0]) * decided.deviation
        digits = max(0, min(_MOST_DIGITS, math.ceil(-math.log10(step)))) if step > 0 else 0
        first = decided.mean - step * zero
        return {
            "THRESHOLDS": ", ".join(map(str, decided.thresholds or (zero + 1,) * count)),
            "STEP": literal(np.float32(step * 10**digits)),
            "FIRST": literal(np.float32(first * 10**digits)),
            "DIGITS": str(digits),
            "POWER": str(10**digits),
            "UNIT": quoted(f" {decided.unit}" if decided.unit else ""),
        }

    def listening(self, kind: ProjectKind) -> str:
        """Return what a program does after its check, where it has one entry: it listens."""
        sensor = {"audio": "microphone", "image": "camera", "series": "sensors"}[self._senses]
        source = filled(_SOURCES[kind], {"SENSOR": sensor})
        if self._senses == "audio" and kind in SKETCHES:
            source = filled("sketch_microphone.ino.in", {"SERIAL": source})
        return filled("listening.in", {"SOURCE": source})

    @property
    def _senses(self) -> str:
        """One word for all front ends that read samples alike, as templates are named."""
        return "audio" if self.front_end.samples == "int16" else self.front_end.kind

    def _ends(self, graph: Graph) -> tuple[Tensor, Tensor]:
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise ExportError(
                "a front end feeds a network of one input and one output, but this one has "
                f"{len(graph.inputs)} and {len(graph.outputs)}; write the project without it"
            )
        source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
        if math.prod(source.shape) != self.front_end.codes:
            raise ExportError(
                f"a front end must give as many codes as the network reads, but gives "
                f"{self.front_end.codes} of {source.elements}; export the network of this front end"
            )
        if self.labels and len(self.labels) != target.elements:
            raise ExportError(
                f"a network must have an output for each label, but has {target.elements} of "
                f"{len(self.labels)}; export it with its own labels"
            )
        return source, target


@dataclass(frozen=True)
class Program:
    """What a program does first."""

    header: str
    function: str
    """Returns whether all is well."""
    says: str


CHECK = Program(
    "check.h", "SayCheck", "Prints PASS if this board computes what was promised, or FAIL"
)


def program_files(
    kind: ProjectKind,
    values: Mapping[str, str],
    program: Program,
    application: Application | None = None,
) -> dict[str, str]:
    """Return where a program of a kind begins, and what builds it."""
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
    """Return a program with one entry and one loop: of Arduino, ESP-IDF or Zephyr."""
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
    """Return what build files and sketches say of an application, or of none.

    Parameters
    ----------
    name
        Of the program.
    sources
        Files of C that both programs have.
    """
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
