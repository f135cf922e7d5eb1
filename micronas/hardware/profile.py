"""Costs of a network on a board, layer by layer. Imports no torch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from micronas.graph.averages import pool_window
from micronas.graph.builder import Builder
from micronas.graph.counts import OpCount, count, per_op
from micronas.graph.ir import Graph, Op
from micronas.graph.operators import WEIGHTED
from micronas.graph.streaming import streams, timings
from micronas.hardware.board import Board, LatencyModel
from micronas.hardware.code import operators_of
from micronas.hardware.costs import Budget, Costs, Limits, estimates, on_device
from micronas.hardware.features import (
    COVERED,
    CYCLES,
    INSTRUCTIONS,
    OTHER_INSTRUCTIONS,
    features,
    of_instructions,
)
from micronas.hardware.front_ends import FrontEndCosts, front_end_costs
from micronas.hardware.instructions import Price
from micronas.hardware.latency import CONSTANT, LinearLatency
from micronas.hardware.listening import (
    Listening,
    between_calls,
    call_ms,
    hopped_on,
    joules_per_hour,
)
from micronas.hardware.targets import TFLM, Target
from micronas.quantities import format_bytes, format_macs
from micronas.text import html_table, percent


class Profile(dict[str, Any]):
    """Costs by name; a notebook shows them layer by layer."""

    def _repr_html_(self) -> str:
        rows = [
            (
                layer["name"],
                layer["op"],
                format_macs(layer["macs"]),
                format_bytes(layer["live_bytes"]),
                percent(layer["latency_share"]),
            )
            for layer in self["layers"]
        ]
        title = (
            f"{self['board']}: {self['latency_ms']:.1f} ms ({self['latency_status']}), arena "
            f"{format_bytes(self['arena_bytes'])}, flash {format_bytes(self['flash_bytes'])}"
        )
        return html_table(("layer", "op", "MACs", "live", "time"), rows, title=title)


def profile(
    graph: Graph,
    board: Board,
    *,
    kind: str | None = None,
    flash_bytes: int | None = None,
    meaning: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
) -> Profile:
    """Count a network's costs; keys are those of `metrics.json`.

    UNKNOWN operators of unknown cost are listed, never guessed: they are left out of MACs and
    latency. A known operator to which the board's latency model was not fitted is priced from above
    and flagged as extrapolated. Arenas are those of `Board.arena`: `arena_is_upper_bound` and
    `arena_assumes` mark those of another target than the board. `fits_estimates` names the limits
    that `fits` judges by estimates.

    Parameters
    ----------
    graph
        Network; its shapes are enough.
    kind
        Search space or task of the network, for the board's latency model of that kind.
    flash_bytes
        Size of the model file, where one exists; otherwise that of the file it would become. An
        engine without an interpreter ignores it.
    meaning
        Meaning of the input, as stored in the model file, by which the front end is counted.
    budget
        Limits to fit; the board's own when left out.
    """
    counts, target = count(graph), board.target
    size = flash_bytes
    if size is None or not target.reads_file:
        size = target.model_bytes(graph)
    on_board, on_host = target.plan(graph), target.on_host.plan(graph)
    priced = target.prices(graph)
    latency = board.latency_ms(features(graph, priced), space=kind)
    model = board.latency_model(kind)
    milliseconds = _milliseconds(graph, priced, model)
    live = on_board.live_bytes(len(graph.ops))
    peak = max(live, default=0)
    unknown = Counter(op.name for op in graph.ops if op.kind == "UNKNOWN")
    excluded = {
        op.name if op.kind == "UNKNOWN" else op.kind
        for op, each in zip(graph.ops, priced, strict=True)
        if _is_left_out(op, each, model)
    }
    layers = [
        _layer(graph, op, each, used, peak)
        for op, each, used in zip(graph.ops, per_op(graph), live, strict=True)
    ]
    for layer, op, cost, taken in zip(layers, graph.ops, priced, milliseconds, strict=True):
        layer["latency_share"] = taken / latency if latency else 0.0
        layer["instructions"] = None if cost is None else round(cost.instructions)
        if _is_extrapolated(op, cost, model) and not _is_left_out(op, cost, model):
            layer["flags"].append("extrapolated")
    operators, front_end = operators_of(graph), _front_end(graph, meaning)
    budget = budget or Budget()
    given = budget.listening(front_end)
    calls = listening(graph, board, front_end, given=given, latency_ms=latency)
    front_end = between_calls(front_end, graph, board, given)
    device = {
        "flash_bytes": size,
        "arena_bytes": on_board.required,
        "tail_bytes": on_board.tail,
        "latency_ms": latency,
    }
    if given is not None and calls is not None and "arena_bytes" in calls:
        device = {
            "flash_bytes": calls["flash_bytes"],
            "arena_bytes": calls["arena_bytes"],
            "tail_bytes": calls["state_bytes"],
            "latency_ms": calls["worst_ms"],
        }
    described: dict[str, Any] = {
        "board": board.name,
        "engine": board.engine or TFLM,
        "inputs": _interface(graph, graph.inputs),
        "outputs": _interface(graph, graph.outputs),
        "macs": counts.macs,
        "ops": counts.ops,
        "flash_bytes": size,
        "arena_bytes": on_board.total,
        "arena_head_bytes": on_board.head,
        "arena_required_bytes": on_board.required,
        "host_arena_bytes": on_host.total,
        "host_arena_head_bytes": on_host.head,
        "device": on_device(board, operators, front_end, **device),
        "latency_ms": latency,
        "latency_form": model.form,
        "latency_status": model.status,
        "latency_within": model.within,
        "latency_excludes": sorted(excluded),
        "energy_mj": board.energy_mj(latency),
        "arena_is_lower_bound": not on_board.complete,
        "arena_is_upper_bound": board.arena.is_upper_bound,
        "arena_assumes": board.arena.assumes,
        "int4_layers": sum("int4" in layer["flags"] for layer in layers),
        "unknown_ops": dict(sorted(unknown.items())),
        "pooling": _pooling(graph, target, model),
        "layers": layers,
        "listening": calls,
    }
    if INSTRUCTIONS in board.forms or not target.reads_file:
        described["instructions"] = round(sum(each.instructions for each in priced if each))
    limits = budget.on(board, operators=operators, front_end=front_end)
    doubtful = estimates(board, limits, kind=kind)
    within = _within(described, limits, is_called=budget.hop is not None)
    return Profile(described | within, fits_estimates=doubtful)


def on_boards(
    graph: Graph,
    boards: Sequence[Board],
    *,
    kind: str | None = None,
    flash_bytes: int | None = None,
    meaning: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the costs that differ between boards: fit, latency and energy of the network."""
    described = [
        profile(graph, board, kind=kind, flash_bytes=flash_bytes, meaning=meaning)
        for board in boards
    ]
    keys = (
        "board",
        "fits",
        "fits_estimates",
        "arena_is_upper_bound",
        "arena_assumes",
        "latency_ms",
        "latency_form",
        "latency_status",
        "latency_within",
        "energy_mj",
    )
    return [{key: each[key] for key in keys} for each in described]


