"""Data for the page of one run. Imports no torch."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from micronas._version import VERSION
from micronas.errors import MicronasError
from micronas.graph.ir import Graph
from micronas.graph.memory import ArenaPlan
from micronas.hardware.board import Board
from micronas.hardware.profile import profile
from micronas.hardware.targets import DEFAULT, HOST, TFLM
from micronas.report.network import blocks_of, outputs_of
from micronas.runs.finished import RunFolder, listening
from micronas.runs.folder import ARCHITECTURE, CONFIG, MODEL, model_file, own_module
from micronas.runs.stored import Metrics, Score
from micronas.space.load import model_bytes
from micronas.text import finite, span
from micronas.tflite.metadata import read_metadata

Data = dict[str, Any]


def page_data(run: RunFolder) -> Data:
    """Collect the sections of a run's page; one that cannot be shown is ``{"absent": why}``."""
    layers = _section(_layers, run)
    sections = {
        "budget": _section(_budget, run),
        "network": _section(_network, run, layers),
        "arena": _section(_arena, run),
        "layers": layers,
        "search": _section(_search, run),
        "candidates": _section(_candidates, run),
        "training": _section(_training, run),
        "outcome": _section(_outcome, run),
        "listening": _section(_listening, run),
        "quantization": _section(_quantization, run),
        "reproduce": _reproduction(run),
    }
    page = {"kind": "run", "name": run.name, "summary": _summary(run), "tiles": _tiles(run)}
    return finite({**page, **sections})


class _AbsentError(MicronasError):
    """A section has nothing to show."""


def _section(make: Callable[..., Data], *given: Any) -> Data:
    try:
        return make(*given)
    except MicronasError as error:
        return {"absent": " ".join(str(error).split())}


def _part(run: RunFolder, key: str) -> Any:
    """Return a part of the history; raise with the reason where it is missing."""
    if key not in run.parts:
        raise _AbsentError(run.absent.get(key, f"the run has no {key!r}"))
    return run.parts[key]


def _graph(run: RunFolder) -> Graph:
    if run.graph is None:
        raise _AbsentError(run.absent[MODEL])
    return run.graph


def _board(run: RunFolder) -> Board:
    if run.board is None:
        raise _AbsentError(run.absent["board"])
    return run.board


def _summary(run: RunFolder) -> str:
    way = "searched" if run.metrics.search else "trained as given"
    task = f"{run.task}, " if run.task else ""
    return f"{task}{way} for {run.metrics.board}: {run.metrics.network}"


def _tiles(run: RunFolder) -> list[Data]:
    metrics = run.metrics
    first, is_read = metrics.score, metrics.engine == TFLM
    flash = f"size of {MODEL}" if is_read else f"as C, by engine {metrics.engine}"
    tiles = [
        *(_score_tile(each, "int8", each.int8, _judged(each)) for each in metrics.scores),
        _score_tile(first, "float", first.real, "before quantization"),
        *_plain(metrics),
        _tile("Latency", metrics.latency_ms, "ms", f"predicted, form {metrics.latency_form}"),
        _tile("MACs", metrics.macs, "macs", "multiply-accumulates an inference"),
        _tile("Flash", metrics.flash_bytes, "bytes", flash),
        _tile("Arena", metrics.arena_bytes, "bytes", _arena_note(metrics)),
        _tile("Energy", metrics.energy_mj, "mj", "an inference"),
        *_heard(metrics),
        _tile(
            "TFLM mismatches",
            metrics.tflm_mismatches,
            "count",
            f"of {metrics.tflm_bytes_compared:,} output bytes",
        ),
    ]
    return [tile for tile in tiles if tile["value"] is not None]


def _tile(label: str, value: float | None, unit: str, note: str) -> Data:
    return {"label": label, "value": value, "unit": unit, "note": note, "is_cost": True}


def _score_tile(score: Score, of: str, value: float | None, note: str) -> Data:
    """Return the tile of a measure, whose unit is the data's own."""
    label = f"{score.name[0].upper()}{score.name[1:]}, {of}"
    return _tile(label, value, score.unit, note) | {"is_cost": False}


def _heard(metrics: Metrics) -> list[Data]:
    """Return the tile of the processor's load while listening, if any."""
    if metrics.listening is None or metrics.listening["load"] is None:
        return []
    heard = metrics.listening
    load = "of the time, calls alone: one of {hop_frames} frames computes {computes}"
    call = "a call, {worst_ms:.2f} ms at most"
    return [
        _tile("Load", heard["load"], "share", load.format(**heard)),
        _tile("Call", heard["mean_ms"], "ms", call.format(**heard)),
        _tile("Energy an hour", heard["energy_j_per_hour"], "J/h", "of listening, calls alone"),
    ]


