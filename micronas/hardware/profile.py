"""Costs of a network on a board, layer by layer. Imports no torch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from micronas.graph.averages import pool_window
from micronas.graph.builder import Builder
from micronas.graph.counts import OpCount, per_op
from micronas.graph.ir import Graph, Op
from micronas.graph.operators import WEIGHTED
from micronas.hardware.board import Board, LatencyModel
from micronas.hardware.costs import Budget, counted, measure
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
from micronas.hardware.standing import figures, standing
from micronas.hardware.targets import HOST, Target
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
    target = board.target
    size = flash_bytes
    if size is None or not target.reads_file:
        size = target.model_bytes(graph)
    on_board, on_host = target.plan(graph), target.on_host.plan(graph)
    of_tflm = on_host if target.reads_file else HOST.plan(graph)
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
        if cost is not None and cost.kernel.startswith("reference_"):
            layer["flags"].append("plain loop")
    window = counted(graph, board, on_board, on_host, size, latency)
    front_end = _front_end(graph, meaning)
    given = (budget or Budget()).listening(front_end)
    costs = window
    if given is not None:
        called = measure(graph, board, kind=kind, listening=given)
        costs = replace(called, flash_bytes=size) if target.reads_file else called
    stands = standing(graph, board, costs, kind=kind, budget=budget, front_end=front_end)
    described: dict[str, Any] = {
        **stands,
        **figures(window),
        "host_arena_bytes": of_tflm.total,
        "host_arena_head_bytes": of_tflm.head,
        "inputs": _interface(graph, graph.inputs),
        "outputs": _interface(graph, graph.outputs),
        "arena_required_bytes": on_board.required,
        "latency_status": model.status,
        "latency_within": model.within,
        "latency_excludes": sorted(excluded),
        "arena_is_lower_bound": not on_board.complete,
        "int4_layers": sum("int4" in layer["flags"] for layer in layers),
        "unknown_ops": dict(sorted(unknown.items())),
        "pooling": _pooling(graph, target, model),
        "layers": layers,
        "fits": None if stands["fits"] and not on_board.complete else stands["fits"],
    }
    if INSTRUCTIONS in board.forms or not target.reads_file:
        described["instructions"] = round(sum(each.instructions for each in priced if each))
    return Profile(described)


def on_boards(
    graph: Graph,
    boards: Sequence[Board],
    *,
    kind: str | None = None,
    flash_bytes: int | None = None,
    meaning: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
) -> list[dict[str, Any]]:
    """Return the costs that differ between boards: fit, latency and energy of the network."""
    described = [
        profile(graph, board, kind=kind, flash_bytes=flash_bytes, meaning=meaning, budget=budget)
        for board in boards
    ]
    keys = (
        *("board", "fits", "fits_estimates", "arena_is_upper_bound", "arena_assumes"),
        *("latency_ms", "latency_form", "latency_status", "latency_within", "energy_mj"),
    )
    return [{key: each[key] for key in keys} for each in described]


def _front_end(graph: Graph, meaning: Mapping[str, Any] | None) -> FrontEndCosts | None:
    """Return the costs of the front end, where the input's shape is that of one."""
    shape = graph.tensors[graph.inputs[0]].shape
    if meaning and len(shape) == 4:
        return front_end_costs(meaning, (shape[1], shape[2], shape[3]))
    return None


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
