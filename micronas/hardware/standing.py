"""How a network stands on a board: its costs, those of its calls, and its budget."""

from typing import Any

from micronas.graph.ir import Graph
from micronas.graph.streaming import streams, timings
from micronas.hardware.board import Board
from micronas.hardware.code import operators_of
from micronas.hardware.costs import Budget, Costs, estimates, on_device
from micronas.hardware.front_ends import FrontEndCosts
from micronas.hardware.listening import (
    Listening,
    between_calls,
    call_ms,
    hopped_on,
    joules_per_hour,
)
from micronas.hardware.targets import TFLM


def standing(
    graph: Graph,
    board: Board,
    costs: Costs,
    *,
    kind: str | None,
    budget: Budget | None,
    front_end: FrontEndCosts | None,
) -> dict[str, Any]:
    """Return the costs of a network and what its budget says of them; keys of `metrics.json`.

    Where the budget has a hop, `costs` are those of the longest call.
    """
    budget = budget or Budget()
    given = budget.listening(front_end)
    calls = listening(graph, board, front_end, given=given, latency_ms=costs.latency_ms)
    operators, beside = operators_of(graph), between_calls(front_end, graph, board, given)
    limits = budget.on(board, operators=operators, front_end=beside)
    device = on_device(board, operators, beside, costs)
    return {
        "board": board.name,
        "engine": board.engine or TFLM,
        **figures(costs),
        "arena_is_upper_bound": board.arena.is_upper_bound,
        "arena_assumes": board.arena.assumes,
        "latency_form": board.latency_model(kind).form,
        "budget": limits.given(),
        "used": limits.used(costs),
        "fits": limits.fits(costs),
        "fits_estimates": estimates(board, limits, kind=kind),
        "device": {**device, "beside": vars(limits.beside)},
        "listening": calls,
    }


def figures(costs: Costs) -> dict[str, Any]:
    """Return the counts of a network by their names in `metrics.json`."""
    names = (
        *("macs", "ops", "flash_bytes", "arena_bytes", "arena_head_bytes", "host_arena_bytes"),
        *("host_arena_head_bytes", "latency_ms", "energy_mj"),
    )
    return {name: getattr(costs, name) for name in names}


def listening(
    graph: Graph,
    board: Board,
    front_end: FrontEndCosts | None,
    *,
    given: Listening | None,
    latency_ms: float,
) -> dict[str, Any] | None:
    """Return the costs of a network that listens all the time; None for one that does not.

    It is called every `given` frames, or for each of its scores if it streams; `latency_ms` is of
    a whole window.
    """
    frames, frame_ms = (given.frames, given.frame_ms) if given else (None, None)
    stride = timings(graph)[graph.outputs[0]].stride if streams(graph) else None
    frames = frames or stride
    if frames is None:
        return None
    if frame_ms is None and front_end is not None:
        frame_ms = front_end.frame_ms
    hopped = hopped_on(graph, board, frames)
    found: dict[str, Any] = {
        "hop_frames": frames,
        "frame_ms": frame_ms,
        "stride_frames": stride,
        "computes": "new rows" if hopped else "windows",
        "mean_ms": latency_ms,
        "worst_ms": latency_ms,
    }
    if hopped is not None:
        found |= {
            "mean_ms": call_ms(board, hopped.mean),
            "worst_ms": call_ms(board, hopped.worst),
            "instructions": round(hopped.mean.instructions),
            "worst_instructions": round(hopped.worst.instructions),
            "arena_bytes": hopped.plan.total,
            "state_bytes": hopped.plan.tail,
            "flash_bytes": hopped.flash_bytes,
        }
    found["load"] = found["mean_ms"] / (frames * frame_ms) if frame_ms else None
    energy = joules_per_hour(board, found["load"]) if frame_ms else None
    return found | {"energy_j_per_hour": energy}