def _front_end(graph: Graph, meaning: Mapping[str, Any] | None) -> FrontEndCosts | None:
    """Return the costs of the front end, where the input's shape is that of one."""
    shape = graph.tensors[graph.inputs[0]].shape
    if meaning and len(shape) == 4:
        return front_end_costs(meaning, (shape[1], shape[2], shape[3]))
    return None


def listening(
    graph: Graph,
    board: Board,
    front_end: FrontEndCosts | None,
    *,
    given: Listening | None,
    latency_ms: float,
) -> dict[str, Any] | None:
    """Return the costs of a network that listens all the time; None for one that does not.

    Parameters
    ----------
    given
        Frames of a call; left out, a network that streams is called for each of its scores.
    latency_ms
        Time of one inference of a whole window.
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


def _within(described: Mapping[str, Any], limits: Limits, *, is_called: bool) -> dict[str, Any]:
    """Return the limits, the used share of each, and whether the network fits.

    ``fits`` is None where only lower bounds are known and fit.

    Parameters
    ----------
    is_called
        Whether the limits are those of a network that listens.
    """
    costs = Costs(
        has_int4=described["int4_layers"] > 0,
        **{each.name: described[each.name] for each in fields(Costs) if each.name in described},
    )
    calls = described["listening"]
    if is_called:
        costs = replace(costs, load=calls["load"], energy_j_per_hour=calls["energy_j_per_hour"])
    if is_called and "arena_bytes" in calls:
        arena = calls["arena_bytes"]
        costs = replace(
            costs,
            flash_bytes=calls["flash_bytes"],
            arena_bytes=arena,
            arena_head_bytes=arena - calls["state_bytes"],
            arena_required_bytes=arena,
            host_arena_bytes=arena,
            latency_ms=calls["worst_ms"],
        )
    fits = limits.fits(costs)
    return {
        "budget": limits.given(),
        "used": limits.used(costs),
        "fits": None if fits and described["arena_is_lower_bound"] else fits,
    }


def _milliseconds(graph: Graph, priced: Sequence[Price | None], model: LatencyModel) -> list[float]:
    """Return each operator's part of the latency in ms; an intercept belongs to none."""
    linear = LinearLatency(
        {term: cost for term, cost in model.coefficients.items() if term != CONSTANT}
    )
    pairs = list(zip(graph.ops, priced, strict=True))
    if linear.coefficients.keys() <= {INSTRUCTIONS, OTHER_INSTRUCTIONS, CYCLES}:  # no counts
        found = (of_instructions((op,), (cost,)) for op, cost in pairs)
    else:
        found = (features(graph, (cost,), (op,)) for op, cost in pairs)
    return [float(linear.predict(each)) for each in found]


