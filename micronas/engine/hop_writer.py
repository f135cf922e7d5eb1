"""Write a streaming int8 network as C99, whose calls take some frames each."""

from micronas.engine import c_text
from micronas.engine.generate import Files, constants, kernel_files, preamble, references_of
from micronas.engine.hops import PROGRESS, WORK, Hops
from micronas.engine.kernels import Makers, maker_of
from micronas.engine.tables import HopTables
from micronas.errors import ConfigError
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import scale, zero_point
from micronas.resources import filled

_MOST = 2**15 - 1
"""Largest number in a turn, int16 in C."""


def generate_hops(
    graph: Graph, name: str = "model", *, hop: int, makers: Makers = maker_of, work: int = 0
) -> Files:
    """Return a streaming network in C that takes `hop` frames per call.

    Scores are those of the int8 graph over the whole recording (`graph.streaming.recording`).
    Between calls a program may overwrite `work` bytes of the arena, aligned to 4; see also
    `micronas.engine.generate.generate`.

    Raises
    ------
    ModelError, ExportError
        See `micronas.engine.generate.generate`.
    ConfigError
        If the graph does not stream, or a call takes too many frames.
    """
    check_int8(graph)
    name, hops = c_text.identifier(name), Hops(graph, hop, makers, work=work)
    references, tables = references_of(hops), HopTables(hops)
    longest = max(hops.first, *map(len, hops.turns), *map(hops.scores, range(len(hops.turns))))
    if longest > _MOST:
        raise ConfigError(
            f"a call must have no more than {_MOST:,} frames, steps or scores, but one of {hop:,} "
            f"frames has {longest:,}; take fewer frames"
        )
    calls = [call for calls in hops.calls for call in calls]
    parts = [
        preamble(name, calls, references, hops.place_bytes, len(tables.outside)),
        *kernel_files(calls, ["shift"]),
    ]
    written: dict[str, str] = {}
    for number, (step, each) in enumerate(zip(hops.steps, hops.calls, strict=True)):
        parts += constants(hops.graph, number, step, each, hops.roots, written)
    values = {
        "NAME": name,
        "UPPER": name.upper(),
        "PROGRESS": hops.places[PROGRESS],
        "TURNS": len(hops.turns),
        "FIRST": hops.first,
        "ROWS_AT_FIRST": hops.rows_at_first,
        "SCORES": hops.output_row,
        "OUTSIDE": ", ".join(tables.outside),
    }
    return Files(
        name,
        _header(name, hops),
        "\n\n".join([*parts, tables.text, filled("engine/hop.c.in", values)]),
        hops.plan.size,
        hops.plan.bound,
        ("INPUT",),
        ("OUTPUT",),
        0,
        references,
    )


def _header(name: str, hops: Hops) -> str:
    source, output = (hops.graph.tensors[each] for each in hops.graph.inputs + hops.graph.outputs)
    most = max(hops.scores(turn) for turn in range(len(hops.turns)))
    work = ""
    if WORK in hops.places:
        work = (
            "/* Memory that a program may overwrite between calls. */\n"
            f"#define {name.upper()}_WORK_OFFSET {hops.places[WORK]}\n"
        )
    values = {
        "NAME": name,
        "UPPER": name.upper(),
        "HOP": hops.hop,
        "STATE": hops.state_bytes,
        "ABOVE": hops.plan.size - hops.plan.bound,
        "BOUND": hops.plan.bound,
        "ARENA": hops.plan.size,
        "WORK": work,
        "STRIDE": hops.stride,
        "MOST": most,
        "SOURCE": c_text.comment(source.name),
        "FRAME": hops.input_row,
        "INPUT_BYTES": hops.hop * hops.input_row,
        "INPUT_SCALE": float(scale(source)),
        "INPUT_ZERO_POINT": zero_point(source),
        "OUTPUT": c_text.comment(output.name),
        "ROW": hops.output_row,
        "OUTPUT_BYTES": most * hops.output_row,
        "OUTPUT_SCALE": float(scale(output)),
        "OUTPUT_ZERO_POINT": zero_point(output),
    }
    return filled("engine/hop.h.in", values)
