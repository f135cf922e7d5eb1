"""Work of kernels with weights: columns, tiles, planes and taps."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from micronas.engine.newlib import copied
from micronas.engine.steps import Call, Fields
from micronas.engine.work.done import Done, Terms


def _pointwise(call: Call, written: float) -> Iterator[Done]:
    pixels, depth = call.fields["pixels"], call.fields["depth"]
    tile = call.fields["tile"]
    threes, ones = divmod(pixels, 3)
    yield Done("pointwise", {"calls": 1, "threes": threes, "ones": ones})
    yield _widen(pixels, depth)
    yield from _tile(tile, threes, ones)
    yield clip(tile, written)


def _convolution(call: Call, written: float) -> Iterator[Done]:
    window, tile = call.fields["window"], call.fields["tile"]
    threes, ones = divmod(window["out_height"] * window["out_width"], 3)
    rows_of_output = window["out_height"]
    yield Done("convolution", {"calls": 1, "threes": threes, "ones": ones, "rows": rows_of_output})
    yield from _columns(call.fields)
    yield from _tile(tile, threes, ones)
    yield clip(tile, written)


def _columns(fields: Fields, groups: int = 1) -> Iterator[Done]:
    """Yield the work of the columns of a convolution, or of each of its groups."""
    window, runs, taps = fields["window"], fields["runs"], fields["taps"]
    height, width, depth = window["in_height"], window["in_width"], window["depth"]
    rows = coordinates(window, "y", window["height"])
    starts = coordinates(window, "x", runs)
    is_in = (rows >= 0) & (rows < height)
    is_cut = (starts < 0) | (starts + taps > width)
    inside, whole = int(is_in.sum()), int((~is_cut).sum())
    run, pixels = taps * depth, groups * rows.shape[0] * starts.shape[0]
    cut = groups * (rows.size * starts.size - inside * whole)
    yield Done(
        "column",
        {
            "calls": pixels,
            "rows": pixels * window["height"],
            "above": groups * int((rows < 0).sum()) * starts.shape[0],
            "runs": groups * rows.size * starts.size,
            "cut": cut,
            "left": groups * rows.size * int((starts < 0).sum()),
            "odd": cut * (run % 2),
            "pairs": cut * (run // 2),
            "elements": cut * run,
        },
    )
    yield _widen(groups * inside * whole, run)


def _parts(call: Call, written: float) -> Iterator[Done]:
    fields, groups = call.fields, call.fields["groups"]
    window, tile = fields["convolution"]["window"], fields["convolution"]["tile"]
    rows, columns, channels = window["out_height"], window["out_width"], tile["channels"]
    threes, ones = (groups * each for each in divmod(rows * columns, 3))
    terms = {"groups": groups, "threes": threes, "ones": ones, "rows": groups * rows}
    yield Done("parts", {"calls": 1, **terms})
    yield from _columns(fields["convolution"], groups)
    yield from _tile(tile, threes, ones)
    yield clip(tile, 3 * channels, threes)
    yield clip(tile, channels, ones)
    y, x = np.divmod(np.arange(rows * columns), columns)
    to = fields["first"] + fields["step"] * (y * columns + x) + fields["line"] * y
    source = np.where(y * columns + x < rows * columns // 3 * 3, (y * columns + x) % 3, 0)
    starts = (np.arange(groups)[:, None] * channels + to).ravel()
    yield copies(channels, starts, np.tile(source * channels, groups))


def coordinates(window: Mapping[str, int], axis: str, taps: int) -> np.ndarray:
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


def clip(limits: Mapping[str, Any], count: float, times: int = 1) -> Done:
    words, rest = divmod(count, 4)
    if (limits["low"], limits["high"]) == (-128, 127):
        return Done("clip", {"calls": times})
    terms = {
        "used": 1,
        "with_words": words > 0,
        "with_rest": rest > 0,
        "words": words,
        "rest": rest,
    }
    return Done("clip", {"calls": times, **{name: times * each for name, each in terms.items()}})


AROUND = 6
"""Instructions of a call of the C library that are counted in the caller."""


def copies(size: int, to: np.ndarray, source: np.ndarray) -> Done:
    """Return the work of copies of runs between starts, which count modulo a word."""
    pairs, times = np.unique(np.stack([to % 4, source % 4]), axis=1, return_counts=True)
    each = [copied(size, int(at), int(read)) for at, read in pairs.T]
    spent = float(np.dot(each, times)) - AROUND * len(to)
    return Done("memcpy", {"calls": float(len(to)), "instructions": spent})


def _depthwise(call: Call, written: float) -> Iterator[Done]:
    fields = call.fields.get("depthwise", call.fields)
    window, pitch, times = fields["window"], fields["pitch"], call.fields.get("times", 1)
    rows = (window["out_height"] - 1) * window["stride_y"]
    rows += (window["height"] - 1) * window["dilation_y"] + 1
    channels, together = window["depth"], 2 if window["stride_x"] == 1 else 1
    lines = min(rows - window["top"], window["in_height"])
    fours, rest = divmod(min(pitch - window["left"], window["in_width"]), 4)
    terms = {"calls": 1, "channels": channels, "elements": rows * pitch}
    terms |= {"filters": channels * times} if call.function == "several" else {}
    yield Done(call.function, terms)
    yield Done(
        "take_channel",
        {
            "calls": channels,
            "rows": channels * lines,
            "with_fours": channels * lines * (fours > 0),
            "fours": channels * lines * fours,
            "with_rest": channels * lines * (rest > 0),
            "rest": channels * lines * rest,
        },
    )
    height = channels * times * window["out_height"]
    steps = height * -(-window["out_width"] // together)
    terms = {"calls": channels * times, "rows": height, "steps": steps}
    parts = {"channel": channels * times, "row": height, "step": steps}
    for part, text in zip(parts, assembly_of(call), strict=True):
        terms["instructions"] = terms.get("instructions", 0) + parts[part] * len(text)
        loads = sum(line.startswith(("ldr", "str")) for line in text)
        terms["loads"] = terms.get("loads", 0) + parts[part] * loads
    yield Done(TAPS, terms)
    yield clip(fields, written)


TAPS = "depthwise_taps"
"""Name for the functions of all windows of depthwise convolutions."""


def assembly_of(call: Call) -> tuple[list[str], list[str], list[str]]:
    """Return the instructions of a depthwise window that run for each channel, row and step."""
    (text,) = call.generated.values()
    lines = re.findall(r'^ *"(.+)\\n"$', text, re.M)
    places = [lines.index(f"{label}:") for label in range(4)]
    begin, row, step, after, end = (
        lines[first + 1 : last]
        for first, last in zip([-1, *places], [*places, len(lines)], strict=True)
    )
    return begin + end, row + after, step


_WIDE = re.compile(r"(push|pop|ldrs|pkh|sm|ssat|bic|ldrd)|.*(, lsl|\b(r8|r9|r1\d|lr)\b)")
"""Instructions of four bytes; others of these functions have two."""


def text_of(call: Call) -> Terms:
    """Return the counts of a depthwise window's instructions on which its bytes depend."""
    lines = [line for part in assembly_of(call) for line in part]
    wide = sum(_WIDE.match(line) is not None and line != "add r2, r9" for line in lines)
    return {"instructions": len(lines), "wide": wide}


def _reference(call: Call, written: float) -> Iterator[Done]:
    window, channels = call.fields["window"], call.fields["channels"]
    pixels, rows = window["out_height"] * window["out_width"], inside(window, "y")
    terms = {
        "calls": 1,
        "pixels": pixels,
        "outputs": pixels * channels,
        "rows": pixels * channels * window["height"],
        "rows_inside": rows * window["out_width"] * channels,
        "macs": rows * inside(window, "x") * channels,
    }
    yield Done(call.function, terms)


def inside(window: Mapping[str, Any], axis: str) -> int:
    """Return the number of taps of all outputs inside the map, along one dimension."""
    down = axis == "y"
    places = coordinates(window, axis, window["height" if down else "width"])
    return int(((places >= 0) & (places < window["in_height" if down else "in_width"])).sum())


WEIGHTED: Mapping[str, Callable[[Call, float], Iterator[Done]]] = {
    "Pointwise": _pointwise,
    "Convolution": _convolution,
    "Parts": _parts,
    "Depthwise": _depthwise,
    "Several": _depthwise,
    "Reference": _reference,
}
