"""Work of the kernels of generated C: amounts in which their instructions are linear.

The amounts follow export/engine as compiled by GCC. A call has the work of its own kernel and of
shared functions, each under its name.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from micronas.engine.hops import Hops
from micronas.engine.newlib import copied, filled
from micronas.engine.steps import Call

Terms = dict[str, float]


@dataclass(frozen=True)
class Done:
    """Work of one function, in all its runs."""

    function: str
    terms: Terms


def work_of(call: Call, written: int) -> list[Done]:
    """Return the work of a call; `written` is the number of elements of its output.

    For reference kernels and those whose work depends on the data, amounts are typical ones.
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


def work_of_turn(hops: Hops, turn: int) -> list[tuple[str, list[Done]]]:
    """Return the work of one call of a streaming network, by kernel."""
    runs = hops.turns[turn]
    found = [("hop", [Done("hop", {"calls": 1.0, "runs": float(len(runs))})])]
    for run in runs:
        if run.call is None:
            places = (hops.places.get(band, 0) + at for band, at in (*run.reads, run.written))
            aligned = all(place % 4 == 0 for place in places)
            blocks = run.bytes // 16 if aligned else 0
            rest = run.bytes - 16 * blocks
            terms = {"calls": 1.0, "aligned": float(aligned), "blocks": blocks, "rest": rest}
            found.append(("shift", [Done("shift", terms)]))
        else:
            found.append((run.function, work_of(run.call, run.elements)))
    return found


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
    """Return the coordinates [outputs, taps] that are read."""
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
    """Yield the work of tiles: channels in pairs, elements in fours, two fours per loop."""
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
"""Approximate number of registers for pairs of taps; further pairs are loaded at each step."""


def written_out(call: Call) -> Terms:
    """Return counts in the text of a depthwise kernel, which is generated for one window."""
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
    steps = sum(math.prod(sizes[:place]) for place in range(1, len(sizes)))
    terms = {"calls": 1, "walked": len(sizes) > 1, "runs": runs, "steps": steps}
    if fields["from"][-1] == fields["to"][-1] == 1:
        yield Done("move", {**terms, "copies": runs})
        begins = [
            _begins(sizes[:-1], fields[steps][:-1], fields[first])
            for steps, first in (("to", "place"), ("from", "first"))
        ]
        yield _copied(last, *begins)
    else:
        yield Done("move", {**terms, "elements": runs * last})
    cleared = filled(fields["filled"] * sizes[0], 0) - _AROUND
    yield Done("memset", {"calls": 1, "instructions": cleared})


_AROUND = 6
"""Instructions of a call that are counted in the caller."""


def _begins(sizes: Sequence[int], steps: Sequence[int], first: int) -> np.ndarray:
    """Return the starts of runs along dimensions."""
    found = np.array([first], np.int64)
    for size, step in zip(sizes, steps, strict=True):
        found = (found[:, None] + step * np.arange(size)).ravel()
    return found


def _copied(size: int, to: np.ndarray, source: np.ndarray) -> Done:
    """Return the work of copies of runs between starts, which count modulo a word."""
    pairs, times = np.unique(np.stack([to % 4, source % 4]), axis=1, return_counts=True)
    each = [copied(size, int(at), int(read)) for at, read in pairs.T]
    spent = float(np.dot(each, times)) - _AROUND * len(to)
    return Done("memcpy", {"calls": float(len(to)), "instructions": spent})


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
    yield _copied(inner, np.arange(pieces) * inner, source)


def _reduce(call: Call, written: float) -> Iterator[Done]:
    sizes, kept = call.fields["sizes"], call.fields["kept"]
    outputs, inner = math.prod(sizes[:kept]), sizes[kept:]
    runs = outputs * math.prod(inner[:-1])
    carries = sum(math.prod(sizes[:place]) for place in range(1, kept))
    steps = outputs * sum(math.prod(inner[:place]) for place in range(1, len(inner)))
    terms = {"calls": 1, "outputs": outputs, "carries": carries, "runs": runs, "steps": steps}
    yield Done(call.function, {**terms, "elements": runs * inner[-1]})


_CODES = 256


def _by_row(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields.get("softmax", call.fields)
    rows = fields["rows"]
    terms = {"calls": 1, "rows": rows, "elements": rows * fields["count"]}
    if "radius" in fields:  # others are spread evenly below the largest
        others = rows * (fields["count"] - 1)
        terms["near"] = others * min(fields["radius"] + 1, _CODES) / _CODES
    yield Done(call.function, terms)


def _spread(call: Call, written: float) -> Iterator[Done]:
    fields, sizes = call.fields, call.fields["sizes"]
    carries = sum(math.prod(sizes[:place]) for place in range(1, len(sizes)))
    factors = (fields["first_factor"], fields["second_factor"], fields["factor"])
    divided = sum(shift < 0 for _, shift in factors)
    terms = {"calls": 1, "elements": written, "carries": carries, "divided": divided * written}
    yield Done(call.function, terms)


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
    yield _copied(units, np.zeros(1), np.zeros(1))


def _reference(call: Call, written: float) -> Iterator[Done]:
    window, fields = call.fields["window"], call.fields
    taps, pixels = window["height"] * window["width"], window["out_height"] * window["out_width"]
    channels = fields["channels"]
    terms = {
        "calls": 1,
        "pixels": pixels,
        "outputs": pixels * channels,
        "rows": pixels * channels * window["height"],
        "taps": pixels * channels * taps,
    }
    if call.function == "reference_transposed":
        yield Done(call.function, terms | _gathered(window, channels))
        return
    by_channel = call.function == "reference_depthwise"
    inner = 1 if by_channel else window["depth"] // fields["groups"]
    rows, columns = _inside(window, "y"), _inside(window, "x")
    products = channels * inner
    terms |= {
        "below": rows * window["out_width"] * window["width"] * products,
        "inside": rows * columns * products,
        "macs": pixels * taps * products,
    }
    yield Done(call.function, terms)


def _inside(window: Mapping[str, Any], axis: str) -> int:
    """Return the number of taps of all outputs inside the map, along one dimension."""
    down = axis == "y"
    places = _places(window, axis, window["height" if down else "width"])
    return int(((places >= 0) & (places < window["in_height" if down else "in_width"])).sum())


def _gathered(window: Mapping[str, Any], channels: int) -> Terms:
    """Return the numbers of a transposed convolution's taps that pass each test."""
    counts: dict[str, list[int]] = {"y": [], "x": []}
    for axis, size, taps, before in (
        ("y", "height", window["height"], window["top"]),
        ("x", "width", window["width"], window["left"]),
    ):
        step = window[f"stride_{axis}"]
        places = np.arange(window[f"out_{size}"])[:, None] + before - np.arange(taps)
        after, whole = places >= 0, places % step == 0
        there = places // step < window[f"in_{size}"]
        counts[axis] = [int(each.sum()) for each in (after, after & whole, after & whole & there)]
    (after_y, whole_y, there_y), (after_x, whole_x, there_x) = counts["y"], counts["x"]
    found = {
        "after": after_y * after_x,
        "whole_rows": whole_y * after_x,
        "whole": whole_y * whole_x,
        "taken": there_y * there_x,
        "macs": there_y * there_x * window["depth"],
    }
    return {name: channels * amount for name, amount in found.items()}


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
