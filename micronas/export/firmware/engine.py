"""Networks as generated C, without an interpreter."""

from collections.abc import Mapping

import numpy as np

from micronas.engine.generate import Files, generate
from micronas.engine.hop_writer import generate_hops
from micronas.export.firmware.runtime import Runtime, Tensors
from micronas.export.firmware.shared import SKETCHES, ProjectKind
from micronas.graph import integer
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import Values
from micronas.graph.streaming import recording, timings
from micronas.resources import filled
from micronas.tflite.reader import read

_CLOCKS: Mapping[ProjectKind, tuple[str, str, str]] = {
    "cmake": ("<ctime>", "static_cast<unsigned>(std::clock())", "CLOCKS_PER_SEC"),
    **dict.fromkeys(SKETCHES, ("<Arduino.h>", "static_cast<unsigned>(micros())", "1000000")),
    "esp-idf": ("<esp_timer.h>", "static_cast<unsigned>(esp_timer_get_time())", "1000000"),
    "zephyr": (
        "<zephyr/kernel.h>",
        "k_cycle_get_32()",
        "static_cast<unsigned>(sys_clock_hw_cycles_per_sec())",
    ),
}
"""Clocks of processors without a counter of cycles: header, ticks, ticks per second."""


class _Generated(Runtime):
    """Runtime of networks in generated C99."""

    def values(self) -> dict[str, str]:
        header, ticks, rate = _CLOCKS[self.kind]
        empty = ("MADE", "GIVEN", "MADEFOR", "GIVENFOR", "RUNTIME", "MAKES", "INCLUDE")
        return {
            **dict.fromkeys(empty, ""),
            "CMAKE": "Needs nothing but a compiler.",
            "LIBRARY": ".",
            "NEEDS": "// Needs no library.",
            "CLOCK": header,
            "TICKS": ticks,
            "RATE": rate,
        }


class OnEngine(_Generated):
    """Runtime of networks with at most `most` bytes of arena, as in `generate`."""

    def __init__(
        self, models: Mapping[str, bytes], kind: ProjectKind, what: str, *, most: int | None
    ) -> None:
        super().__init__(models, kind, what)
        self._generated = {
            name: generate(read(model), name, most=most) for name, model in models.items()
        }
        self.sources = tuple(f"{each.name}.c" for each in self._generated.values())

    def files(self, *, works: bool) -> dict[str, str]:
        generated = self._generated.values()
        values = {
            "WHAT": self.what,
            "INCLUDES": "\n".join(
                f'#include "{name}.h"'
                for name in (["input"] if works else []) + [each.name for each in generated]
            ),
            "PLACES": "\n".join(_places(each) for each in generated),
            "MODELS": "\n".join(_model(each) for each in generated),
            "ARENA": str(max(each.arena for each in generated)),
            "WORK": "sizeof(Input::Work)" if works else "0",
        }
        return {
            "network.h": filled("network_engine.h.in", values),
            **{f"{each.name}.h": each.header for each in generated},
            **{f"{each.name}.c": each.source for each in generated},
        }


class OnHops(_Generated):
    """Runtime of one streaming network, whose calls compute the rows that `frames` complete.

    Its arena holds `work` bytes of the front end's memory.
    """

    def __init__(
        self, models: Mapping[str, bytes], kind: ProjectKind, what: str, *, frames: int, work: int
    ) -> None:
        super().__init__(models, kind, what)
        ((name, model),) = models.items()
        self._files = generate_hops(read(model), name, hop=frames, work=work)
        self._frames, self._work = frames, work
        self.sources = (f"{self._files.name}.c",)

    def files(self, *, works: bool) -> dict[str, str]:
        name = self._files.name
        values = {
            "WHAT": self.what,
            "NAME": name,
            "UPPER": name.upper(),
            "WORK": str(self._work if works else 0),
            "OFFSET": f"{name.upper()}_WORK_OFFSET" if works else "0",
        }
        return {
            "network.h": filled("network_hops.h.in", values),
            f"{name}.h": self._files.header,
            f"{name}.c": self._files.source,
        }

    def golden(self, graph: Graph, inputs: Mapping[str, Values]) -> tuple[Tensors, Tensors]:
        """Return frames for the calls until the first scores, by repeating the input, and these."""
        ((name, window),) = inputs.items()
        (output,) = graph.outputs
        calls = -(-timings(graph)[output].reach // self._frames)
        frames = np.resize(window[0], (calls * self._frames, *window.shape[2:]))
        scores = integer.run(recording(graph, len(frames)), frames[None])
        return {name: frames}, {output: scores.reshape(-1, *graph.tensors[output].shape[1:])[-1:]}


def _places(files: Files) -> str:
    upper = files.name.upper()
    lists = (
        f"constexpr Place {files.name}_{role}s[] = {{\n"
        + "\n".join(f"    {{{upper}_{word}_OFFSET, {upper}_{word}_BYTES}}," for word in words)
        + "\n};"
        for role, words in (("input", files.inputs), ("output", files.outputs))
    )
    state = [f"inline {files.name}_state {files.name}_kept;"] if files.state else []
    return "\n".join([*lists, *state])


def _model(files: Files) -> str:
    upper, name = files.name.upper(), files.name
    given = [f"at + {upper}_{word}_OFFSET" for word in (*files.inputs, *files.outputs)]
    given += ["at"] + ([f"&{name}_kept"] if files.state else [])
    reset = f"{name}_reset(&{name}_kept); " if files.state else ""
    return (
        f"    {{[](std::int8_t* at) {{ {reset}return {name}_invoke({', '.join(given)}); }},\n"
        f"     {name}_inputs, {name}_outputs, {len(files.inputs)}, {upper}_ARENA_BYTES}},"
    )
