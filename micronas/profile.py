"""What a network costs on a board, layer by layer. Imports no torch."""

from typing import Any

from micronas.export.tflite import flatbuffer_bytes
from micronas.graph.counts import count, per_op
from micronas.graph.ir import Graph
from micronas.graph.memory import plan
from micronas.hardware.board import Board


def profile(
    graph: Graph, board: Board, *, kind: str | None = None, flash_bytes: int | None = None
) -> dict[str, Any]:
    """Count a network's costs; keys are those of `metrics.json`.

    Parameters
    ----------
    graph
        Shapes are enough.
    kind
        Search space or task the network belongs to, for the board's latency model of that kind.
    flash_bytes
        Size of the model file, where one exists; otherwise that of the file it would become.
    """
    counts = count(graph)
    on_board, on_host = plan(graph, "board"), plan(graph, "host")
    latency = board.latency_ms(counts.features, space=kind)
    layers = [
        {
            "name": each.name,
            "op": each.kind,
            "output": list(each.output_shape),
            "macs": each.macs,
            "weights_bytes": each.weights_bytes,
            "live_bytes": sum(buffer.size for buffer in on_board.live(position)),
        }
        for position, each in enumerate(per_op(graph))
    ]
    return {
        "board": board.name,
        "macs": counts.macs,
        "ops": counts.ops,
        "flash_bytes": flatbuffer_bytes(graph) if flash_bytes is None else flash_bytes,
        "arena_bytes": on_board.total,
        "arena_head_bytes": on_board.head,
        "host_arena_bytes": on_host.total,
        "host_arena_head_bytes": on_host.head,
        "latency_ms": latency,
        "energy_mj": board.energy_mj(latency),
        "layers": layers,
    }