def _plain(metrics: Metrics) -> list[Data]:
    """Return the tiles of plain models on the same examples."""
    return [
        _score_tile(metrics.score, what, rival.score, f"a {rival.name}: {rival.standing}")
        for what, rival in (("plain", metrics.plain), ("forest", metrics.forest))
        if rival is not None
    ]


def _arena_note(metrics: Metrics) -> str:
    most = "at most, " if metrics.arena_is_upper_bound else ""
    assumed = f", planned for {metrics.arena_assumes}" if metrics.arena_assumes else ""
    return f"{most}on {metrics.board}{assumed}"


def _budget(run: RunFolder) -> Data:
    metrics = run.metrics
    is_read = metrics.engine == TFLM
    notes = {
        "sram": f"TFLM itself reports {metrics.host_arena_bytes:,} B on a 64-bit host; on the "
        f"board it takes {metrics.arena_bytes:,} B. The larger need counts."
        if is_read
        else f"The engine's own plan takes {metrics.arena_bytes:,} B.",
        "flash": "The size of model.tflite." if is_read else "Constants and code of the network.",
        "latency": f"Predicted by the board's latency model, form {metrics.latency_form}.",
        "macs": "Counted on the file.",
        "load": "Share of the processor's time while it listens.",
        "energy": "Energy of an hour of listening while the processor computes.",
    }
    if any(metrics.device["beside"].values()):
        front = metrics.device["front_end"]
        notes["flash"] += f" Runtime code takes {metrics.device['code_bytes']:,} B more"
        if front is not None:
            notes["flash"] += f", the front end {front['flash_bytes']:,} B"
            notes["sram"] += f" The front end's buffers take {front['buffer_bytes']:,} B more."
            notes["latency"] += f" One step of the front end takes {front['step_ms']:.2f} ms of it."
        assumed = metrics.device.get("code_assumes")
        notes["flash"] += f"; an estimate, of {assumed}." if assumed else "."
    units = {"latency": "ms", "macs": "macs", "load": "share", "energy": "J/h"}
    rows = [
        {
            "name": name,
            "unit": units.get(name, "bytes"),
            "limit": limit,
            "used": limit * metrics.used[name],
            "note": notes.get(name, ""),
        }
        for name, limit in metrics.budget.items()
    ]
    return {"rows": rows, "fits": metrics.fits, "estimates": metrics.fits_estimates}


def _network(run: RunFolder, layers: Data) -> Data:
    if not run.drawing:
        raise _AbsentError(run.absent.get(ARCHITECTURE, "the run names no block"))
    searched, objective = run.metrics.search is not None, run.metrics.objective
    graph = _graph(run) if run.architecture is None else run.architecture.graph()
    return {
        "input": list(graph.tensors[graph.inputs[0]].shape[1:]),
        "outputs": outputs_of(graph.tensors[graph.outputs[0]].elements, objective),
        "blocks": blocks_of(run.drawing, layers.get("rows", []), objective=objective),
        "largest": "the largest of its search space" if searched else "the network's own",
    }


def _arena(run: RunFolder) -> Data:
    graph = _graph(run)
    target = run.board.target if run.board else DEFAULT
    host = target.on_host if target.reads_file else HOST
    plans = {"board": target.plan(graph), "host": host.plan(graph)}
    return {
        "ops": [op.name for op in graph.ops],
        "limit": run.metrics.left("sram"),
        "plans": {target: _plan(arena) for target, arena in plans.items()},
    }


def _plan(arena: ArenaPlan) -> Data:
    return {
        "head": arena.head,
        "tail": arena.tail,
        "required": arena.required,
        "complete": arena.complete,
        "buffers": [
            {
                "name": each.name,
                "size": each.size,
                "first": each.first,
                "last": each.last,
                "offset": each.offset,
                "scratch": each.is_scratch,
            }
            for each in arena.buffers
        ],
    }


def _judged(score: Score) -> str:
    """Return the data that a score was measured on, and its interval."""
    if score.interval is None:
        return f"on {score.on}"
    return f"95 % interval {span(score.interval, score.unit)}, on {score.on}"


def _layers(run: RunFolder) -> Data:
    size = run.metrics.flash_bytes
    described = profile(_graph(run), _board(run), kind=run.kind, flash_bytes=size)
    total = described["latency_ms"]
    rows = [{**row, "latency_ms": total * row["latency_share"]} for row in described["layers"]]
    return {
        "rows": rows,
        "form": described["latency_form"],
        "status": described["latency_status"],
        "excludes": described["latency_excludes"],
        # an intercept belongs to no layer
        "rest_ms": total - sum(row["latency_ms"] for row in rows),
    }