def _is_left_out(op: Op, cost: Price | None, model: LatencyModel) -> bool:
    """Return whether the latency leaves an operator out."""
    return cost is None or (op.kind not in COVERED and not model.prices_all)


def _is_extrapolated(op: Op, cost: Price | None, model: LatencyModel) -> bool:
    """Return whether the latency model was fitted to no operator of this kind."""
    if cost is None:
        return False
    return cost.extrapolated or (
        model.form not in (INSTRUCTIONS, "cycles") and op.kind not in COVERED
    )


def _pooling(graph: Graph, target: Target, model: LatencyModel) -> list[dict[str, Any]]:
    """Return what AVERAGE_POOL_2D saves against MEAN over a whole map, or would save before it.

    A MEAN is compared only where the exporter would pool: over few values pooling saves nothing.
    """
    compared = []
    pooled = {op.outputs[0] for op in graph.ops if op.kind == "AVERAGE_POOL_2D"}
    for op in graph.ops:
        if op.kind not in ("AVERAGE_POOL_2D", "MEAN") or len(graph.input_of(op).shape) != 4:
            continue
        _, height, width, depth = graph.input_of(op).shape
        is_global = graph.output_of(op).elements == depth
        if not is_global or (op.kind == "AVERAGE_POOL_2D" and op.window != (height, width)):
            continue
        size = height, width
        window = size if op.kind == "AVERAGE_POOL_2D" else pool_window(size)
        if window == (1, 1) or op.inputs[0] in pooled:
            continue
        parts = height // window[0], width // window[1]
        pool, mean = Builder((height, width, depth)), Builder((height, width, depth))
        last = pool.pool(pool.input, "pool", "AVERAGE_POOL_2D", window, stride=window)
        fast = pool.finish(pool.mean(last, "mean") if parts != (1, 1) else last)
        both = fast, mean.finish(mean.mean(mean.input, "mean"))
        fewer, more = (target.features(each)[INSTRUCTIONS] for each in both)
        rate = model.ms_per_instruction
        compared.append(
            {
                "layer": op.name,
                "op": op.kind,
                "window": list(window),
                "parts": list(parts),
                "mean_instructions": round(more),
                "average_pool_instructions": round(fewer),
                "difference_ms": None if rate is None else (more - fewer) * rate,
            }
        )
    return compared


def _interface(graph: Graph, names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"name": name, "shape": list(graph.tensors[name].shape)} for name in names]


def _layer(graph: Graph, op: Op, counted: OpCount, live: int, peak: int) -> dict[str, Any]:
    weights = graph.constant_of(op) if op.kind in WEIGHTED else None
    is_unknown = op.kind == "UNKNOWN"
    kernel: tuple[int, ...] | None = None
    if weights is not None and len(weights.shape) == 4:
        kernel = weights.shape[1:3]
    elif op.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        kernel = op.window
    # graphs without data are float32 and become int8
    dtype = None if weights is None else "int4" if weights.dtype == "int4" else "int8"
    is_int4 = dtype == "int4"
    flags = {"unknown": is_unknown, "int4": is_int4, "peak": live == peak}
    return {
        "name": next(iter(op.outputs), op.name) if is_unknown else op.name,
        "op": op.name if is_unknown else op.kind,
        "output": list(counted.output_shape),
        "kernel": None if kernel is None else list(kernel),
        "stride": None if kernel is None else list(op.stride),
        "weights_dtype": dtype,
        "macs": counted.macs,
        "weights_bytes": counted.weights_bytes,
        "live_bytes": live,
        "flags": [name for name, holds in flags.items() if holds],
    }
