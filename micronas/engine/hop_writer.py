"""Write a streaming int8 network as C99, whose calls take some frames each."""

from micronas._version import VERSION
from micronas.engine import c_text
from micronas.engine.generate import (
    Files,
    constants,
    kernel_files,
    preamble,
    references_of,
    template,
)
from micronas.engine.hops import PROGRESS, WORK, Hops
from micronas.engine.kernels import Makers, maker_of
from micronas.engine.tables import HopTables
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph


def generate_hops(
    graph: Graph, name: str = "model", *, hop: int, makers: Makers = maker_of, work: int = 0
) -> Files:
    """Return a streaming network in C that takes `hop` frames per call.

    Scores are those of the int8 graph over the whole recording (`graph.streaming.recording`).

    Parameters
    ----------
    graph, name, makers
        See `micronas.engine.generate.generate`.
    work
        Bytes of the arena, aligned to 4, that a program may overwrite between calls.

    Raises
    ------
    ModelError, ExportError
        See `micronas.engine.generate.generate`.
    ConfigError
        If the graph does not stream.
    """
    check_int8(graph)
    return _HopWriter(c_text.identifier(name), Hops(graph, hop, makers, work=work)).files()


class _HopWriter:
    def __init__(self, name: str, hops: Hops) -> None:
        self._name, self._hops = name, hops

    def files(self) -> Files:
        hops, references = self._hops, references_of(self._hops)
        tables = HopTables(hops)
        calls = [call for calls in hops.calls for call in calls]
        parts = [
            preamble(self._name, calls, references, hops.place_bytes, len(tables.outside)),
            *kernel_files(calls, ["shift"]),
        ]
        for number, (step, each) in enumerate(zip(hops.steps, hops.calls, strict=True)):
            parts += constants(hops.graph, number, step, each, hops.roots)
        text = template("hop.c.in")
        for key, value in {
            "NAME": self._name,
            "UPPER": self._name.upper(),
            "PROGRESS": str(hops.places[PROGRESS]),
            "TURNS": str(len(hops.turns)),
            "FIRST": str(hops.first),
            "ROWS_AT_FIRST": str(hops.rows_at_first),
            "SCORES": str(hops.output_row),
            "OUTSIDE": ", ".join(tables.outside),
        }.items():
            text = text.replace(f"@{key}@", value)
        return Files(
            self._name,
            self._header(),
            "\n\n".join([*parts, tables.text, text]),
            hops.plan.size,
            hops.plan.bound,
            ("INPUT",),
            ("OUTPUT",),
            0,
            references,
        )

    def _header(self) -> str:
        hops, upper, name = self._hops, self._name.upper(), self._name
        (source,), (output,) = hops.graph.inputs, hops.graph.outputs
        most = max(hops.scores(turn) for turn in range(len(hops.turns)))
        lines = [
            f"/* Written by micronas {VERSION}: a network in C99 that streams, for any core.",
            " *",
            f" * A call of {name}_hop takes {hops.hop} frames and computes rows they complete. The",
            f" * arena is aligned to 4, keeps {hops.state_bytes} bytes from call to call, and is "
            f"{hops.plan.size - hops.plan.bound}",
            f" * bytes above the {hops.plan.bound} that any placement takes. */",
            f"#ifndef MICRONAS_{upper}_H",
            f"#define MICRONAS_{upper}_H",
            "#include <stdint.h>",
            "",
            f"#define {upper}_ARENA_BYTES {hops.plan.size}",
            f"#define {upper}_HOP_FRAMES {hops.hop}",
            *(
                [
                    "/* Memory that a program may overwrite between calls. */",
                    f"#define {upper}_WORK_OFFSET {hops.places[WORK]}",
                ]
                if WORK in hops.places
                else []
            ),
            "/* Frames from scores to scores, and most scores of a call. */",
            f"#define {upper}_STRIDE_FRAMES {hops.stride}",
            f"#define {upper}_MOST_SCORES {most}",
        ]
        rows = {source: ("INPUT", hops.hop), output: ("OUTPUT", most)}
        for tensor, (role, count) in rows.items():
            found = hops.graph.tensors[tensor].quantization
            assert found is not None
            row = f"frames of {hops.input_row}" if role == "INPUT" else f"rows of {hops.output_row}"
            size = hops.input_row if role == "INPUT" else hops.output_row
            lines += [
                "",
                f"/* {c_text.comment(tensor)}, int8, {row}: value = scale * (code - zero point) */",
                f"#define {upper}_{role}_BYTES {count * size}",
                f"#define {upper}_{role}_SCALE {float(found.scale[0])!r}f",
                f"#define {upper}_{role}_ZERO_POINT ({found.zero_point})",
            ]
        return "\n".join(
            [
                *lines,
                "#ifdef __cplusplus",
                'extern "C" {',
                "#endif",
                "/* Forgets all frames; call it before the first. */",
                f"void {name}_reset(void* arena);",
                "/* Returns the number of rows of scores written, or -1 if a pointer is null or",
                " * the arena is not aligned. */",
                f"int {name}_hop(const int8_t* in, int8_t* out, void* arena);",
                "#ifdef __cplusplus",
                "}",
                "#endif",
                "#endif",
                "",
            ]
        )
