"""Work of the kernels of generated C: amounts that their instructions are linear in.

Read from export/engine as GCC compiles it. A call is the work of its own kernel and of what kernels
share, each function under its name.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from micronas.engine.steps import Call

Terms = dict[str, float]


@dataclass(frozen=True)
class Done:
    """Work of one function, in all its runs."""

    function: str
    terms: Terms


def work_of(call: Call, written: int) -> list[Done]:
    """Return what a call does; `written` is the elements of its output.

    Of reference kernels and those that go by the data, amounts are those of most inputs.
    """
    rule = _RULES.get(call.structure, _elements)
    found: dict[str, Terms] = {}
    if call.maps > 1:
        found["repeat"] = {"calls": 1, "maps": call.maps}
    for each in rule(call, written / call.maps):
        terms = found.setdefault(each.function, {})
        for name, amount in each.terms.items():
            terms[name] = terms.get(name, 0.0) + call.maps * amount
    return [Done(function, terms) for function, terms in found.items()]


def _pointwise(call: Call, written: float) -> Iterator[Done]:
    pixels, depth = call.fields["pixels"], call.fields["depth"]
    tile = call.fields["tile"]
    threes, ones = divmod(pixels, 3)
    yield Done("pointwise", {"calls": 1, "threes": threes, "ones": ones})
    yield _widen(pixels, depth)
    yield from _tile(tile, threes, ones)
    yield _clip(tile, written)


def _convolution(call: Call, written: float) -> Iterator[Done]:
    window, tile = call.fields["window"], call.fields["tile"]
    runs, taps = call.fields["runs"], call.fields["taps"]
    height, width, depth = window["in_height"], window["in_width"], window["depth"]
    rows = _places(window, "y", window["height"])
    starts = _places(window, "x", runs)
    is_in = (rows >= 0) & (rows < height)
    fits = (starts >= 0) & (starts + taps <= width)
    seen = np.clip(np.minimum(starts + taps, width) - np.maximum(starts, 0), 0, taps)
    inside, whole = int(is_in.sum()), int(fits.sum())
    run, pixels = taps * depth, rows.shape[0] * starts.shape[0]
    cut = inside * (starts.size - whole)
    outside = (rows.size - inside) * starts.size
    threes, ones = divmod(pixels, 3)
    rows_of_output = window["out_height"]
    yield Done(
        "convolution",
        {"calls": 1, "threes": threes, "ones": ones, "rows": rows_of_output},
    )
    yield Done(
        "column",
        {
            "calls": pixels,
            "rows": pixels * window["height"],
            "runs": inside * starts.size,
            "cut": cut,
            "odd": cut * (run % 2),
            "cut_elements": cut * run,
            "seen": inside * depth * int(seen[~fits].sum()),
            "pixels": cut * taps,
            "outside": outside,
            "odd_outside": outside * (run % 2),
            "outside_elements": outside * run,
            "outside_pixels": outside * taps,
        },
    )
    yield _widen(inside * whole, run)
    yield from _tile(tile, threes, ones)
    yield _clip(tile, written)


def _places(window: Mapping[str, int], axis: str, taps: int) -> np.ndarray:
    """Coordinates [outputs, taps] of what is read."""
    down = axis == "y"
    out, before = window["out_height" if down else "out_width"], window["top" if down else "left"]
    step, apart = window[f"stride_{axis}"], window[f"dilation_{axis}"]
    return np.arange(out)[:, None] * step - before + np.arange(taps) * apart


def _widen(times: float, count: int) -> Done:
    twos = count % 4 // 2
    fours = count // 4
    terms = {"calls": times, "with_fours": times * (fours > 0), "fours": times * fours}
    return Done("widen", {**terms, "twos": times * twos, "odd": times * (count % 2)})


def _tile(tile: Mapping[str, Any], threes: int, ones: int) -> Iterator[Done]:
    """Channels go in pairs; elements in fours, two of which a loop takes at a time."""
    channels, fours = tile["channels"], tile["pairs"] // 2
    pairs, form = -(-channels // 2), tile["form"].removeprefix("&k")
    for name, times, pixels in (("three", threes, 3), ("one", ones, 1)):
        if not times:
            continue
        if form in ("Plain", "Plain4"):
            inner = 2 * fours * times * pixels
            yield Done(
                form.lower(),
                {
                    "calls": times,
                    "pixels": times * pixels,
                    "pairs": inner,
                    "channel_pairs": times * pixels * pairs,
                    "products": inner * pairs,
                    "odd": times * pixels * (channels % 2),
                },
            )
            continue
        loops = -(-fours // 2)
        yield Done(
            f"{name}_{form}",
            {
                "calls": times,
                "channel_pairs": times * pairs,
                "fours": times * pairs * fours,
                "loops": times * pairs * loops,
                "odd": times * (channels % 2),
            },
        )


def _clip(limits: Mapping[str, Any], count: float) -> Done:
    words, rest = divmod(count, 4)
    if (limits["low"], limits["high"]) == (-128, 127):
        return Done("clip", {"calls": 1})
    return Done("clip", {"calls": 1, "used": 1, "words": words, "rest": rest})


def _depthwise(call: Call, written: float) -> Iterator[Done]:
    window, pitch = call.fields["window"], call.fields["pitch"]
    rows = (window["out_height"] - 1) * window["stride_y"]
    rows += (window["height"] - 1) * window["dilation_y"] + 1
    channels, width, text = window["depth"], window["out_width"], written_out(call)
    together = 2 if window["stride_x"] == 1 else 1
    steps = -(-width // together)
    lines = min(rows - window["top"], window["in_height"])
    fours, rest = divmod(min(pitch - window["left"], window["in_width"]), 4)
    yield Done("surround", {"calls": 1, "elements": rows * pitch})
    yield Done(
        "take_channel",
        {
            "calls": channels,
            "rows": channels * lines,
            "fours": channels * lines * fours,
            "rest": channels * lines * rest,
        },
    )
    yield Done(
        call.function,
        {
            "calls": 1,
            "channels": channels,
            "rows": channels * window["out_height"],
            "steps": channels * window["out_height"] * steps,
            "left_over": channels * window["out_height"] * (width % together),
            "pairs": channels * text["pairs"],
            "loads": channels * window["out_height"] * steps * text["loads"],
            "products": channels * window["out_height"] * steps * text["products"],
            "spilled": channels * window["out_height"] * steps * text["spilled"],
        },
    )
    yield _clip(call.fields, written)


_REGISTERS = 6
"""For pairs of taps, about; more are loaded again at each step."""


def written_out(call: Call) -> Terms:
    """Return what the text of a depthwise kernel holds, which is made for one window."""
    (text,) = call.generated.values()
    pairs = text.count(" = pair(")
    return {
        "pairs": pairs,
        "loads": text.count(" = word("),
        "products": text.count("= smla"),
        "spilled": max(pairs - _REGISTERS, 0),
    }


def _pool(call: Call, written: float) -> Iterator[Done]:
    window = call.fields["window"]
    rows, columns = (
        int(((places >= 0) & (places < window[size])).sum())
        for places, size in (
            (_places(window, "y", window["height"]), "in_height"),
            (_places(window, "x", window["width"]), "in_width"),
        )
    )
    depth, pixels = window["depth"], window["out_height"] * window["out_width"]
    counts = {"window_rows": rows * window["out_width"] * depth, "elements": rows * columns * depth}
    amounts = {"rows": window["out_height"], "pixels": pixels, "outputs": pixels * depth}
    yield Done(call.function, {"calls": 1, **amounts, **counts})
    yield _clip(call.fields, written)


def _add(call: Call, written: float) -> Iterator[Done]:
    kind = "elements" if call.fields["shift"] else "equal_elements"
    yield Done("add", {"calls": 1, kind: written})


def _clamp(call: Call, written: float) -> Iterator[Done]:
    yield Done("clamp", {"calls": 1})
    yield _clip(call.fields, written)


def _move(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields
    sizes, last = fields["sizes"], fields["sizes"][-1]
    runs = math.prod(sizes[:-1])
    carries = sum(math.prod(sizes[:place]) for place in range(1, len(sizes) - 1))
    terms = {"calls": 1, "runs": runs, "carries": carries}
    if fields["from"][-1] == fields["to"][-1] == 1:
        yield Done("move", {**terms, "copies": runs})
        yield _copied(runs, last)
    else:
        yield Done("move", {**terms, "elements": runs * last})
    yield Done("memset", {"calls": 1, "bytes": fields["filled"] * sizes[0]})


def _copied(times: float, size: int) -> Done:
    """newlib's memcpy: 64 or 16 bytes at a time, then words, then single bytes."""
    blocks, rest = divmod(size, 64)
    counts = {"blocks": blocks, "quads": rest // 16, "words": rest % 16 // 4, "odd": size % 4 > 0}
    return Done("memcpy", {"calls": times, **{key: times * n for key, n in counts.items()}})


def _pick(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields
    rows = fields["outer"] * fields["many_rows"]
    pieces = rows * fields["many_columns"]
    yield Done("pick", {"calls": 1, "outer": fields["outer"], "rows": rows, "pieces": pieces})
    yield _copied(pieces, fields["inner"])


def _reduce(call: Call, written: float) -> Iterator[Done]:
    sizes, kept = call.fields["sizes"], call.fields["kept"]
    outputs, inner = math.prod(sizes[:kept]), sizes[kept:]
    runs = outputs * math.prod(inner[:-1])
    carries = sum(math.prod(sizes[:place]) for place in range(1, kept))
    terms = {"calls": 1, "outputs": outputs, "carries": carries, "runs": runs}
    yield Done(call.function, {**terms, "elements": runs * inner[-1]})


def _by_row(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields.get("softmax", call.fields)
    rows = fields["rows"]
    yield Done(call.function, {"calls": 1, "rows": rows, "elements": rows * fields["count"]})


def _spread(call: Call, written: float) -> Iterator[Done]:
    sizes = call.fields["sizes"]
    carries = sum(math.prod(sizes[:place]) for place in range(1, len(sizes)))
    yield Done(call.function, {"calls": 1, "elements": written, "carries": carries})


def _matrices(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields
    rows = math.prod(fields["outer"]) * fields["rows"]
    outputs = rows * fields["columns"]
    yield Done(
        "matrices",
        {"calls": 1, "rows": rows, "outputs": outputs, "macs": outputs * fields["depth"]},
    )


def _interpolate(call: Call, written: float) -> Iterator[Done]:
    pixels = written / call.fields["depth"]
    yield Done("interpolate", {"calls": 1, "pixels": pixels, "elements": written})


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
        },
    )
    yield _copied(1, units)


def _reference(call: Call, written: float) -> Iterator[Done]:
    window, fields = call.fields["window"], call.fields
    taps, pixels = window["height"] * window["width"], window["out_height"] * window["out_width"]
    outputs = pixels * fields["channels"]
    by_channel = call.function == "reference_depthwise"
    inner = 1 if by_channel else window["depth"] // fields["groups"]
    used = taps
    if call.function == "reference_transposed":
        taken = window["in_height"] * window["in_width"] * taps / pixels
        used = min(taken, taps)
    yield Done(
        call.function,
        {
            "calls": 1,
            "pixels": pixels,
            "outputs": outputs,
            "rows": outputs * window["height"],
            "taps": outputs * taps,
            "macs": outputs * used * inner,
        },
    )


def _elements(call: Call, written: float) -> Iterator[Done]:
    yield Done(call.function, {"calls": 1, "elements": written})


_RULES: Mapping[str, Callable[[Call, float], Iterator[Done]]] = {
    "Pointwise": _pointwise,
    "Convolution": _convolution,
    "Depthwise": _depthwise,
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
    "Reference": _reference,
}
