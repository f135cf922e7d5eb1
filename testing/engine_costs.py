"""What a generated network takes: predicted from shapes, and measured on an emulated Cortex-M4."""

import tempfile
from dataclasses import replace
from pathlib import Path

from micronas.engine.generate import generate
from micronas.graph.ir import Graph
from micronas.hardware.targets import MICRONAS
from testing.engine import build, on_core, sections, typical
from testing.m4_cycles import cost_of


def shapes_of(graph: Graph) -> Graph:
    """Return a network without weights and quantisation; tables such as axes stay."""
    biases = {name for op in graph.ops for name in op.biases}
    return replace(
        graph,
        tensors={
            name: replace(
                tensor,
                quantization=None,
                data=tensor.data if tensor.dtype == "int32" and name not in biases else None,
            )
            for name, tensor in graph.tensors.items()
        },
    )


def measured(graph: Graph) -> dict[str, int]:
    """Compile and run a network; return what it takes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        program, given = build(graph, folder), typical(graph)
        on_core(program, given, graph)
        cost = cost_of(program, "net_invoke", [folder / "examples"])
        files = generate(graph, "net")
        flash = sum(sections(folder / "net.o"))
    return {
        "arena": files.arena + files.state,
        "flash": flash,
        "instructions": cost.instructions,
        "cycles": cost.cycles,
    }


def predicted(graph: Graph) -> dict[str, float]:
    """Return the same, of shapes alone where the network has no more."""
    counted = MICRONAS.features(graph)
    return {
        "arena": MICRONAS.plan(graph).total,
        "flash": MICRONAS.model_bytes(graph),
        "instructions": counted["instructions"],
        "cycles": counted["cycles"],
    }
