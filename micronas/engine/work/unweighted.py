"""Work of kernels without weights."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from micronas.engine.newlib import filled
from micronas.engine.steps import Call
from micronas.engine.work.done import Done
from micronas.engine.work.weighted import AROUND, clip, copies, inside


def _pool(call: Call, written: float) -> Iterator[Done]:
    window = call.fields["window"]
    rows, columns = inside(window, "y"), inside(window, "x")
    depth, pixels = window["depth"], window["out_height"] * window["out_width"]
    counts = {"window_rows": rows * window["out_width"] * depth, "elements": rows * columns * depth}
    amounts = {"rows": window["out_height"], "pixels": pixels, "outputs": pixels * depth}
    yield Done(call.function, {"calls": 1, **amounts, **counts})
    yield clip(call.fields, written)


def _add(call: Call, written: float) -> Iterator[Done]:
    yield Done("add", {"calls": 1, "elements": written})
    yield clip(call.fields, written)


def _clamp(call: Call, written: float) -> Iterator[Done]:
    yield Done("clamp", {"calls": 1})
    yield clip(call.fields, written)


def _move(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields
    sizes, last = fields["sizes"], fields["sizes"][-1]
    runs = math.prod(sizes[:-1])
    steps = sum(math.prod(sizes[:place]) for place in range(1, len(sizes)))
    terms = {"calls": 1, "walked": len(sizes) > 1, "runs": runs, "steps": steps}
    if fields["from"][-1] == fields["to"][-1] == 1:
        yield Done("move", {**terms, "copies": runs})
        begins = [
            _begins(sizes[:-1], fields[steps][:-1], fields[first])
            for steps, first in (("to", "place"), ("from", "first"))
        ]
        yield copies(last, *begins)
    else:
        yield Done("move", {**terms, "elements": runs * last})
    cleared = filled(fields["filled"] * sizes[0], 0) - AROUND
    yield Done("memset", {"calls": 1, "instructions": cleared})


def _begins(sizes: Sequence[int], steps: Sequence[int], first: int) -> np.ndarray:
    """Return the starts of runs along dimensions."""
    found = np.array([first], np.int64)
    for size, step in zip(sizes, steps, strict=True):
        found = (found[:, None] + step * np.arange(size)).ravel()
    return found


def _pick(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields
    rows = fields["outer"] * fields["many_rows"]
    pieces = rows * fields["many_columns"]
    inner = fields["inner"]
    yield Done("pick", {"calls": 1, "outer": fields["outer"], "rows": rows, "pieces": pieces})
    starts = fields["columns"].astype(np.int64) * inner
    lines = fields["rows"].astype(np.int64) * fields["in_columns"] * inner
    maps = np.arange(fields["outer"]) * fields["in_rows"] * fields["in_columns"] * inner
    source = (maps[:, None, None] + lines[:, None] + starts).ravel()
    yield copies(inner, np.arange(pieces) * inner, source)


def _reduce(call: Call, written: float) -> Iterator[Done]:
    sizes, kept = call.fields["sizes"], call.fields["kept"]
    outputs, inner = math.prod(sizes[:kept]), sizes[kept:]
    runs = outputs * math.prod(inner[:-1])
    carries = sum(math.prod(sizes[:place]) for place in range(1, kept))
    steps = outputs * sum(math.prod(inner[:place]) for place in range(1, len(inner)))
    terms = {"calls": 1, "outputs": outputs, "carries": carries, "runs": runs, "steps": steps}
    yield Done(call.function, {**terms, "elements": runs * inner[-1]})


def _by_row(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields.get("softmax", call.fields)
    rows = fields["rows"]
    yield Done(call.function, {"calls": 1, "rows": rows, "elements": rows * fields["count"]})


def _spread(call: Call, written: float) -> Iterator[Done]:
    sizes = call.fields["sizes"]
    carries = sum(math.prod(sizes[:place]) for place in range(1, len(sizes)))
    yield Done("spread", {"calls": 1, "elements": written, "carries": carries})
    yield Done(call.function, {"calls": 1, "elements": written})


def _matrices(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields
    rows = math.prod(fields["outer"]) * fields["rows"]
    outputs = rows * fields["columns"]
    yield Done(
        "matrices",
        {
            "calls": 1,
            "maps": math.prod(fields["outer"]),
            "rows": rows,
            "outputs": outputs,
            "macs": outputs * fields["depth"],
        },
    )


def _interpolate(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields
    rows = fields["maps"] * fields["height"]
    terms = {"calls": 1, "maps": fields["maps"], "rows": rows, "pixels": rows * fields["width"]}
    yield Done("interpolate", {**terms, "elements": written})


def _lstm(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields
    steps, units, depth = fields["steps"], fields["units"], fields["depth"]
    yield Done(
        "lstm",
        {
            "calls": 1,
            "steps": steps,
            "units": steps * units,
            "read": 4 * steps * units * depth,
            "kept": 4 * steps * units * units,
            "clipped": steps * units * (fields["limit"] >= 0),
        },
    )
    yield copies(units, np.zeros(1), np.zeros(1))


def elements(call: Call, written: float) -> Iterator[Done]:
    yield Done(call.function, {"calls": 1, "elements": written})


UNWEIGHTED: Mapping[str, Callable[[Call, float], Iterator[Done]]] = {
    "Pool": _pool,
    "Add": _add,
    "Clamp": _clamp,
    "Move": _move,
    "Pick": _pick,
    "Reduce": _reduce,
    "Softmax": _by_row,
    "LogSoftmax": _by_row,
    "Normalize": _by_row,
    "Spread": _spread,
    "Matrices": _matrices,
    "Interpolate": _interpolate,
    "Lstm": _lstm,
}