def _search(run: RunFolder) -> Data:
    search = run.metrics.search
    if search is None:
        raise _AbsentError("the network was given, not searched for")
    if not search.history:
        raise _AbsentError("no supernet was trained: all networks had trials of their own")
    gates = run.parts.get("gates")
    without = f"{search.strategy} has no gates" if search.strategy != "dnas" else ""
    names = [name for name in run.metrics.budget if f"expected_{name}" in search.history[0]]
    return {
        "step": [row.get("step") for row in search.history],
        "loss": [row.get("loss") for row in search.history],
        "expected": {
            name: [_ratio(row.get(f"expected_{name}"), run, name) for row in search.history]
            for name in names
        },
        "multiplier": {
            name: [row.get(f"multiplier_{name}") for row in search.history] for name in names
        },
        "gates": gates.model_dump(mode="json")
        if gates
        else {"absent": without or run.absent.get("gates", "none were written down")},
    }


def _ratio(cost: float | None, run: RunFolder, name: str) -> float | None:
    limit = run.metrics.left(name)
    return None if cost is None or not limit else cost / limit


def _candidates(run: RunFolder) -> Data:
    search = run.metrics.search
    if search is None:
        raise _AbsentError("the network was given: no others were tried")
    return {
        "winner": search.winner,
        "margin": search.ahead_of_best_other_origin,
        "half_width": search.ahead_half_width,
        "after": search.ahead_after_epochs,
        "measure": search.measure.model_dump(),
        "rows": [each.model_dump() for each in search.candidates],
    }


def _training(run: RunFolder) -> Data:
    phases = {name: epochs for name, epochs in _part(run, "training").items() if epochs}
    if not phases:
        raise _AbsentError("no epoch was written down")
    return {
        "measure": _watched(run.metrics),
        "phases": [
            {"name": name, "epochs": [each.model_dump() for each in epochs]}
            for name, epochs in phases.items()
        ],
    }


def _watched(metrics: Metrics) -> Data:
    """Return the measure recorded after every epoch."""
    if metrics.search is not None:
        return metrics.search.measure.model_dump()
    # training of an anomaly detector records its pretext
    shown = metrics.scores[-1] if metrics.per_machine else metrics.score
    return shown.model_dump(include={"name", "unit", "larger"})


def _outcome(run: RunFolder) -> Data:
    machines = run.metrics.per_machine or {}
    return {
        **_part(run, "outcome").model_dump(mode="json"),
        "judged_on": run.metrics.judged_on,
        "per_machine": {name: each.model_dump() for name, each in machines.items()},
        "columns": _part(run, "data").columns if "data" in run.parts else (),
    }


def _meaning(run: RunFolder) -> Mapping[str, Any]:
    """Return what the model's file says of its input; {} where it says nothing."""
    if run.graph is None:
        return {}
    found: Mapping[str, Any] = read_metadata(model_bytes(model_file(run.path))).get("input", {})
    return found


def _listening(run: RunFolder) -> Data:
    """Return the chosen detector; a run that cannot have one says so."""
    if _meaning(run).get("features") == "pixels" or run.metrics.objective == "regression":
        raise _AbsentError("events are found where sounds or sensors have labels")
    return listening(run.path).model_dump()


def _quantization(run: RunFolder) -> Data:
    shown: Data = _part(run, "layers").model_dump(mode="json")
    return shown


def _reproduction(run: RunFolder) -> Data:
    """Return how to make a run again: facts, as names and values, and the texts of files."""
    config = run.path / CONFIG
    shape = run.path / ARCHITECTURE
    again = (
        ["micronas", "search", config]
        if "space" in run.settings
        else ["micronas", "train", shape, "--config", config]
    )
    module = own_module(run.path)
    facts = [
        [
            "Again",
            f"the same call of micronas.run, with the module {module} in Python"
            if module
            else shlex.join(map(str, [*again, "--out", "NEW_FOLDER"])),
        ],
        ["Seed", str(run.settings.get("seed", "not known"))],
    ]
    made = run.parts.get("made")
    if made:
        facts += [
            ["Was started as", made.command],
            ["Versions", f"micronas {made.micronas}, Python {made.python}, torch {made.torch}, "
             f"NumPy {made.numpy}"],
            ["Machine", made.machine],
        ]  # fmt: skip
    data = run.parts.get("data")
    if data:
        parts = ", ".join(f"{count:,} {name}" for name, count in data.examples.items())
        facts += [["Examples", parts], ["Data", data.summary]]
    facts += [[f"SHA-256 of {name}", digest] for name, digest in run.hashes().items()]
    facts.append(["Report by", f"micronas {VERSION}"])
    files = dict(run.texts())
    if run.board:
        values = run.board.model_dump(mode="json", exclude_none=True)
        files[f"{run.board.name}.yaml (board)"] = yaml.safe_dump(values, sort_keys=False)
    return {"facts": facts, "files": [{"name": n, "text": t} for n, t in files.items()]}
